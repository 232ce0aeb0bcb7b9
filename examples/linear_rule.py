"""A task from outside: a discrete linear rule over two features. python main.py --task examples.linear_rule

An item has a value of each of two features. A rule ranks it, from 0 to n - 1: unrotated by one feature alone, rotated by the sum or
the difference of both, modulo n. Its answer is the word of its rank; an episode has words and rule of its own. Group A is the lower
half of the ranks, B the upper one. A blocked context shows one group after the other, an interleaved one mixes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.streams import stream
from flags.config import BadInput
from tasks.entry import Entry
from tasks.task import Items, check_split

if TYPE_CHECKING:
    from flags.config import Config

ENTRY = Entry(
    made_by="examples.linear_rule:LinearRule",
    curricula=("blocked", "interleaved"),
    n_groups=lambda flags: 2,
    n_items=lambda flags: flags["n_symbols"] ** 2,
    chance=lambda flags, rotation: 1 / flags["n_symbols"],  # a word a rank
    flags=("n_task_dims", "n_in_context"),  # and n_symbols, which every task may read
    legend="a, b: novel items of group A, of B.  First feature to the right, second upwards.",
    defaults={
        "n_symbols": 4,
        "n_task_dims": 120,
        "n_in_context": 8,
        "max_len": 64,
        "n_layers": 4,
        "n_epochs": 20,
        "finetune_bs": 8,
    },
    presets={"demo": {"n_layers": 2, "rope_theta": 100.0, "n_train": 14000, "n_epochs": 7, "n_steps_per_block": 200}},
    robust_demo={"queries_per_episode": 4, "pretrain_bs": 1024, "weight_init": "normal"},
)
WEIGHTS = {"unrotated": ((1, 0), (0, 1)), "rotated": ((1, 1), (1, -1))}  # of the features, in a rule


class LinearRule:
    """Items of the linear rule."""

    curricula = ENTRY.curricula
    n_groups = 2

    def __init__(self, config: Config):
        self.n_values, self.n_dims, self.n_study = config.n_symbols, config.n_task_dims, config.n_in_context
        self.n_items, self.plane = self.n_values**2, self.n_values
        self.n_of = {"test": config.n_test, "validation": config.n_val, "metalearning": config.n_train}
        features = [f"feature_{dim}_{value}" for dim in range(self.n_dims) for value in range(self.n_values)]
        self.words = (*features, *(f"answer_{rank}" for rank in range(self.n_values)))

    @staticmethod
    def check(config: Config) -> None:
        """Raise BadInput for flags that cannot work together."""
        n, n_study = config.n_symbols, config.n_in_context
        if n % 2:
            raise BadInput("n_symbols", n, "must be even: each group has half of the ranks")
        if n_study % n or n_study >= n**2:
            raise BadInput("n_in_context", n_study, f"must be a multiple of --n_symbols {n} below {n**2}")
        exist, held_out = config.n_task_dims * (config.n_task_dims - 1), config.n_val + config.n_test
        if held_out >= exist and not config.load_data_from:
            raise BadInput("n_val", config.n_val, f"holds out {held_out} pairs of features with --n_test; {exist} exist")

    def draw(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Items:
        """Return the first n episodes of a condition."""
        check_split(split, rotation, curriculum, self.curricula)
        cells, ranks, words = [], [], []
        for i in range(n):
            rng = stream(seed, "linear rule", split, rotation, curriculum, i)
            weights = WEIGHTS[rotation][rng.integers(2)]
            cell = np.indices((self.n_values, self.n_values)).reshape(2, -1).T  # [I, 2]
            rank = cell @ weights % self.n_values  # [I]
            order = item_order(rng, curriculum, rank, self.n_study)
            cells.append(cell[order])
            ranks.append(rank[order])
            words.append(rng.permutation(self.n_values)[rank[order]])
        place, group = np.stack(cells), np.stack(ranks) >= self.n_values // 2
        cue = self._pairs(seed, split, n)[:, None] * self.n_values + place  # [E, I, 2]
        answer = self.n_dims * self.n_values + np.stack(words)[..., None]  # [E, I, 1]
        return Items(cue.astype(np.int32), answer.astype(np.int32), group.astype(np.int8), place, self.n_study)

    def _pairs(self, seed: int, split: str, n: int) -> np.ndarray:
        """The features of n episodes, [n, 2]: no two splits share a pair. Metalearning uses its pairs in rounds; words and rule are
        drawn anew each time."""
        if n > self.n_of[split]:
            raise ValueError(f"{n} {split} episodes asked for, {self.n_of[split]} declared")
        pair = stream(seed, "linear rule pairs").permutation(self.n_dims * (self.n_dims - 1))
        test, held_out = self.n_of["test"], self.n_of["test"] + self.n_of["validation"]
        pair = {"test": pair[:test], "validation": pair[test:held_out], "metalearning": pair[held_out:]}[split]
        first, second = np.divmod(pair[np.arange(n) % len(pair)], self.n_dims - 1)
        return np.stack([first, second + (second >= first)], axis=1)


def item_order(rng: np.random.Generator, curriculum: str, rank: np.ndarray, n_study: int) -> np.ndarray:
    """Return the items of an episode, [I]: n_study, as many of each rank, in the order of the context; then the novel ones."""
    n = rank.max() + 1
    of_rank = [rng.permutation(np.flatnonzero(rank == r)) for r in range(n)]
    study = np.concatenate([items[: n_study // n] for items in of_rank])  # the lower ranks first
    novel = np.concatenate([items[n_study // n :] for items in of_rank])
    if curriculum == "blocked":
        halves = [rng.permutation(half) for half in np.split(study, 2)]
        study = np.concatenate(halves if rng.random() < 0.5 else halves[::-1])
    else:
        study = rng.permutation(study)
    return np.concatenate([study, rng.permutation(novel)])
