"""Log-probabilities of a text's own tokens, as servers of OpenAI's completions give them: `echo`, or vLLM's `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from llm.prompt import Answer
from llm.scoring import Scores


@dataclass(frozen=True)
class EchoedText:
    """The tokens of a text, as strings, and of each the natural logarithm of its probability and whether it is the most likely one.

    Of the first token nothing is known: NaN.
    """

    tokens: tuple[str, ...]
    log_p: np.ndarray
    top: np.ndarray


class Echo:
    """A server's tokens in the place of a tokenizer: texts are cut as the server cuts them, and scored in passing.

    WAYS: the arguments that ask for log-probabilities, by name, the most widely known first.
    """

    WAYS: ClassVar[dict[str, dict[str, Any]]] = {
        "echo": {"echo": True, "logprobs": 1},
        "prompt_logprobs": {"extra_body": {"prompt_logprobs": 1}},
    }

    def __init__(self, read: Callable[[str], EchoedText]):
        self._read = read
        self._found: dict[str, EchoedText] = {}

    def __call__(self, texts: Sequence[str], add_special_tokens: bool = False) -> SimpleNamespace:
        """Return the tokens of each text as `input_ids`."""
        for text in texts:
            if text not in self._found:
                self._found[text] = self._read(text)
        return SimpleNamespace(input_ids=[list(self._found[text].tokens) for text in texts])

    def decode(self, tokens: Sequence[str]) -> str:
        """Return the text of some tokens."""
        return "".join(tokens)

    def scores(self, answer: Answer) -> Scores:
        """Return the judgement of an answer whose tokens were read here."""
        found = next(echoed for echoed in self._found.values() if echoed.tokens == answer.ids)
        return Scores(found.log_p[answer.scored :], found.top[answer.scored :])


def read_echo(completion: Any, way: str, text: str) -> EchoedText | None:
    """Return what a completion says of its prompt `text`; None if that is nothing, or not of this text.

    Raises AttributeError, TypeError or IndexError for what is no completion.
    """
    choice = completion.choices[0]
    read = _of_logprobs if way == "echo" else _of_prompt_logprobs
    try:
        found = read(choice, completion)
    except (AttributeError, TypeError, KeyError, ValueError, IndexError):
        return None
    is_whole = len(found.tokens) > 1 and "".join(found.tokens).endswith(text[-8:])
    return found if is_whole and np.isfinite(found.log_p[1:]).all() else None


def _of_logprobs(choice: Any, completion: Any) -> EchoedText:
    """Read `logprobs` of the prompt and of the generated text, which is cut off."""
    given, n_new = choice.logprobs, completion.usage.completion_tokens
    end = len(given.tokens) - n_new
    log_p = np.array([np.nan if p is None else p for p in given.token_logprobs[:end]], dtype=float)
    best = [max(tops.values(), default=np.nan) if tops else np.nan for tops in given.top_logprobs[:end]]
    return EchoedText(tuple(given.tokens[:end]), log_p, log_p >= np.array(best))


def _of_prompt_logprobs(choice: Any, completion: Any) -> EchoedText:
    """Read vLLM's list: None, then {token id: logprob, rank, decoded_token} of each token and of the likeliest in its place."""
    entries = choice.prompt_logprobs[1:]
    own = [max(entry.values(), key=lambda one: one["rank"]) for entry in entries]  # the likeliest, where it is another, has rank 1
    tokens = tuple(one["decoded_token"] for one in own)
    log_p = np.array([np.nan, *(one["logprob"] for one in own)], dtype=float)
    return EchoedText(("", *tokens), log_p, np.array([False, *(one["rank"] == 1 for one in own)]))
