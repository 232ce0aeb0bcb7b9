"""Metalearning as its tables tell of it: stages, starts, and the kept model of each seed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flags.stages import flags_of


def with_updates(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `pretrain_accuracy` of one job with a column `updates`: those that a seed had at that validation, since it began.

    Steps are counted anew in each stage; updates are not.
    """
    lengths = rows.groupby(["seed", "stage"]).step.max()
    before = lengths.groupby("seed").cumsum() - lengths
    return rows.assign(updates=rows.step + before.reindex(pd.MultiIndex.from_frame(rows[["seed", "stage"]])).to_numpy())


def of_last_stage(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the condition that was metalearned in the end."""
    return rows[rows.stage == rows.stage.max()]


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the validation that each seed's kept model is of, of one job."""
    last = of_last_stage(rows)
    best = last[last.is_best == 1].groupby("seed").step.max()
    return last[last.step == last.seed.map(best)]


def start_of(flags: dict[str, Any], stage: int, step: int, epoch: int) -> int:
    """Which start of a stage a step is of, from 1; `flags` are the job's."""
    flags = flags_of(flags, stage)
    if flags.get("pretrain_steps"):
        return max(1, -(-step // flags["pretrain_steps"]))
    return max(1, -(-epoch // max(1, flags["n_epochs"])))
