"""From the flags that were passed to a whole `Config`: what the preset, the base and the paper make of the others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import tasks
from flags import presets
from flags.base import NoBase, find_base
from flags.config import CATEGORY, DATA, EXECUTION, GRID, MODEL, PROMPT, TRAINING, BadInput, Config, is_sound
from flags.stages import before_the_last, is_stage


def resolve(passed: dict[str, Any]) -> Config:
    """The configuration of the flags that were passed: they win over the preset, the preset over the paper."""
    preset = passed.get("preset", None if passed else "demo")
    if passed.get("experiment") in presets.TRADE_OFFS and "load_model_from" not in passed:
        passed = {**passed, "load_model_from": _default_base(preset, passed)}
    passed = {**_inherited(passed), **passed}
    task = _task(preset, passed)
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
                raise BadInput(name, passed[name], f"{why}; random weights that finetuning starts from have --iwl_init_scale")
    _check_entry(task, values)
    known = {f.name: f.default for f in dataclasses.fields(Config)} | values
    values["stages"] = before_the_last(presets.stages(preset, task, passed.get("recipe")), known)
    values["out_dir"] = values.get("out_dir") or _default_folder(Config(**values), passed)
    return Config(**values)


def _check_entry(task: str, values: dict[str, Any]) -> None:
    """Raise BadInput for a value of an outside task's entry that no flag can have."""
    if task in tasks.TASKS:
        return
    fields = {f.name: f for f in dataclasses.fields(Config)}
    for name, value in values.items():
        if name not in fields:
            raise BadInput("task", task, f"its ENTRY has a value for {name}, which is no flag")
        if not is_sound(fields[name], value):
            raise BadInput("task", task, f"its ENTRY has {value!r} for --{name}")
    for recipe, table in tasks.entry_of(task).stages.items():
        for stage in table:
            if not is_stage(stage) or "pretrain_steps" not in stage:
                raise BadInput("task", task, f"its ENTRY has a wrong stage of the {recipe} recipe: {stage}")


def _task(preset: str | None, passed: dict[str, Any]) -> str:
    return passed.get("task", presets.DEFAULT_TASK.get(preset, tasks.DEFAULT))


def _default_base(preset: str | None, passed: dict[str, Any]) -> str:
    """The folder of the job that a trade-off experiment starts from, which has to be there."""
    task = _task(preset, passed)
    flags = {"preset": preset or "paper", "task": task, "pt_cond": "interleaved"}
    flags |= {"recipe": passed["recipe"]} if "recipe" in passed else {}
    folder = str(Path(resolve(flags).out_dir).parent)  # of all seeds, however many share a job
    if not Path(folder).exists():
        command = " ".join(f"--{name} {value}" for name, value in flags.items())
        if preset in presets.SMALL:  # in so few updates they are only learned after blocked contexts
            blocked = resolve({**flags, "pt_cond": "blocked"}).out_dir
            blocked = "results/demo" if task == presets.DEFAULT_TASK.get(preset) else str(Path(blocked).parent)
            command += f" --load_model_from {blocked} --pretrain_steps 150 --n_blocks 0"
        makers = f"this makes it: python main.py {command}"
        if script := tasks.entry_of(task).script:
            script = f"scripts/{script}_iwl_icl.sh"
            script += f" PRESET={preset}" if preset in presets.SMALL else ""
            script += f" --recipe {flags['recipe']}" if "recipe" in flags else ""
            makers = f"{script} makes it, or: python main.py {command}"
        raise BadInput("load_model_from", "", f"unset, and {folder} is not there; {makers}")
    return folder


def _inherited(passed: dict[str, Any]) -> dict[str, Any]:
    """The data, prompt and model flags of the job whose weights are loaded. Raises BadInput for a passed one that
    contradicts them: the test episodes would not be those that were held out."""
    if "load_model_from" not in passed:
        if "base_seed" in passed:
            raise BadInput("base_seed", passed["base_seed"], "chooses a seed of --load_model_from, which is missing")
        return {}
    if "base_seed" in passed and passed.get("n_runs", 1) != 1:
        raise BadInput("n_runs", passed["n_runs"], "--base_seed chooses one seed; leave one of the two out")
    try:
        n_runs = 1 if "base_seed" in passed else passed.get("n_runs", 1)
        base = find_base(Path(passed["load_model_from"]), passed.get("base_seed"), n_runs)
    except NoBase as error:
        raise BadInput("load_model_from", passed["load_model_from"], str(error)) from None
    except OSError as error:
        raise BadInput("load_model_from", passed["load_model_from"], f"cannot be read ({error.strerror or error})") from None
    groups = {f.name: f.metadata["group"] for f in dataclasses.fields(Config)}
    of_base = {name for name, group in groups.items() if group in (DATA, GRID, CATEGORY, PROMPT, MODEL)}
    of_base = (of_base | {"seed"}) - {"load_model_from", "base_seed"}
    for name in sorted(of_base & set(passed) & set(base.flags)):
        if passed[name] != base.flags[name]:
            remedy = "choose a seed of it with --base_seed" if name == "seed" else "leave the flag out"
            raise BadInput(name, passed[name], f"the base in {passed['load_model_from']} has {base.flags[name]}; {remedy}")
    if base.flags and passed.get("load_vocab") and _differs(Path(passed["load_vocab"]), base.weights[0].with_name("model.json")):
        why = f"has other ids than the base in {passed['load_model_from']}; leave the flag out"
        raise BadInput("load_vocab", passed["load_vocab"], why)
    may_differ = {name for name, group in groups.items() if group == TRAINING}
    if passed.get("experiment") not in presets.TRADE_OFFS:
        may_differ |= {"pt_rot_cond", "pt_cond"}
    values = {name: base.flags[name] for name in of_base | may_differ if name in base.flags}
    for f in dataclasses.fields(Config):
        if f.name in values and not is_sound(f, values[f.name]):
            raise BadInput("load_model_from", passed["load_model_from"], f"its config.json has {values[f.name]!r} for --{f.name}")
    return {**values, "base_seeds": base.seeds, "n_runs": n_runs}


def _differs(vocabulary: Path, model: Path) -> bool:
    """Whether a vocabulary file is not what the model.json of a base recorded; False if there is no such record."""
    try:
        recorded = json.loads(model.read_text(encoding="utf-8"))["vocabulary"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    try:
        return json.loads(vocabulary.read_text(encoding="utf-8")) != recorded
    except (OSError, ValueError):
        return True


def _default_folder(config: Config, passed: dict[str, Any]) -> str:
    """results/EXPERIMENT/CONDITION/SEEDS; the demo as it stands has the short name. All levels of a trade-off
    experiment have results/EXPERIMENT, and each level's job has its folder below."""
    how_it_is_run = {f.name for f in dataclasses.fields(Config) if f.metadata["group"] == EXECUTION}
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
    """CONDITION/SEEDS of one level of a trade-off experiment."""
    return Path(f"level_{config.ablation_level:g}") / _seeds_folder(config)


def _seeds_folder(config: Config) -> str:
    seeds = sorted(config.seeds)
    is_range = seeds == list(range(seeds[0], seeds[-1] + 1))
    return "seeds_" + ("-" if is_range else "_").join(
        f"{seed:02d}" for seed in ((seeds[0], seeds[-1]) if is_range and len(seeds) > 1 else seeds)
    )
