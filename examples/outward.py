"""A context curriculum of one's own: the grid task with "outward". python main.py --task examples.outward --pt_cond outward

The study items of a blocked context, but each arm is walked from the crossing outwards, nearest cells first: row and column are
shown as ordered lines, not as sets. All other episodes are those of the grid task.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tasks import TASKS
from tasks.grid import SIDE, GridTask

ENTRY = dataclasses.replace(
    TASKS["grid"],
    made_by="examples.outward:Outward",
    curricula=(*TASKS["grid"].curricula, "outward"),  # a new one stands last
    script=None,
)


class Outward(GridTask):
    """The grid task with one curriculum more."""

    curricula = ENTRY.curricula

    def order(self, rng: np.random.Generator, curriculum: str) -> np.ndarray:
        """The cells of an episode in the order of a context curriculum, [25, 2]: study items, then novel ones."""
        if curriculum != "outward":
            return super().order(rng, curriculum)
        cells = super().order(rng, "blocked")
        arms = [cells[: SIDE - 1], cells[SIDE : self.n_study]]  # around the crossing
        return np.concatenate([outwards(arms[0], cells[SIDE - 1]), cells[SIDE - 1 : SIDE], outwards(arms[1], cells[SIDE - 1]),
                               cells[self.n_study :]])  # fmt: skip


def outwards(arm: np.ndarray, crossing: np.ndarray) -> np.ndarray:
    """Return an arm's cells [4, 2], the nearest to the crossing first; of two at a distance, the one that was first."""
    return arm[np.abs(arm - crossing).sum(1).argsort(kind="stable")]
