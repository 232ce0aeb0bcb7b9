"""A question that a language model was asked, and what is right in its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm.prompt import Answer, Location, Question
from llm.scoring import Scores, first_location, likeliest

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Asked:
    """A question of an episode and its result by scoring: True for each of (first, second) coordinate that is right."""

    question: Question
    right: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # for people to read


def take_text(one: Asked, text: str) -> None:
    """Grade what was generated in answer to a question."""
    first, second = first_location(text)
    one.right["generate"] = (first == one.question.location[0], second == one.question.location[1])
    one.said["generate"] = text


def take_scores(
    one: Asked, where: list[Location], candidates: list[Answer], scored: list[Scores], scorings: tuple[str, ...]
) -> None:
    """Grade the log-probabilities of a question's candidate answers, which are of the locations `where`."""
    right = where.index(one.question.location)
    if "argmax" in scorings:
        one.right["argmax"] = halves(candidates[right], scored[right].top)
        its_own = candidates[right].start - candidates[right].scored
        one.said["argmax"] = " ".join(f"{p:.2f}" for p in scored[right].log_p[its_own:])
    if "candidates" in scorings:
        best = likeliest(where, scored)
        one.right["candidates"] = tuple(a == b for a, b in zip(best, one.question.location, strict=True))
        one.said["candidates"] = f"{best[0]} {best[1]}"


def halves(answer: Answer, top: np.ndarray) -> tuple[bool, bool]:
    """Return for each coordinate if all of its tokens are the most likely ones; a token that carries both counts for both.

    top [T]: for each scored token, whether it is the most likely one.
    """
    first = top[answer.start - answer.scored : answer.first_end - answer.scored]
    return bool(first.all()), bool(top[answer.second - answer.scored :].all())
