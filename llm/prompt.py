"""An episode as a language model reads it: text, and its tokens, whatever the tokenizer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import prompts
from llm import chat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from data import Encoder, Episodes
    from flags.config import Config
    from llm.echo import Echo

BOS_LITERALS = ("<|endoftext|>", "<s>")  # in their place a pretrained model's own stands once
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
        """Return the text up to the answer."""
        return self.head + self.cue


@dataclass(frozen=True)
class Answer:
    """A whole sequence with one location as its answer.

    The answer's tokens are those from `start` on: before `first_end` stands its first coordinate, from `second` on its second
    one. Each has at least one token; a token that carries both coordinates belongs to both. Tokens from
    `scored` on are scored: there the answers of one question begin to differ. `scored` is one number for all of them, at most
    `start`.
    """

    ids: tuple[int, ...]
    scored: int
    start: int
    first_end: int
    second: int


class Prompter:
    """Writes episodes for a tokenizer: in the literal prefaces of the flags, or in its own chat template."""

    def __init__(self, config: Config, encoder: Encoder, tokenizer: PreTrainedTokenizerBase):
        self._config, self._encoder, self._tokenizer = config, encoder, tokenizer
        self._opening = self._first_tokens()
        self.frame: chat.Frame | None = None  # with --chat_template, written once: it may hold the date

    def _first_tokens(self) -> list[int]:
        return opening(self._tokenizer)

    def questions(self, episodes: Episodes, episode: int) -> list[Question]:
        """Return the novel queries of an episode, and with --llm_study the study ones."""
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
        """Return the question's text with each location as its answer, as tokens.

        The whole is tokenised as one text, as a reader would see it. The answer begins where the tokens part from
        those of the text without it. So a token that reaches over the border belongs to the answer. Where that
        happens for some locations only, all are scored from the first of these tokens on: their sums are then
        probabilities of texts that begin alike.
        """
        prompt, n = question.prompt, len(locations)
        texts = [f"{prompt} {x} {y}" for x, y in locations]
        halves = [f"{prompt} {x}" for x, _ in locations]
        bare, *rest = self.ids([prompt, *texts, *halves])
        wholes = rest[:n]
        starts = [max(1, min(common_length([bare, whole]), len(whole) - 1)) for whole in wholes]  # nothing precedes token 0
        found = []
        for location, whole, half, start in zip(locations, wholes, rest[n:], starts, strict=True):
            second = min(max(common_length([half, whole]), start + 1), len(whole) - 1)
            first_end = max(second, start + 1)
            if whole[: len(half)] != half:  # a token reaches over the border between the coordinates
                first_end = max(first_end, self._after_digit(str(location[0]), whole, start))
            found.append(Answer(tuple(whole), min(starts), start, first_end, max(second, start)))
        return found

    def _after_digit(self, digit: str, whole: list[int], start: int) -> int:
        """Return where the first token from `start` on that shows a digit ends; where none shows it, the end of all."""
        ends = range(start + 1, len(whole))
        return next((end for end in ends if digit in self._tokenizer.decode(whole[start:end])), len(whole))

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids, with the tokenizer's BOS once if it writes one at all."""
        plain = self._tokenizer(texts, add_special_tokens=False).input_ids
        begin = self._opening
        return [row if row[: len(begin)] == begin else [*begin, *row] for row in plain]

    def _head(self, context: str) -> str:
        """All that stands before a query's own words."""
        if not self._config.chat_template:
            return _without_bos(context)
        system, user = self._turns(context)
        if self.frame is None:
            self.frame = chat.frame(self._tokenizer, system, user)
        before, after = self.frame
        return before + user + after

    def _turns(self, context: str) -> tuple[str, str]:
        """Return a context as the words of the system and of a user."""
        preface = prompts.PREFACES[self._config.preface_id]
        items = context.removeprefix(preface).strip()
        test_preface = prompts.TEST_PREFACES[self._config.test_preface_id]
        system = " ".join(_SYSTEM.findall(preface)).strip()
        words = [_SYSTEM.sub(" ", preface), items, test_preface]
        user = " ".join(" ".join(words).replace("[INST]", " ").replace("[/INST]", " ").split())
        return system, _without_bos(user)

    def _cue(self, query: str) -> str:
        if self._config.chat_template:
            return self._alone(query)
        return f" {query}"

    def _alone(self, query: str) -> str:
        """Return a query without the words before it, which a chat has in the user's turn already."""
        return query.removeprefix(prompts.TEST_PREFACES[self._config.test_preface_id]).strip()


class ServerPrompter(Prompter):
    """Writes episodes for a server: as a text that the model goes on with, or as what a user says in a chat (`is_chat`).

    The server has the tokenizer and the chat template.
    """

    def __init__(self, config: Config, encoder: Encoder, tokenizer: Echo | None = None):
        super().__init__(config, encoder, tokenizer)
        self.is_chat = bool(config.chat_template)
        self._system = ""

    def with_tokens(self, tokenizer: Echo) -> ServerPrompter:
        """Return a prompter that reads tokens off the server."""
        return ServerPrompter(self._config, self._encoder, tokenizer)

    def messages(self, question: Question) -> list[dict[str, str]]:
        """Return a question as the messages of a chat."""
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, {"role": "user", "content": question.prompt}]

    def _first_tokens(self) -> list[int]:
        return []  # a server's tokenizer adds its own, if any

    def _head(self, context: str) -> str:
        if not self.is_chat:
            return _without_bos(context)
        self._system, user = self._turns(context)
        return user

    def _cue(self, query: str) -> str:
        return f" {self._alone(query)}" if self.is_chat else f" {query}"


def _without_bos(text: str) -> str:
    """Return a text without the literals of a beginning, for which a model has a token of its own."""
    for literal in BOS_LITERALS:
        text = text.removeprefix(literal)
    return text.lstrip(" ")


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids that the tokenizer writes by itself before a text: its BOS (or [CLS]), or none."""
    plain, whole = tokenizer("a", add_special_tokens=False).input_ids, tokenizer("a").input_ids
    for i in range(len(whole) - len(plain) + 1):
        if whole[i : i + len(plain)] == plain:
            return whole[:i]
    return []


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all sequences begin with alike."""
    first, last = min(sequences), max(sequences)  # in lexical order, these two differ the most
    for i, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return i
    return min(len(first), len(last))
