"""Contract of a task: it offers episodes as `Items`. data.py writes the text around them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from flags.config import CATEGORY, GRID, BadInput
from tasks.entry import ROTATIONS

if TYPE_CHECKING:
    from flags.config import Config
    from tasks.entry import Entry

# A seed that answers more of the novel items has learned to learn in context. The published analyses leave out the others, by their
# few-shot tests on blocked contexts; metalearning may start them again, by the validation of its own condition.
CRITERION = 0.9
# The three sets of episodes a seed has; no two of them share an episode.
SPLITS = ("metalearning", "validation", "test")


@dataclass(frozen=True)
class Items:
    """E episodes of I items each: first the study items in the order of the context, then the novel ones, shuffled.

    cue     [E, I, W]  what stands before the answer, as indices into the task's `words`
    answer  [E, I, T]  the answer, likewise
    group   [E, I]     0 = group A, 1 = group B, …; -1 = no group
    place   [E, I, 2]  where the item lies (grid: the location to be answered; category: the values of the two
                       dimensions), for people to look at
    n_study            study items per episode
    """

    cue: np.ndarray
    answer: np.ndarray
    group: np.ndarray
    place: np.ndarray
    n_study: int


class Task(Protocol):
    """Methods and values of a task that data.py needs."""

    words: tuple[str, ...]  # every word of cues and answers
    curricula: tuple[str, ...]  # context curricula
    n_study: int
    n_items: int
    n_groups: int
    plane: int  # places have coordinates from 0 to plane - 1

    def __init__(self, config: Config): ...

    @staticmethod
    def check(config: Config) -> None:
        """Raise BadInput for flags that cannot work together."""
        ...

    def draw(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Items:
        """The first n episodes of one condition of a split: a pure function of its arguments."""
        ...


def check_split(split: str, rotation: str, curriculum: str, curricula: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is no split, rotation or context curriculum."""
    for value, known in ((split, SPLITS), (rotation, ROTATIONS), (curriculum, curricula)):
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")


def check_entry(config: Config, entry: Entry, task: Task) -> None:
    """Raise BadInput for an entry that its class contradicts, and for a flag of other tasks that the task does not read."""
    flags = vars(config)
    for name, said, found in (
        ("curricula", entry.curricula, task.curricula),
        ("n_groups", entry.n_groups(flags), task.n_groups),
        ("n_items", entry.n_items(flags), task.n_items),
    ):
        if said != found:
            raise BadInput("task", config.task, f"its ENTRY has {name} {said}, its class {found}")
    for f in dataclasses.fields(config):
        is_read = entry.flags is None or f.name in entry.flags or f.metadata["heading"] not in (GRID, CATEGORY)
        if not is_read and flags[f.name] != f.default:
            raise BadInput(f.name, flags[f.name], f"the {config.task} task does not read it; leave the flag out")


def check_queries(config: Config, n_queries: int) -> None:
    """Raise BadInput if --queries_per_episode does not divide an episode's queries."""
    if n_queries % config.queries_per_episode:
        divisors = ", ".join(str(k) for k in range(1, n_queries + 1) if n_queries % k == 0)
        raise BadInput(
            "queries_per_episode", config.queries_per_episode, f"must divide the {n_queries} queries of an episode: {divisors}"
        )
