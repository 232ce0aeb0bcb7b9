"""The rows that a finished job's table must have, by its flags and by what was found: lost and doubled lines are noticed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.jobs import tables
from analysis.jobs.expected import check_product, subsets_of
from analysis.jobs.job import Job
from analysis.jobs.tables import BadTable
from analysis.jobs.whole_metalearning import check_losses, check_validations
from flags import conditions
from tasks import entry_of

LOSS_EVERY = 10  # updates of finetuning that a row of its loss is the mean of
PAIR = ("context_curriculum", "step_curriculum")


def check_whole(job: Job, name: str, rows: pd.DataFrame) -> None:
    """Raise BadTable if a finished job's table lacks a row, or has one twice.

    Also raise it for a row whose seed, condition or step the job does not have.
    """
    path = tables.find(job.folder, name)
    if name == "llm_accuracy":
        check_product(path, rows, _asked(job) | {"subset": _subsets_asked(job), "scoring": job.config.scorings})
        if rows.model.nunique() > 1:
            raise BadTable(f"{path}: has rows of several models, {' and '.join(sorted(rows.model.unique())[:2])}")
        if "generate" in job.config.scorings and (generated := tables.find(job.folder, "llm_generated")).exists():
            _check_generated(job, generated, tables.read(job.folder, "llm_generated"), rows)
    elif name == "llm_generated":
        _check_generated(job, path, rows, tables.read(job.folder, "llm_accuracy"))
    elif name == "pretrain_accuracy":
        check_validations(job, path, rows)
    elif name == "pretrain_loss":
        check_losses(job, path, rows)
    else:
        _check_finetuning(job, name, path, rows)


def _check_finetuning(job: Job, name: str, path: Path, rows: pd.DataFrame) -> None:
    flags, config = job.flags, job.config
    every = flags["finetune_test_every"] if name == "finetune_accuracy" else LOSS_EVERY
    total, block = config.n_finetuning_steps, flags["n_steps_per_block"]
    steps = [step for step in range(1, total + 1) if step % every == 0 or step % block == 0]
    if name == "finetune_accuracy":
        steps = [0, *steps]
    last = rows.step.max() if len(rows) else 0
    if last < total:
        raise BadTable(f"{path}, line {len(rows) + 1}: ends at step {last} of {total}; lines are missing")
    order = entry_of(job.task).shown_curricula  # in which messages name them
    expected: dict[str | tuple[str, str], Sequence[Any]] = {
        "seed": job.seeds,
        "init": conditions.inits(config),
        "rotation": conditions.rotations(config),
        PAIR: [(c, s) for s in config.step_curricula for c in sorted(conditions.contexts(config, s), key=order.index)],
        "episode": range(flags["n_test"]),
        "step": steps,
    }
    if name == "finetune_accuracy":
        levels = np.round(config.test_levels, 6).tolist()  # as `tables.read` rounds them
        expected |= {"test_level": levels, "subset": subsets_of(job)}
    check_product(path, rows, expected)


def _check_generated(job: Job, path: Path, rows: pd.DataFrame, accuracy: pd.DataFrame) -> None:
    """Raise BadTable unless each question that was counted has a row of what was generated. A job handed on may lack the table."""
    counted = accuracy[accuracy.scoring == "generate"]
    of_question = counted.groupby(["rotation", "context_curriculum", "episode"], observed=True).n_queries.sum()
    n_items = int(of_question.max()) if len(counted) else 0  # a job that generates nothing has an empty table
    check_product(path, rows, _asked(job) | {"item": range(n_items)})


def _asked(job: Job) -> dict[str | tuple[str, str], Sequence[Any]]:
    """The conditions and episodes of a language model's job."""
    conditions = [condition[1:] for condition in job.conditions]
    return {("rotation", "context_curriculum"): conditions, "episode": range(job.flags["n_val"])}


def _subsets_asked(job: Job) -> list[str]:
    return subsets_of(job) if job.flags["llm_study"] else ["novel"]
