"""An episode as a language model reads it: text, and its tokens, whatever the tokenizer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from data import Encoder, Episodes
    from flags.config import Config

_BOS_LITERALS = ("<|endoftext|>", "<s>")  # a pretrained model's own stands there, once
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)
Location = tuple[int, int]


@dataclass(frozen=True)
class Question:
    """One query of an episode: the text that all queries share, its own up to the answer, the answer, and its subset."""

    head: str
    cue: str
    location: Location
    subset: str

    @property
    def prompt(self) -> str:
        return self.head + self.cue


@dataclass(frozen=True)
class Answer:
    """A whole sequence with one location as its answer: the tokens from `start` on are the answer's, those from `second`
    on its second coordinate's."""

    ids: tuple[int, ...]
    start: int
    second: int


class Prompter:
    """Writes episodes for a tokenizer: in the literal prefaces of the flags, or in its own chat template."""

    def __init__(self, config: Config, encoder: Encoder, tokenizer: PreTrainedTokenizerBase):
        self._config, self._encoder, self._tokenizer = config, encoder, tokenizer
        bos = tokenizer.bos_token_id
        starts_with_bos = bos is not None and tokenizer("a").input_ids[:1] == [bos]
        self._bos = [bos] if starts_with_bos else []

    def questions(self, episodes: Episodes, episode: int) -> list[Question]:
        """The novel queries of an episode, and with --llm_study the study ones."""
        one, n_answer = episodes.one(episode), episodes.answers.shape[2]
        head = self._head(self._encoder.text(one.context[0]))
        found = []
        for query, answer, subset in zip(one.queries[0], one.answers[0], one.subset[0], strict=True):
            name = one.subsets[subset]
            if name == "novel" or self._config.llm_study:
                x, y = (int(word) for word in self._encoder.text(answer).split())
                found.append(Question(head, self._cue(self._encoder.text(query[: len(query) - n_answer])), (x, y), name))
        return found

    def answers(self, question: Question, locations: Sequence[Location]) -> list[Answer]:
        """The question's text with each location as its answer, as tokens.

        The whole is tokenised as one text, as a reader would see it. Where the answer begins is where the tokens part from
        those of the text without it, so that a token that reaches over the border belongs to the answer.
        """
        texts = [f"{question.prompt} {x} {y}" for x, y in locations]
        halves = [f"{question.prompt} {x}" for x, _ in locations]
        bare, *rest = self.ids([question.prompt, *texts, *halves])
        wholes, halves_ids = rest[: len(texts)], rest[len(texts) :]
        found = []
        for whole, half in zip(wholes, halves_ids, strict=True):
            start = min(common_length([bare, whole]), len(whole) - 1)
            second = min(max(common_length([half, whole]), start + 1), len(whole) - 1)
            found.append(Answer(tuple(whole), start, max(second, start)))
        return found

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids, with the tokenizer's BOS once if it writes one at all."""
        plain = self._tokenizer(texts, add_special_tokens=False).input_ids
        return [row if row[:1] == self._bos else [*self._bos, *row] for row in plain]

    def _head(self, context: str) -> str:
        """All that stands before a query's own words."""
        if not self._config.chat_template:
            for literal in _BOS_LITERALS:
                context = context.removeprefix(literal)
            return context.lstrip(" ")
        preface = prompts.PREFACES[self._config.preface_id]
        items = context.removeprefix(preface).strip()
        test_preface = prompts.TEST_PREFACES[self._config.test_preface_id]
        system = " ".join(_SYSTEM.findall(preface)).strip()
        words = [_SYSTEM.sub(" ", preface), items, test_preface]
        user = " ".join(" ".join(words).replace("[INST]", " ").replace("[/INST]", " ").split())
        for literal in _BOS_LITERALS:
            user = user.removeprefix(literal).strip()
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _cue(self, query: str) -> str:
        if self._config.chat_template:
            return query.removeprefix(prompts.TEST_PREFACES[self._config.test_preface_id]).strip()
        return f" {query}"


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with alike."""
    first, last = min(sequences), max(sequences)  # in lexical order, these two differ the most
    for i, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return i
    return min(len(first), len(last))
