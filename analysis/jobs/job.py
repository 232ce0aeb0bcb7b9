"""A job's folder, as its config.json and progress.json tell of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tasks
from flags import conditions, inherited, presets
from flags.ablations import trade_offs
from flags.config import TASK_AND_MODEL, Config, fields
from flags.stages import before_the_last

CHANGED = "changed"  # in a size's name: the task or the model is not the preset's
INERT = {"dropout_p", "model_dtype"}  # in a job that trains
TRADE_OFF_OF = {ablation: experiment for experiment, ablation in trade_offs().items()}


@dataclass(frozen=True)
class Job:
    """A job's folder, as its config.json and progress.json tell of it."""

    folder: Path
    flags: dict[str, Any]
    execution: dict[str, Any]
    finished: bool

    @cached_property
    def size(self) -> str:
        """Return the size in words: the preset, and all that sets the job apart from it.

        That is a recipe other than the preset's, an ablation that no trade-off varies, and a changed task or model.
        """
        preset, recipe = self.execution.get("preset") or "no preset", self.execution.get("recipe")
        words = [preset] if recipe in (None, presets.DEFAULT_RECIPE.get(preset, "published")) else [preset, f"{recipe} recipe"]
        free = {"task", "load_model_from", "base_seed", "n_train", "n_val", "n_test", "max_len"}
        of_task = {f.name for f in fields(*TASK_AND_MODEL)} - free
        usual = self._preset_values
        changed = [name for name in of_task if self.flags[name] != usual[name]]
        words += [self.disturbed] if self.disturbed else []
        return ", ".join(words + ([CHANGED] if changed and self.experiment != "llm" else []))

    @property
    def disturbed(self) -> str:
        """The ablation of a job that belongs to no trade-off ("mask 0.5"); empty without one. Finetuning
        then differs, so such a job is not compared with a plain one."""
        if self.flags["ablation"] is None or self.experiment in presets.TRADE_OFFS:
            return ""
        return f"{self.flags['ablation']} {self.training_level:g}"

    @property
    def _preset_values(self) -> dict[str, Any]:
        """Return the flags' values if none had been passed but preset, recipe, task, experiment and the epochs."""
        names = (self.execution.get("preset"), self.task, self.flags["experiment"], self.execution.get("recipe"))
        return {f.name: f.default for f in dataclasses.fields(Config)} | presets.values(*names, self.flags["n_epochs"])

    @cached_property
    def config(self) -> Config:
        """The flags as a configuration."""
        known = {f.name: self.flags[f.name] for f in dataclasses.fields(Config)}
        tuples = {name: tuple(known[name]) for name in ("base_seeds", "stages")}
        return Config(**{**known, "preset": self.execution.get("preset"), **tuples})

    @property
    def task(self) -> str:
        """Return the task's name, as --task takes it."""
        return self.flags["task"]

    @cached_property
    def experiment(self) -> str:
        """Return the experiment of the flags, or the trade-off that a published command without --experiment is a level of.

        Such a command finetunes loaded weights on rule-like tasks under an ablation.
        """
        flags = self.flags
        is_level = flags["experiment"] == "icl_iwl" and flags["ablation"] in TRADE_OFF_OF and flags["load_model_from"]
        is_plain = flags["n_epochs"] == 0 and flags["pt_rot_cond"] == "unrotated" and not flags["with_iwl_only"]
        return TRADE_OFF_OF[flags["ablation"]] if is_level and is_plain and self.is_finetuned else flags["experiment"]

    @property
    def metalearned_on(self) -> tuple[str, str]:
        """Rotation and context curriculum of metalearning; of a trade-off, of its base; empty words without any."""
        if self.experiment == "iwl_only" or (self.flags["n_epochs"] == 0 and not self.flags["load_model_from"]):
            return ("", "")
        return (self.flags["pt_rot_cond"] or "", self.flags["pt_cond"] or "")

    @property
    def training_level(self) -> float:
        """Return the ablation level of training, to 6 decimals; 0 without an ablation."""
        return round(float(self.flags["ablation_level"] or 0), 6) if self.flags["ablation"] else 0.0

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds: those of the base if the job has one, else --n_runs from --seed on."""
        first = self.flags["seed"]
        return tuple(self.flags["base_seeds"]) or tuple(range(first, first + self.flags["n_runs"]))

    @property
    def model(self) -> str:
        """The language model that is asked: its path, or its name on the hub; empty for other jobs."""
        if self.experiment != "llm":
            return ""
        llama = os.path.join(self.flags["cache_dir"] or "", f"Llama-2-{self.flags['llama2_size']}-hf")
        return os.path.normpath(self.flags["llm"] or llama)

    @property
    def conditions(self) -> list[tuple]:
        """Return the conditions that its rows are of: the model asked or the metalearning, and each condition tested.

        These and the seeds tell its rows from those of other jobs of its experiment.
        """
        if self.experiment == "llm":
            order = tasks.entry_of(self.task).shown_curricula  # in which messages name them
            asked = sorted(conditions.asked(self.config), key=lambda one: (tasks.ROTATIONS.index(one[0]), order.index(one[1])))
            return [(self.model, *condition) for condition in asked]
        return [(*self.metalearned_on, self.training_level, rotation) for rotation in conditions.rotations(self.config)]

    @property
    def is_finetuned(self) -> bool:
        """Return True if finetuning makes any update."""
        return self.flags["n_blocks"] * self.flags["n_steps_per_block"] > 0

    @cached_property
    def progress(self) -> str:
        """Say where an unfinished job is."""
        try:
            found = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
            where = f"{found['phase']}, step {found['step']} of {found['n_steps']}"
            return where + (f"; failed: {found['last_error']}" if found.get("last_error") else "")
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "not begun"

    @cached_property
    def command(self) -> str:
        """A command that computes the same, quoted for a shell."""
        flags = self._preset_values
        words = ["python", "main.py"]
        for name in ("preset", "recipe"):
            if self.execution.get(name):
                words += [f"--{name}", self.execution[name]]
        words += ["--task", self.task, "--experiment", self.flags["experiment"]]
        derived = {"task", "experiment", "base_seeds", "stages", *(inherited.always() if self.flags["load_model_from"] else ())}
        derived |= presets.without_effect(self.flags).keys()
        derived |= set(presets.OF_START) if presets.no_start(self.flags) else set()
        if self.flags["load_model_from"]:  # else the base's values would stand for the preset's
            handed_on = inherited.unless_passed(self.flags["experiment"]) - INERT
            flags = {name: value for name, value in flags.items() if name not in handed_on}
        for name, value in self.flags.items():
            if name in derived or value == flags.get(name) or value is None:
                continue
            words += _passed(name, value)
        return shlex.join(words + self._without_stages())

    def _without_stages(self) -> list[str]:
        """Return the words that a job of an earlier program needs, which knew neither stages nor a number of updates."""
        recipe = (self.execution.get("preset"), self.task, self.execution.get("recipe"))
        words = []
        if not self.flags["stages"] and self.flags["stage_steps"] is None and before_the_last(presets.stages(*recipe), self.flags):
            words += ["--stage_steps", "0"]
        usual = presets.values(*recipe[:2], self.flags["experiment"], recipe[2])
        is_passed = self._preset_values["n_epochs"] != self.flags["n_epochs"]
        if self.flags["pretrain_steps"] is None and usual.get("pretrain_steps") and not is_passed:
            words += ["--n_epochs", str(self.flags["n_epochs"])]
        return words


def _passed(name: str, value: Any) -> list[str]:
    """The words that pass a value of a flag; one that begins with a dash is joined to the flag, or it would be taken for one."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}={value}"] if str(value).startswith("-") else [f"--{name}", str(value)]
