"""The stages of metalearning: stretches with settings of their own. The last one is the condition that the flags describe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks import entry_of

if TYPE_CHECKING:
    from flags.config import Config

# What an earlier stage may have less of. A smaller task or model learns sooner (docs/emergence.md).
SIZES = ("n_in_context", "n_layers", "p_flip_xy")
OF_DATA = ("n_in_context", "p_flip_xy")
# How an earlier stage's batches are cut.
OF_BATCH = ("queries_per_episode", "pretrain_bs")
# All that an earlier stage may name.
IN_STAGE = {*SIZES, "pretrain_lr", "lr_schedule", "pretrain_bs", "queries_per_episode", "warmup_steps", "pretrain_steps", "bar"}


@dataclass(frozen=True)
class Stage:
    """A stage, counted from 1: the flags as they are in it, and the novel accuracy in validation that ends it, if any does."""

    number: int
    config: Config
    bar: float | None
    is_last: bool

    def n_steps(self, per_epoch: int) -> int:
        """Updates of a start, at most; `per_epoch` of them are an epoch."""
        return n_steps(self.config.n_epochs, self.config.pretrain_steps, per_epoch)


def n_steps(n_epochs: int, pretrain_steps: int | None, per_epoch: int) -> int:
    """Updates of a start, at most: of the flags, or of all epochs; none without epochs."""
    return min(n_epochs, 1) * (pretrain_steps or n_epochs * per_epoch)


def n_queries(flags: dict[str, Any]) -> int:
    """Queries of an episode that flags make: one for each item."""
    return entry_of(flags["task"]).n_items(flags)


def before_the_last(table: tuple[dict[str, Any], ...], flags: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the stages of a recipe's table that a job with these flags has before its last.

    A stage has at most the sizes of the last one. A stage with the sizes of the last, or of an earlier one, is left out.
    Episodes of files are as they are. Where a stage's own batches would not divide an episode's queries, it has those of the last.
    """
    if flags["n_epochs"] == 0 or flags["load_model_from"] is not None or flags["stage_steps"] == 0:
        return ()
    found, there = [], [[flags[name] for name in SIZES]]
    for stage in table:
        stage = {name: value for name, value in stage.items() if not (name in OF_DATA and flags["load_data_from"])}
        stage |= {name: min(stage[name], flags[name]) for name in SIZES if name in stage}
        if n_queries(flags) % stage.get("queries_per_episode", 1):
            stage = {name: value for name, value in stage.items() if name not in OF_BATCH}
        if flags["stage_steps"]:
            stage["pretrain_steps"] = flags["stage_steps"]
        sizes = [stage.get(name, flags[name]) for name in SIZES]
        if sizes not in there:
            found.append(stage)
            there.append(sizes)
    return tuple(found)


def flags_of(flags: dict[str, Any], stage: int) -> dict[str, Any]:
    """Return the flags of a job, as recorded, as they are in one of its stages."""
    earlier = flags.get("stages", ())
    changed = earlier[stage - 1] if stage <= len(earlier) else {}
    later = {"readout_steps": 0} if stage > 1 else {}  # it starts from the weights of the stage before
    return {**flags, **{name: value for name, value in changed.items() if name != "bar"}, **later}


def is_stage(changed: Any) -> bool:
    """Return True for what a job can have recorded of a stage before the last."""
    if not isinstance(changed, dict):
        return False
    numbers = {name: value for name, value in changed.items() if name != "lr_schedule"}
    return set(changed) <= IN_STAGE and all(isinstance(value, int | float) for value in numbers.values())


def stages_of(config: Config) -> list[Stage]:
    """Return all stages of a job, the last one with the flags as they stand."""
    found = []
    flags = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for number, changed in enumerate((*config.stages, {}), start=1):
        stage = dataclasses.replace(config, **flags_of(flags, number))
        found.append(Stage(number, stage, changed.get("bar"), number > len(config.stages)))
    return found
