"""Resolution of the flags that were passed to a whole `Config`: preset, base and paper give the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tasks
from flags import presets
from flags.base import Base
from flags.config import EXECUTION, BadInput, Config, fields, is_sound
from flags.inherited import inherited
from flags.stages import before_the_last, is_stage


def resolve(passed: dict[str, Any], base: Base | None = None) -> Config:
    """The configuration of the flags that were passed: they win over the preset, the preset over the paper. `base` is what
    `--load_model_from` names; nothing is read from the disk here. Raises BadInput."""
    preset = preset_of(passed)
    if base is not None:
        passed = {**inherited(passed, base), **passed}
    task = task_of(preset, passed)
    alone = passed.get("n_epochs") == 0 and "load_model_from" not in passed
    experiment = passed.get("experiment") or ("iwl_only" if alone else "icl_iwl")
    if "llm" in passed or "llama2_size" in passed:
        experiment = passed.get("experiment", "llm")
    of_server = {"scoring": "generate", "num_beams": 1} if passed.get("llm_api") else {}
    values = {**presets.values(preset, task, experiment, passed.get("recipe"), passed.get("n_epochs")), **of_server, **passed}
    values.update(preset=preset, task=task, experiment=experiment)
    values.update({name: passed.get(name, 0) for name in presets.without_effect(values)})
    if why := presets.no_start(values):
        for name in presets.OF_START:
            if name in passed:
                raise BadInput(name, passed[name], f"{why}; for finetuning from random weights pass --iwl_init_scale")
    _check_entry(task, values)
    known = {f.name: f.default for f in dataclasses.fields(Config)} | values
    values["stages"] = before_the_last(presets.stages(preset, task, passed.get("recipe")), known)
    values["out_dir"] = values.get("out_dir") or _default_folder(Config(**values), passed)
    return Config(**values)


def _check_entry(task: str, values: dict[str, Any]) -> None:
    """Raise BadInput for a value of an outside task's entry that no flag can have."""
    if task in tasks.TASKS:
        return
    known = {f.name: f for f in dataclasses.fields(Config)}
    for name, value in values.items():
        if name not in known:
            raise BadInput("task", task, f"its ENTRY has a value for {name}, which is no flag")
        if not is_sound(known[name], value):
            raise BadInput("task", task, f"its ENTRY has {value!r} for --{name}")
    for recipe, table in tasks.entry_of(task).stages.items():
        for stage in table:
            if not is_stage(stage) or "pretrain_steps" not in stage:
                raise BadInput("task", task, f"its ENTRY has a wrong stage of the {recipe} recipe: {stage}")


def preset_of(passed: dict[str, Any]) -> str | None:
    """Return the preset that was passed; the demo if nothing was."""
    return passed.get("preset", None if passed else "demo")


def task_of(preset: str | None, passed: dict[str, Any]) -> str:
    """Return the task that was passed, or else the preset's."""
    return passed.get("task", presets.DEFAULT_TASK.get(preset, tasks.DEFAULT))


def _default_folder(config: Config, passed: dict[str, Any]) -> str:
    """Return results/EXPERIMENT/CONDITION/SEEDS, or the short name of the demo without changes.

    All levels of a trade-off experiment share results/EXPERIMENT; each level's job has a folder in it.
    """
    how_it_is_run = {f.name for f in fields(EXECUTION)}
    if config.preset == "demo" and set(passed) <= how_it_is_run - {"recipe"}:
        return "results/demo"
    size = f"{config.preset}_" if config.preset not in (None, "paper") else ""
    if config.recipe not in (None, presets.DEFAULT_RECIPE.get(config.preset, "published")):
        size += f"{config.recipe}_"
    folder = Path(f"results/{size}{config.task}_{config.experiment}")
    if config.experiment == "llm":
        condition = "_".join(word for word in (config.pt_rot_cond, config.pt_cond) if word) or "all"
        return str(folder / config.model_label / condition / _seeds_folder(config))
    if config.is_sweep:
        return str(folder)
    if config.experiment in presets.TRADE_OFFS:
        return str(folder / level_folder(config))
    condition = f"{config.pt_rot_cond}_{config.pt_cond}" if config.n_epochs else config.init
    return str(folder / condition / _seeds_folder(config))


def level_folder(config: Config) -> Path:
    """Return CONDITION/SEEDS of one level of a trade-off experiment."""
    return Path(f"level_{config.ablation_level:g}") / _seeds_folder(config)


def _seeds_folder(config: Config) -> str:
    seeds = sorted(config.seeds)
    is_range = seeds == list(range(seeds[0], seeds[-1] + 1))
    return "seeds_" + ("-" if is_range else "_").join(
        f"{seed:02d}" for seed in ((seeds[0], seeds[-1]) if is_range and len(seeds) > 1 else seeds)
    )
