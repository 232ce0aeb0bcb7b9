"""Metalearning as its tables tell of it: stages, starts, and the kept model of each seed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flags.stages import flags_of


def with_updates(rows: pd.DataFrame, flags: dict[str, Any]) -> pd.DataFrame:
    """Return rows of `pretrain_accuracy` of a job with these flags, with two columns more.

    start: which start of the seed a validation is of, from 1; a start goes through all stages.
    updates: how many the seed had had by then, over all stages and starts. Steps count on over the starts of a stage alone, also
    over those that ended early.
    """
    if not len(rows):
        return rows.assign(start=pd.Series(dtype=int), updates=pd.Series(dtype=int))
    lengths = {int(stage): _n_steps(flags_of(flags, int(stage)), of_stage) for stage, of_stage in rows.groupby("stage")}
    length = rows.stage.map(lengths)
    start = (-(-rows.step // length)).clip(1)
    in_start = rows.step - (start - 1) * length
    rows = rows.assign(start=start, updates=in_start)
    made = rows.groupby(["seed", "start", "stage"]).updates.max()
    before = made.groupby("seed").cumsum() - made
    of = pd.MultiIndex.from_frame(rows[["seed", "start", "stage"]])
    return rows.assign(updates=rows.updates + before.reindex(of).to_numpy())


def updates_of_stages(rows: pd.DataFrame) -> list[int]:
    """Return the updates that a seed had in each stage, in all of its starts, of its rows with `updates`."""
    ends = rows.groupby(["start", "stage"]).updates.max()
    return ends.diff().fillna(ends).groupby("stage").sum().astype(int).tolist()


def _n_steps(flags: dict[str, Any], rows: pd.DataFrame) -> int:
    """Updates of a start of a stage: as the flags say, or of all epochs, which validations end with."""
    if flags.get("pretrain_steps"):
        return flags["pretrain_steps"]
    trained = rows[rows.epoch > 0]
    return max(1, int((trained.step * flags["n_epochs"] / trained.epoch).max())) if len(trained) else 1


def of_last_stage(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the condition that was metalearned in the end."""
    return rows[rows.stage == rows.stage.max()]


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the validation that each seed's kept model is of, of one job."""
    last = of_last_stage(rows)
    best = last[last.is_best == 1].groupby("seed").step.max()
    return last[last.step == last.seed.map(best)]
