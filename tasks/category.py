"""The category task: two dimensions of ordered values, and a boundary that separates the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import prompts
from engine.streams import stream
from flags.config import BadInput
from tasks.category_entry import ENTRY
from tasks.task import Items, check_split

if TYPE_CHECKING:
    from flags.config import Config

# Which group (A = 0) the quadrants Q0 to Q3 belong to; the group of Q0 is always A.
ONE_RELEVANT = ((0, 0, 1, 1), (0, 1, 0, 1))  # the first, the second dimension is relevant
TWO_RELEVANT = {2: (0, 1, 1, 0), 4: (0, 1, 2, 3)}  # by labels of an episode


class CategoryTask:
    """Items of the category task. Groups go by label: A has the label of quadrant Q0."""

    curricula = ENTRY.curricula

    def __init__(self, config: Config):
        self.n_dims, self.n_values = config.n_task_dims, config.n_symbols
        self.n_rel_dims, self.n_labels = config.n_rel_dims, config.n_labels
        self.n_groups = config.n_labels_per_task
        self.n_distractors = config.n_distractors
        self.n_study, self.n_items, self.plane = config.n_in_context, self.n_values**2, self.n_values
        self.n_train, self.n_val, self.n_test = config.n_train, config.n_val, config.n_test
        self._before, self._between, self._after = map(prompts.tokens, prompts.CATEGORY_FORMATS[config.format])
        symbols = [f"symbol_{dim}_{value}" for dim in range(self.n_dims) for value in range(self.n_values)]
        labels = [f"label_{i}" for i in range(self.n_labels)]
        marks = [*self._before, *self._between, *self._after]
        self.words = tuple(dict.fromkeys([*symbols, *marks, *labels]))
        self._pairs: dict[int, np.ndarray] = {}

    @staticmethod
    def check(config: Config) -> None:
        """Raise BadInput for category flags that cannot work together."""
        if config.n_symbols % 2:
            raise BadInput("n_symbols", config.n_symbols, "must be even for the category task: the boundary lies in the middle")
        if config.n_in_context % 4:
            raise BadInput("n_in_context", config.n_in_context, "must be a multiple of 4, the number of quadrants")
        if config.n_in_context >= config.n_symbols**2:
            raise BadInput(
                "n_in_context",
                config.n_in_context,
                f"must be less than n_symbols², {config.n_symbols**2}: novel items are needed as well",
            )
        if config.n_labels_per_task > config.n_labels:
            raise BadInput("n_labels_per_task", config.n_labels_per_task, f"must be at most --n_labels {config.n_labels}")
        if config.n_labels_per_task == 4 and config.n_rel_dims == 1:
            raise BadInput("n_labels_per_task", 4, "needs --n_rel_dims 2: one dimension separates two labels")
        if config.n_distractors > config.n_task_dims - 2:
            raise BadInput(
                "n_distractors",
                config.n_distractors,
                f"leaves none of --n_task_dims {config.n_task_dims} for the two dimensions of an episode",
            )
        exist, held_out = config.n_task_dims * (config.n_task_dims - 1), config.n_val + config.n_test
        if held_out >= exist and not config.load_data_from:
            raise BadInput(
                "n_val", config.n_val,
                f"with --n_test {config.n_test} holds out {held_out} pairs of dimensions; "
                f"--n_task_dims {config.n_task_dims} has {exist}, and metalearning needs some",
            )  # fmt: skip

    def draw(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Items:
        """The first n episodes of a condition.

        Test pairs of dimensions, label maps and distractors serve every condition alike; relevant dimension, item
        split and token order are drawn anew for each.
        """
        check_split(split, rotation, curriculum, self.curricula)
        n_shown = 2 + self.n_distractors
        values = np.empty((n, self.n_items, n_shown), dtype=np.int32)  # by dimension, in the order of `dims`
        dims = np.empty((n, n_shown), dtype=np.int32)
        shown = np.empty((n, n_shown), dtype=np.int32)  # the order in which the dimensions are written
        label = np.empty((n, self.n_groups), dtype=np.int32)
        group = np.empty((n, self.n_items), dtype=np.int8)
        quadrant = quadrants(self.n_values, rotated=rotation == "rotated")  # [n_items]
        cells = np.indices((self.n_values, self.n_values)).reshape(2, -1).T  # [n_items, 2]
        for i, pair in enumerate(self._dimension_pairs(seed, split, n)):
            fixed = stream(seed, "category fixed", split, i)
            label[i] = fixed.permutation(self.n_labels)[: self.n_groups]
            others = np.delete(np.arange(self.n_dims), pair)
            dims[i] = [*pair, *fixed.permutation(others)[: self.n_distractors]]
            rng = stream(seed, "category", split, rotation, curriculum, i)
            group_of = ONE_RELEVANT[rng.integers(2)] if self.n_rel_dims == 1 else TWO_RELEVANT[self.n_groups]
            shown[i] = rng.permutation(n_shown)
            order = self.order(rng, curriculum, quadrant)
            group[i] = np.array(group_of)[quadrant[order]]
            values[i, :, :2] = cells[order]
            values[i, :, 2:] = rng.integers(self.n_values, size=(self.n_items, self.n_distractors))
        symbols = dims[:, None] * self.n_values + values  # [E, I, 2 + n_distractors]
        symbols = np.take_along_axis(symbols, shown[:, None].astype(np.intp), axis=2)
        first_label = self.words.index("label_0")
        answer = first_label + np.take_along_axis(label, group.astype(np.intp), axis=1)[..., None]
        return Items(self._cues(symbols), answer.astype(np.int32), group, values[..., :2], self.n_study)

    def order(self, rng: np.random.Generator, curriculum: str, quadrant: np.ndarray) -> np.ndarray:
        """The cells of an episode in the order of a context curriculum, [I], by the quadrant of each (see `item_order`)."""
        return item_order(rng, curriculum, quadrant, self.n_study)

    def _cues(self, symbols: np.ndarray) -> np.ndarray:
        """The format filled in: [E, I, W] indices into `words`."""

        def marks(words: list[str]) -> list[np.ndarray]:
            return [np.full((*symbols.shape[:2], 1), self.words.index(word)) for word in words]

        slots = marks(self._before)
        for k in range(symbols.shape[2]):
            slots += [*(marks(self._between) if k else []), symbols[..., k : k + 1]]
        return np.concatenate([*slots, *marks(self._after)], axis=2).astype(np.int32)

    def _dimension_pairs(self, seed: int, split: str, n: int) -> np.ndarray:
        """The ordered pairs of dimensions [n, 2] of a split; no two splits share a pair. Tests come first, then
        validation, then metalearning, so that the number of metalearning episodes changes no test. No pair comes
        twice, unless metalearning has more episodes than pairs are left. Then it uses these in rounds. Labels, relevant
        dimension and items are drawn anew each time, so that no pair has an answer of its own."""
        if seed not in self._pairs:
            number = stream(seed, "category pairs").permutation(self.n_dims * (self.n_dims - 1))
            first, second = number // (self.n_dims - 1), number % (self.n_dims - 1)
            self._pairs[seed] = np.stack([first, second + (second >= first)], axis=1)
        start, size = {
            "test": (0, self.n_test),
            "validation": (self.n_test, self.n_val),
            "metalearning": (self.n_test + self.n_val, self.n_train),
        }[split]
        if n > size:
            raise ValueError(f"{n} {split} episodes asked for, {size} declared")
        row = start + np.arange(n)
        if split == "metalearning":
            row = start + np.arange(n) % (len(self._pairs[seed]) - start)
        return self._pairs[seed][row]


def quadrants(n_values: int, rotated: bool) -> np.ndarray:
    """The quadrant, 0 to 3, of every pair of values (x, y), x major: [n_values²], a quarter of them in each.

    With m the midpoint and (p, q) = (x, y), or (x - y + n - 1, x + y) when rotated: Q0 p ≤ m and q < m, Q1 p < m and
    q ≥ m, Q2 p > m and q ≤ m, Q3 p ≥ m and q > m.
    """
    p, q = np.indices((n_values, n_values)).reshape(2, -1)
    doubled_midpoint = n_values - 1
    if rotated:
        p, q = p - q + n_values - 1, p + q
        doubled_midpoint *= 2
    p, q = 2 * p - doubled_midpoint, 2 * q - doubled_midpoint  # the midpoint is now 0, still whole numbers
    return np.select([(p <= 0) & (q < 0), (p < 0) & (q >= 0), (p > 0) & (q <= 0), (p >= 0) & (q > 0)], [0, 1, 2, 3])


def item_order(rng: np.random.Generator, curriculum: str, quadrant: np.ndarray, n_study: int) -> np.ndarray:
    """Cells of an episode: n_study of them, equally many of each quadrant, in the order of the context, then the novel ones.

    blocked: four runs of one quadrant each, quadrants in random order; interleaved: shuffled throughout. Raises ValueError for
    another curriculum.
    """
    chosen, novel = [], []
    for q in range(4):
        cells = rng.permutation(np.flatnonzero(quadrant == q))
        chosen.append(cells[: n_study // 4])
        novel.append(cells[n_study // 4 :])
    match curriculum:
        case "blocked":
            study = np.concatenate([chosen[q] for q in rng.permutation(4)])
        case "interleaved":
            study = rng.permutation(np.concatenate(chosen))
        case _:
            raise ValueError(f"{curriculum!r} has no order of items")
    return np.concatenate([study, rng.permutation(np.concatenate(novel))])
