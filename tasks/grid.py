"""The grid (compositional) task: five colours lie along x, five animals along y; a coloured animal's place is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from math import perm
from typing import TYPE_CHECKING

import numpy as np

import prompts
from engine.streams import stream
from flags.config import BadInput
from tasks.entry import ROTATIONS
from tasks.grid_entry import ENTRY
from tasks.task import Items, check_split

if TYPE_CHECKING:
    from flags.config import Config

SIDE = 5  # colours, and animals, of an episode
CENTRE = SIDE // 2
# The context curricula whose names are allotted first. Those of curricula that came later are allotted after all others, so that a
# new one changes no episode of a job that does without it.
FIRST = ("aligned", "misaligned", "blocked", "interleaved")


class GridTask:
    """Items of the grid task. Groups: A = the first 5 study positions of the context, B = the last 4."""

    curricula = ENTRY.curricula
    n_study, n_items, n_groups = 9, 25, 2
    plane = 2 * SIDE - 1

    def __init__(self, config: Config):
        self.n_symbols, self.n_positions = config.n_symbols, config.n_positions
        self.p_flip_xy = config.p_flip_xy
        # Drawing without replacement is what both strict flags together ask for.
        self.strict_train = config.strict_train or config.generate_all
        self.strict_test = config.strict_test or config.generate_all
        self.n_train, self.n_val, self.n_test = config.n_train, config.n_val, config.n_test
        template = prompts.tokens(prompts.GRID_TEMPLATES[config.template_id])
        if config.real_words:
            colors, animals = prompts.COLORS[: self.n_symbols], prompts.ANIMALS[: self.n_symbols]
        else:
            colors, animals = (tuple(f"{kind}_{i}" for i in range(self.n_symbols)) for kind in ("color", "animal"))
        marks = [word for word in template if not word.startswith("<")]
        digits = [str(i) for i in range(self.plane)]
        self.words = tuple(dict.fromkeys([*colors, *animals, *marks, *digits]))
        self._template = template
        self._names: dict[int, np.ndarray] = {}

    @classmethod
    def check(cls, config: Config) -> None:
        """Raise BadInput for grid flags that cannot work together."""
        n_words = min(len(prompts.COLORS), len(prompts.ANIMALS))
        if config.real_words and config.n_symbols > n_words:
            raise BadInput("n_symbols", config.n_symbols, f"must be at most {n_words} with --real_words")
        if config.real_words and config.n_positions > 1:
            raise BadInput("n_positions", config.n_positions, "must be 1 with --real_words")
        if config.generate_all and config.n_positions > 1:
            raise BadInput("n_positions", config.n_positions, "must be 1 with --generate_all")
        if config.n_positions > config.n_symbols:
            raise BadInput(
                "n_positions", config.n_positions, f"must be at most --n_symbols {config.n_symbols}: a name's symbols differ"
            )
        n_names = perm(config.n_symbols, config.n_positions)
        if n_names < SIDE:
            raise BadInput(
                "n_symbols",
                config.n_symbols,
                f"makes {n_names} names; an episode needs {SIDE} for its colours, and as many for its animals",
            )
        exist = perm(n_names, SIDE) ** 2
        n_conditions = len(ROTATIONS) * len(cls.curricula)
        held_out = n_conditions * config.n_test + config.n_val
        strict_train, strict_test = config.strict_train or config.generate_all, config.strict_test or config.generate_all
        # Tests of later curricula need names that metalearning has left.
        counts_train = strict_train or (strict_test and cls.curricula != FIRST)
        n_distinct = (config.n_train if counts_train else 0) + (held_out if strict_test else 0)
        if config.load_data_from:  # only n_test counts
            return
        if n_distinct > exist or (n_distinct == exist and not counts_train):
            parts = f"--n_train {config.n_train}, --n_val {config.n_val} and {n_conditions} conditions of --n_test {config.n_test}"
            raise BadInput("n_symbols", config.n_symbols, f"{n_distinct} different episodes are asked for ({parts}), {exist} exist")

    def n_namings(self) -> int:
        """Return the number of ways to name an episode's colours and animals, their order counting."""
        return perm(perm(self.n_symbols, self.n_positions), SIDE) ** 2

    def draw(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Items:
        """Return the first n episodes of a condition; see `Items`, and the rules in the functions below."""
        check_split(split, rotation, curriculum, self.curricula)
        names = self._episode_names(seed, split, rotation, curriculum, n)  # [E, 2, 5, n_positions]
        cells = np.empty((n, self.n_items, 2), dtype=np.int32)  # (x, y) of colour and animal
        flipped = np.empty(n, dtype=bool)
        for i in range(n):
            rng = stream(seed, "grid", split, rotation, curriculum, i)
            flipped[i] = rng.random() < self.p_flip_xy
            cells[i] = self.order(rng, curriculum)
        place = locations(cells, flipped, rotated=rotation == "rotated")
        group = np.full((n, self.n_items), -1, dtype=np.int8)
        group[:, :SIDE], group[:, SIDE : self.n_study] = 0, 1
        first_digit = self.words.index("0")
        return Items(self._cues(names, cells), place + first_digit, group, place, self.n_study)

    def order(self, rng: np.random.Generator, curriculum: str) -> np.ndarray:
        """The cells of an episode in the order of a context curriculum, [25, 2] (see `item_order`)."""
        return item_order(rng, curriculum)

    def _cues(self, names: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """The template filled in: [E, 25, W] indices into `words`."""
        episode = np.arange(len(cells))[:, None]
        slots = []
        for word in self._template:
            if word in ("<color>", "<animal>"):
                axis = ("<color>", "<animal>").index(word)
                slots.append(names[episode, axis, cells[:, :, axis]] + axis * self.n_symbols)
            else:
                slots.append(np.full((*cells.shape[:2], 1), self.words.index(word)))
        return np.concatenate(slots, axis=2).astype(np.int32)

    def _episode_names(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> np.ndarray:
        """Rows of the seed's table of names: tests of the FIRST curricula (8 conditions), validation, metalearning, tests of
        later curricula, in this order. So the number of metalearning episodes changes no test of the FIRST curricula."""
        if seed not in self._names:
            self._names[seed] = self._allot_names(seed)
        n_first = len(ROTATIONS) * len(FIRST) * self.n_test
        if curriculum in FIRST:
            tests = (ROTATIONS.index(rotation) * len(FIRST) + FIRST.index(curriculum)) * self.n_test
        else:
            later = self._later.index(curriculum) * len(ROTATIONS) + ROTATIONS.index(rotation)
            tests = n_first + self.n_val + self.n_train + later * self.n_test
        start, size = {
            "test": (tests, self.n_test),
            "validation": (n_first, self.n_val),
            "metalearning": (n_first + self.n_val, self.n_train),
        }[split]
        if n > size:
            raise ValueError(f"{n} {split} episodes asked for, {size} declared")
        return self._names[seed][start : start + n]

    @property
    def _later(self) -> list[str]:
        return [name for name in self.curricula if name not in FIRST]

    def _allot_names(self, seed: int) -> np.ndarray:
        n_held_out = len(ROTATIONS) * len(FIRST) * self.n_test + self.n_val
        used: set[bytes] = set()
        held_out = self._first_rows(seed, "held out", n_held_out, used, distinct=self.strict_test)
        if not self.strict_test:
            used.clear()
        metalearning = self._first_rows(seed, "metalearning", self.n_train, used, distinct=self.strict_train)
        used = {row.tobytes() for row in (*held_out, *metalearning)} if self.strict_test and self._later else set()
        n_later = len(ROTATIONS) * len(self._later) * self.n_test
        later = self._first_rows(seed, "later tests", n_later, used, distinct=self.strict_test)
        return np.concatenate([held_out, metalearning, later])

    def _first_rows(self, seed: int, part: str, n: int, used: set[bytes], distinct: bool) -> np.ndarray:
        """Return the first n of an endless stream of namings that are not in `used`; with `distinct` none comes twice. Raises
        ValueError if fewer exist."""
        if len(used) + (n if distinct else min(n, 1)) > self.n_namings():
            raise ValueError(f"{n} namings of the episodes are asked for ({part}); {self.n_namings() - len(used)} are left")
        rows = np.empty((n, 2, SIDE, self.n_positions), dtype=np.int32)
        count = 0
        namings = self._namings(seed, part)
        while count < n:
            row = next(namings)
            key = row.tobytes()
            if key in used:
                continue
            if distinct:
                used.add(key)
            rows[count] = row
            count += 1
        return rows

    def _namings(self, seed: int, part: str) -> Iterator[np.ndarray]:
        """Independent uniform choices of five different names for the colours and five for the animals, in order."""
        rng = stream(seed, "grid names", part)
        while True:
            if self.n_positions == 1:
                rows = rng.random((1024, 2, self.n_symbols)).argsort(-1)[..., :SIDE, None]
            else:
                rows = rng.random((1024, 2, SIDE, self.n_symbols)).argsort(-1)[..., : self.n_positions]
                numbers = np.sort((rows * self.n_symbols ** np.arange(self.n_positions)).sum(-1), axis=-1)
                rows = rows[(numbers[..., 1:] != numbers[..., :-1]).all((1, 2))]
            yield from rows.astype(np.int32)


def item_order(rng: np.random.Generator, curriculum: str) -> np.ndarray:
    """The 25 cells (x, y) of an episode, [25, 2]: nine study cells in the order of the context, then the novel ones.

    blocked: one column's four others, the crossing, one row's four others; which arm comes first, and the crossing,
    at random. aligned: the same through the centre. misaligned: the two diagonals, the centre between them.
    interleaved: the cells of blocked, shuffled throughout. Raises ValueError for another curriculum.
    """
    match curriculum:
        case "aligned" | "misaligned":
            x, y = CENTRE, CENTRE
        case "blocked" | "interleaved":
            x, y = rng.integers(SIDE, size=2)
        case _:
            raise ValueError(f"{curriculum!r} has no order of items")
    if curriculum == "misaligned":
        arms = [[(i, i) for i in range(SIDE)], [(i, SIDE - 1 - i) for i in range(SIDE)]]
    else:
        arms = [[(x, i) for i in range(SIDE)], [(i, y) for i in range(SIDE)]]
    first, second = ([cell for cell in arm if cell != (x, y)] for arm in arms)
    if rng.random() < 0.5:
        first, second = second, first
    study = np.array([*rng.permutation(first), (x, y), *rng.permutation(second)])
    if curriculum == "interleaved":
        study = rng.permutation(study)
    is_novel = np.ones(SIDE * SIDE, dtype=bool)
    is_novel[study[:, 0] * SIDE + study[:, 1]] = False
    novel = rng.permutation(np.flatnonzero(is_novel))
    return np.concatenate([study, np.stack([novel // SIDE, novel % SIDE], axis=1)])


def locations(cells: np.ndarray, flipped: np.ndarray, rotated: bool) -> np.ndarray:
    """The answers [E, I, 2] to cells [E, I, 2]: (x, y), or (y, x) in flipped [E] episodes, then turned by 45°."""
    place = np.where(flipped[:, None, None], cells[..., ::-1], cells)
    if rotated:
        x, y = place[..., 0], place[..., 1]
        place = np.stack([x + y, y - x + SIDE - 1], axis=-1)
    return place.astype(np.int32)
