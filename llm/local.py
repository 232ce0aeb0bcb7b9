"""A language model that is loaded here, as it is asked: by log-probabilities, and by what it generates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llm.evaluate import EXTRA_TOKENS, locations_of
from llm.generation import generate
from llm.grading import Asked, take_scores, take_text
from llm.scoring import Pace, score

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from flags.config import Config
    from llm.prompt import Prompter


class LocalModel:
    """An `evaluate.Asker`. What queries of an episode share is run once; episodes run together."""

    episodes_at_once = 4

    def __init__(self, config: Config, prompter: Prompter, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pace: Pace):
        self._config, self._prompter, self._model, self._tokenizer, self._pace = config, prompter, model, tokenizer, pace

    def ask(self, asked: list[list[Asked]], rotation: str, keep: Callable[[], None]) -> None:
        """Score the questions of some episodes of one rotation in every way asked for."""
        if {"argmax", "candidates"} & set(self._config.scorings):
            self._by_probability(asked, rotation)
        if "generate" in self._config.scorings:
            flat = [one for of_episode in asked for one in of_episode]
            answers = [self._prompter.answers(one.question, locations_of(rotation)[-1:])[0] for one in flat]
            n_new = max(len(answer.ids) - answer.start for answer in answers) + EXTRA_TOKENS
            prompts = self._prompter.ids([one.question.prompt for one in flat])
            texts = generate(self._model, self._tokenizer, prompts, n_new, self._config.num_beams, self._pace)
            for one, text in zip(flat, texts, strict=True):
                take_text(one, text)

    def _by_probability(self, asked: list[list[Asked]], rotation: str) -> None:
        everywhere = "candidates" in self._config.scorings
        places = [[locations_of(rotation) if everywhere else [one.question.location] for one in row] for row in asked]
        answers = [
            [self._prompter.answers(one.question, where) for one, where in zip(row, its_places, strict=True)]
            for row, its_places in zip(asked, places, strict=True)
        ]
        scores = score(self._model, [[answer for one in of_episode for answer in one] for of_episode in answers], self._pace)
        for of_episode, its_places, its_answers, its_scores in zip(asked, places, answers, scores, strict=True):
            rest = iter(its_scores)
            for one, where, candidates in zip(of_episode, its_places, its_answers, strict=True):
                take_scores(one, where, candidates, [next(rest) for _ in candidates], self._config.scorings)

    def state(self) -> dict[str, Any]:
        """Return no state: between episodes nothing is pending."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing: a state holds nothing of a local model."""

    def spent(self) -> str:
        """Return the tokens that went through the model, and how fast."""
        pace = self._pace
        if not pace.seconds:
            return ""
        ratio = (
            f"; {pace.flat_tokens / pace.tokens:.1f} times as many if each were a sequence of its own" if pace.flat_tokens else ""
        )
        return f"{pace.tokens:,} tokens, {pace.tokens / pace.seconds:,.0f} a second{ratio}"
