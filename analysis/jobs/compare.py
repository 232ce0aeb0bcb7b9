"""Rules of comparison: which finished jobs may share a mean or a figure.

A flag that changes a result is equal in all of these jobs, unless the figure compares it. MAY_DIFFER names the exceptions.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from analysis.jobs.job import Job
from flags.config import (
    ABLATION,
    DATA,
    EXECUTION,
    FINETUNING,
    GRID,
    METALEARNING,
    TASK_AND_MODEL,
    TRAINING,
    Config,
    fields,
)
from flags.presets import TRADE_OFFS

MAY_DIFFER = {
    **dict.fromkeys(("seed", "n_runs", "base_seed", "base_seeds"), "replications, which a mean is over"),
    **dict.fromkeys(("with_iwl_only", "test_one_rot_cond", "congruent_only", "step_cond"), "which conditions, not how"),
    "experiment": "what figures compare",
    "max_members": "models that share a pass: their numbers differ by rounding alone",
    "restarts": "a seed that learns at its first start is the same with any number of restarts",
    "dropout_p": "inert",
}
INITIAL = {"iwl_init_scale"}  # of random weights; metalearned ones have left them behind
EPISODES_ASKED = {"n_train", "n_val", "max_len"}  # how many a language model is asked, not which
PATHS = {"load_model_from", "load_data_from", "load_vocab"}
_SEED_IN_PATH = re.compile(r"(seeds?_?|_run)\d+([-_]\d+)*(?=[./]|$)")


class Unreadable(Exception):
    """Results that cannot be put together: which, and why."""


def refuse_doubles(jobs: list[Job]) -> None:
    """Raise Unreadable for a seed whose rows of a condition are in two jobs."""
    found: dict[tuple, Job] = {}
    for job in jobs:
        for condition, seed in product(job.conditions, job.seeds):
            key = (job.size, job.task, job.experiment, condition, seed)
            if key in found:
                level = f"level {job.training_level:g}" if job.flags["ablation"] else ""
                which = condition if job.model else (*job.metalearned_on, level)
                what = " ".join(word for word in (job.experiment, *which) if word)
                raise Unreadable(f"seed {seed} of {what} is in two jobs: {found[key].folder} and {job.folder}; read one of them")
            found[key] = job


def refuse_mixtures(jobs: list[Job]) -> None:
    """Raise Unreadable, with both folders and the flags, for jobs of a mean or figure that differ in more than it compares."""
    first: dict[tuple, Job] = {}
    for job in jobs:
        for key, names, same in _comparisons(job):
            other = first.setdefault(key, job)
            differing = [name for name in sorted(names) if same(name, job.flags.get(name)) != same(name, other.flags.get(name))]
            if differing:
                said = ", ".join(f"--{name} {other.flags.get(name)} and {job.flags.get(name)}" for name in differing)
                raise Unreadable(f"{other.folder} and {job.folder} cannot be compared: they have {said}; read them apart")


def _comparisons(job: Job) -> Iterator[tuple[tuple, set[str], Any]]:
    """Yield (key, flags, part): jobs of the same key agree in part(name, value) of each of these flags."""
    pool = (job.size, job.task)
    everything = {f.name for f in dataclasses.fields(Config) if f.metadata["heading"] != EXECUTION} - MAY_DIFFER.keys()
    if job.flags["ablation"] is None:
        everything -= _names(ABLATION) - {"ablation"}  # inert
    if job.experiment == "llm":
        yield (*pool, "llm", job.model), everything - {"pt_rot_cond", "pt_cond"}, _without_seed
        yield (*pool, "questions"), everything & _names(DATA, GRID) - EPISODES_ASKED, _without_seed
        return
    yield (*pool, "task"), everything & _names(*TASK_AND_MODEL) - {"load_model_from"}, _without_seed
    if job.experiment in TRADE_OFFS:
        yield (*pool, job.experiment), everything - {"ablation_level"}, _without_seed
        for seed in job.seeds:  # all levels of a seed start from one base
            yield (*pool, job.experiment, seed), {"load_model_from"}, lambda _, value: value
        return
    free = set() if any(job.metalearned_on) else {"pt_rot_cond", "pt_cond"}
    yield (*pool, job.experiment, job.metalearned_on), everything - free, _without_seed
    if job.is_finetuned:
        yield (*pool, "finetuning"), everything & _names(FINETUNING, TRAINING, ABLATION) - INITIAL, _without_seed
    if job.is_finetuned and (job.flags["with_iwl_only"] or not any(job.metalearned_on)):
        yield (*pool, "random weights"), everything - _names(METALEARNING) - {"load_model_from", "stages"}, _without_seed


def _names(*headings: str) -> set[str]:
    return {field.name for field in fields(*headings)}


def _without_seed(name: str, value: Any) -> Any:
    """The value of a flag; of a path without the seed that it may name: each seed has files of its own."""
    if name not in PATHS or value is None:
        return value
    return _SEED_IN_PATH.sub(r"\1", os.path.normpath(value))
