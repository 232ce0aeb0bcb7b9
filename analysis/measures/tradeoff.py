"""A trade-off experiment from the folders of its jobs, one training level each: its measures by level.

Measures are those of the paper, on rule-like tasks with interleaved contexts and steps. generalisation: few-shot novel
accuracy against the test level. learning: study accuracy against the step, tested at the level that is trained at.
errors: training loss against the step. retention: study accuracy at the last step (groups alike), tested at the highest
training level, against the training level.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.jobs import tables
from analysis.measures.summary import read_flags
from analysis.statistics.effects import Interval, interval, of_values, unit_of
from tasks import chance

PER_EPISODE = ["seed", "episode"]
FEWEST_LEVELS = 3  # that a rank correlation is of


@dataclass(frozen=True)
class TradeOff:
    """Each frame has a row a level (and step), seed and episode, and a column `value`.

    generalisation: test_level · learning, errors: training_level, step · retention: training_level
    """

    task: str
    ablation: str
    chance: float
    generalisation: pd.DataFrame
    learning: pd.DataFrame
    errors: pd.DataFrame
    retention: pd.DataFrame
    retention_level: float  # that retention is tested at: the highest that is trained at and that every job tests

    @property
    def units(self) -> str:
        """Return the unit of the intervals: seeds, or episodes of a single seed."""
        return f"{unit_of(self.retention)}s"

    def mean_errors(self) -> pd.DataFrame:
        """Return the mean training loss (nats per token) over all updates, a row a training level, seed and episode."""
        return self.errors.groupby(["training_level", *PER_EPISODE], as_index=False).value.mean()

    def unfinished(self) -> pd.Series:
        """The mean accuracy on study items at the end, by the level trained and tested at, where it is below .9."""
        last = self.learning[self.learning.step == self.learning.step.max()]
        means = last.groupby("training_level").value.mean()
        return means[means < 0.9]

    @property
    def is_uneven(self) -> bool:
        """Return whether a seed lacks a training level that another one has."""
        return bool(lacking(self.retention, "training_level"))

    @property
    def n_units(self) -> int:
        """Return the number of seeds or episodes that intervals are over (see `units`)."""
        return self.retention[unit_of(self.retention)].nunique()


def read(folders: list[Path]) -> TradeOff:
    """The finished jobs in these folders, which differ in their training level alone."""
    flags = [read_flags(folder) for folder in folders]
    parts = {
        name: pd.concat(
            [
                tables.read(folder, name).assign(training_level=round(f["ablation_level"], 6))
                for folder, f in zip(folders, flags, strict=True)
            ]
        )
        for name in ("finetune_accuracy", "finetune_loss")
    }
    return measure(parts["finetune_accuracy"], parts["finetune_loss"], flags[0]["task"], flags[0]["ablation"], chance(flags[0]))


def measure(tests: pd.DataFrame, losses: pd.DataFrame, task: str, ablation: str, chance: float) -> TradeOff:
    """The four measures of the rows of all levels' tables, which have a column training_level."""
    tests, losses = _rule_like(tests), _rule_like(losses).rename(columns={"loss": "value"})
    tests["value"] = tests.n_correct / tests.n_queries
    study = _by_episode(tests[tests.subset != "novel"], ["training_level", "test_level", "step"])  # groups alike
    tested_by_all = set.intersection(*(set(of_level.test_level) for _, of_level in tests.groupby("training_level")))
    highest = max(tested_by_all & set(tests.training_level), default=0.0)
    lowest = tests.groupby("seed").training_level.transform("min")
    untrained = (tests.subset == "novel") & (tests.step == 0) & (tests.training_level == lowest)  # all jobs are alike then
    at_the_end = (study.test_level == highest) & (study.step == study.step.max())
    return TradeOff(
        task,
        ablation,
        chance,
        generalisation=_by_episode(tests[untrained], ["test_level"]),
        learning=study[study.test_level == study.training_level],
        errors=_by_episode(losses, ["training_level", "step"]),
        retention=study[at_the_end],
        retention_level=highest,
    )


def _rule_like(table: pd.DataFrame) -> pd.DataFrame:
    interleaved = (table.context_curriculum == "interleaved") & (table.step_curriculum == "interleaved")
    return table[(table.rotation == "unrotated") & interleaved].copy()


def _by_episode(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return table.groupby([*by, *PER_EPISODE], as_index=False).value.mean()


def lacking(frame: pd.DataFrame, level: str) -> dict[int, list[float]]:
    """Return the levels that a seed lacks and another one has, by seed; jobs of some seeds may not have run yet."""
    levels = {seed: set(of_seed) for seed, of_seed in frame.groupby("seed")[level]}
    every = set().union(*levels.values())
    return {seed: sorted(every - of_seed) for seed, of_seed in levels.items() if of_seed != every}


def comparable(frame: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the rows in which all seeds have the same levels: those of the levels that every seed has, if they are three or more.

    Else they are the rows of the seeds that have every level. There are none if these are fewer than three levels: two are
    always in order.
    """
    lack = lacking(frame, level)
    shared = frame[~frame[level].isin([one for levels in lack.values() for one in levels])]
    found = shared if shared[level].nunique() >= FEWEST_LEVELS else frame[~frame.seed.isin(lack)]
    return found if found[level].nunique() >= FEWEST_LEVELS else found.iloc[:0]


def rank_correlation(frame: pd.DataFrame, level: str) -> tuple[Interval, str]:
    """Return Spearman's rank correlation of the level and the measure, with a 95 % t interval, and the unit.

    It is the mean over seeds, or over the episodes of a single seed, of what is `comparable`; NaN if nothing is.
    """
    frame = comparable(frame, level)
    if frame.empty:
        return Interval(np.nan, np.nan, np.nan, 0, False), "seeds"
    unit = unit_of(frame)
    of_unit = frame.groupby([unit, level]).value.mean()
    ranks = [spearman(one.index.get_level_values(level).to_series(), one) for _, one in of_unit.groupby(unit)]
    return interval([np.array(ranks)], [1.0], (-1.0, 1.0)), f"{unit}s"


def table(found: TradeOff) -> str:
    """The two ends of the trade-off as text, with rank correlations over the levels."""
    lines = [f"Trade-off: {found.task}, {found.ablation}, rule-like tasks, interleaved contexts and steps"]
    for name, what, level in (
        ("generalisation", "few-shot accuracy on novel items, by test level", "test_level"),
        ("retention", "accuracy on study items after training, at the highest level, by training level", "training_level"),
    ):
        means = of_values(getattr(found, name), [level])
        lines += [
            f"  {name}: {what}",
            "    level " + "".join(f"{value:>7g}" for value in means[level]),
            "    mean  " + "".join(f"{value:>7.3f}" for value in means["mean"]),
            f"    Spearman's rank correlation with the level: {spearman(means[level], means['mean']):.2f}",
        ]
    return "\n".join(lines)


def spearman(level: pd.Series, mean: pd.Series) -> float:
    """Rank correlation; 0 if nothing changes with the level."""
    return float(np.corrcoef(level.rank(), mean.rank())[0, 1]) if mean.nunique() > 1 else 0.0
