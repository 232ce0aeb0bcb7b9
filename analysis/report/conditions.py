"""Differences between a section's jobs and the paper's: shown in a box beside each comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from analysis.jobs.job import Job
from analysis.jobs.size import off_published_size
from analysis.measures import emergence, published
from analysis.report.pool import Pool
from flags import presets
from flags.config import Config

WORDS = {
    "n_task_dims": "dimensions",
    "n_symbols": "values of a dimension, or words",
    "n_in_context": "study items",
    "p_flip_xy": "share of flipped episodes",
    "n_layers": "layers",
    "n_heads": "attention heads",
    "d_model": "width",
    "rope_theta": "rotary base",
    "n_test": "test episodes a condition",
    "n_blocks": "blocks",
    "n_steps_per_block": "updates a block",
    "finetune_bs": "items an update",
    "finetune_lr": "finetuning's learning rate",
    "finetune_beta2": "finetuning's β₂",
    "iwl_init_scale": "scale of random initial weights",
}

METALEARNING = {
    "weight_init": "initial weights",
    "init_scale": "scale of the initial weights",
    "readout_steps": "updates of the readout alone first",
    "pretrain_lr": "learning rate",
    "lr_schedule": "schedule",
    "warmup_steps": "warm-up updates",
    "adam_beta2": "Adam's β₂",
    "queries_per_episode": "queries a context",
    "keep_by": "kept model by",
}


def differences(pool: Pool, jobs: list[Job], metalearned: bool) -> list[str]:
    """A line for each thing in which a section's jobs differ from the paper's; of `metalearned` models also how they came to be."""
    found: dict[str, None] = {}
    for job in jobs:
        for name, (ours, theirs) in off_published_size(job).items() if job.task in published.TASKS else ():
            found[f"{WORDS.get(name, f'--{name}')}: {_word(ours)} (paper {_word(theirs)})"] = None
        if metalearned and (job.flags["n_epochs"] or job.flags["load_model_from"]):
            found[f"metalearning: {_recipe(job)}"] = None
            if job.task in published.TASKS and (beside := list(_beside_published(job))):
                found[f"its last stage: {'; '.join(beside)}"] = None
    trained = [job for job in jobs if metalearned and job.experiment == "icl_iwl" and job.flags["n_epochs"]]
    return [*found, *(_starts(pool, trained) if trained else ())]


def _recipe(job: Job) -> str:
    recipe = job.execution.get("recipe") or presets.DEFAULT_RECIPE.get(job.execution.get("preset"), "published")
    stages = len(job.flags["stages"])
    after = f", {stages} stages before the last" if stages else ""
    return f"the {recipe} recipe{after}" + (", continued from loaded weights" if job.flags["load_model_from"] else "")


def _beside_published(job: Job) -> Iterator[str]:
    """Each setting of metalearning, or of its last stage, that is not the published recipe's."""
    flags = job.flags
    of_paper = {f.name: f.default for f in dataclasses.fields(Config)} | presets.values("paper", job.task, "icl_iwl", "published")
    skipped = {"pretrain_bs", *((*presets.OF_START, "readout_steps") if presets.no_start(flags) else ())}
    for name, word in METALEARNING.items():
        if name not in skipped and flags[name] != of_paper[name]:
            yield f"{word} {_word(flags[name])} (paper {_word(of_paper[name])})"
    if (ours := flags["pretrain_bs"] // flags["queries_per_episode"]) != (theirs := of_paper["pretrain_bs"]):
        yield f"contexts an update {ours} (paper {theirs})"


def _starts(pool: Pool, jobs: list[Job]) -> Iterator[str]:
    """The seeds that took more than one start, and how many."""
    again = []
    for job in jobs:
        rows = emergence.with_updates(pool.rows([job], "pretrain_accuracy"), job.flags)
        again += [f"seed {seed} took {n}" for seed, n in rows.groupby("seed").start.max().items() if n > 1]
    yield f"starts: {'; '.join(dict.fromkeys(again)) or 'one a seed'}"


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
