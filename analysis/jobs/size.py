"""The published size: the paper's task, model, test episodes and finetuning, whatever the recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

from analysis.jobs.job import Job
from flags import presets
from flags.config import FINETUNING, TASK_AND_MODEL, Config, fields

# Flags of the task, the model and finetuning that change no number of a condition that both programs test.
NOT_OF_SIZE = {
    *("task", "load_model_from", "base_seed", "load_vocab", "n_train", "n_val", "max_len"),
    *("congruent_only", "with_iwl_only", "test_one_rot_cond", "step_cond", "finetune_test_every"),
}


def off_published_size(job: Job) -> dict[str, tuple[Any, Any]]:
    """The flags of the task, the model and, if it finetunes, finetuning in which a job differs from the paper's scripts:
    name → ours, the paper's."""
    usual = {f.name: f.default for f in dataclasses.fields(Config)} | presets.values("paper", job.task, job.experiment, None)
    headings = (*TASK_AND_MODEL, *((FINETUNING,) if job.is_finetuned else ()))
    names = [f.name for f in fields(*headings) if f.name not in NOT_OF_SIZE]
    return {name: (job.flags[name], usual[name]) for name in names if job.flags[name] != usual[name]}
