"""Entry of a task, known before the task is imported: plain values, and functions of the flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Flags = Mapping[str, Any]
Stage = dict[str, Any]
Nested = Mapping[str, dict[str, Any]]
ROTATIONS = ("unrotated", "rotated")
STEP_CURRICULA = ("blocked", "interleaved")  # each is also a context curriculum of every task
LEGEND = "a, b: novel items of group A and B; ·: of no group.  x to the right, y upwards."


@dataclass(frozen=True)
class Entry:
    """A task's line in the registry. Flags and their values are those of `flags.config.Config`.

    made_by    where the class is: "PACKAGE.MODULE:CLASS" (see `tasks.task.Task`)
    curricula  its context curricula; new ones stand last
    n_groups   groups of an episode, 1 to 4, by the flags
    n_items    items of an episode, study and novel ones, by the flags
    chance     accuracy, 0 to 1, of uniform guesses among the answers of a rotation, by the flags and the rotation
    flags      flags under "grid task" and "category task" that it reads; others that are passed are refused. None: none is,
               as published commands pass flags of the other task
    legend     the line under an episode that --show draws
    script     what the names of its scripts begin with; None: it has no scripts

    The others hold values of flags that were not passed. They lie on those for any task in flags/presets.py.

    defaults         always
    presets          by preset
    recipes          by recipe, robust_demo with the robust recipe at the demo's size
    stages           by recipe: the stages before the last
    trade_off        of trade-off experiments, trade_off_demo at the demo's size
    trained_levels   how many of a trade-off's levels it trains at, the lowest first; None: all

    Raises ValueError if a step curriculum is missing in the context curricula, or a curriculum stands twice.
    """

    made_by: str
    curricula: tuple[str, ...]
    n_groups: Callable[[Flags], int]
    n_items: Callable[[Flags], int]
    chance: Callable[[Flags, str], float]
    flags: tuple[str, ...] | None = ()
    legend: str = LEGEND
    script: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    presets: Nested = field(default_factory=dict)
    recipes: Nested = field(default_factory=dict)
    robust_demo: dict[str, Any] = field(default_factory=dict)
    stages: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)
    trade_off: dict[str, Any] = field(default_factory=dict)
    trade_off_demo: dict[str, Any] = field(default_factory=dict)
    trained_levels: int | None = None

    def __post_init__(self) -> None:
        if missing := [name for name in STEP_CURRICULA if name not in self.curricula]:
            raise ValueError(f"a task's context curricula include {' and '.join(missing)}")
        if len(set(self.curricula)) < len(self.curricula):
            raise ValueError(f"a context curriculum stands twice in {', '.join(self.curricula)}")

    @property
    def shown_curricula(self) -> tuple[str, ...]:
        """The context curricula in the order in which people are shown them."""
        return shown(self.curricula)


def shown(curricula: tuple[str, ...]) -> tuple[str, ...]:
    """Return context curricula with the step curricula first, each once."""
    return tuple(dict.fromkeys([*STEP_CURRICULA, *curricula]))
