"""The flags that a job has from the job whose weights it starts from. Nothing is read here: base.py finds that job."""

from __future__ import annotations

import dataclasses
from typing import Any

from flags import presets
from flags.base import Base
from flags.config import TASK_AND_MODEL, TRAINING, BadInput, Config, fields, is_sound


def always() -> set[str]:
    """Return the flags that are the base's: its weights are of this task and model, and its test episodes were held out."""
    return {f.name for f in fields(*TASK_AND_MODEL)} - {"load_model_from", "base_seed"} | {"seed"}


def unless_passed(experiment: str | None) -> set[str]:
    """Return the flags that are the base's where none is passed. A trade-off has rotation and curriculum of its own."""
    names = {f.name for f in fields(TRAINING)}
    return names if experiment in presets.TRADE_OFFS else names | {"pt_rot_cond", "pt_cond"}


def n_runs(passed: dict[str, Any]) -> int:
    """Return how many seeds of a base are started from."""
    return 1 if "base_seed" in passed else passed.get("n_runs", 1)


def inherited(passed: dict[str, Any], base: Base) -> dict[str, Any]:
    """Return the values of the base's flags for a job that passes these. Raises BadInput for a passed one that contradicts the
    base, and for a value that no job can have recorded."""
    path = passed["load_model_from"]
    for name in sorted(always() & set(passed) & set(base.flags)):
        if passed[name] != base.flags[name]:
            remedy = "choose a seed of it with --base_seed" if name == "seed" else "leave the flag out"
            raise BadInput(name, passed[name], f"the base in {path} has {base.flags[name]}; {remedy}")
    names = always() | unless_passed(passed.get("experiment"))
    values = {name: base.flags[name] for name in names if name in base.flags}
    for f in dataclasses.fields(Config):
        if f.name in values and not is_sound(f, values[f.name]):
            raise BadInput("load_model_from", path, f"its config.json has {values[f.name]!r} for --{f.name}")
    return {**values, "base_seeds": base.seeds, "n_runs": n_runs(passed)}
