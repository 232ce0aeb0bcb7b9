"""Pools: the jobs of one size and task, which a figure never mixes with others."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.jobs.job import CHANGED, Job
from analysis.jobs.load import Sweep
from analysis.jobs.size import off_published_size
from analysis.measures import published, tradeoff
from analysis.measures.tradeoff import TradeOff
from analysis.statistics.effects import Interval, interval
from flags.ablations import trade_offs
from tasks import chance

ABLATIONS = trade_offs()  # by experiment


@dataclass(frozen=True)
class Pool:
    """A size and task of a sweep, and where pictures go."""

    sweep: Sweep
    size: str
    task: str
    out: Path
    _measured: dict[str, TradeOff] = field(default_factory=dict, repr=False)

    def jobs(self, *experiments: str) -> list[Job]:
        """Return the finished jobs of these experiments, or of all."""
        return self.sweep.select(self.size, self.task, *experiments)

    def rows(self, jobs: list[Job], table: str = "finetune_accuracy") -> pd.DataFrame:
        """Return a table of these jobs. Raises tables.BadTable."""
        return self.sweep.table(table, jobs)

    def metalearned(self, rotation: str, curriculum: str) -> list[Job]:
        """The jobs of this metalearning condition; some may not have been finetuned."""
        return [j for j in self.jobs("icl_iwl") if j.metalearned_on == (rotation, curriculum)]

    def not_metalearned(self) -> list[Job]:
        """The jobs that finetune models without metalearning."""
        jobs = [j for j in self.jobs("iwl_only", "icl_iwl") if j.is_finetuned]
        return [j for j in jobs if j.experiment == "iwl_only" or j.flags["with_iwl_only"]]

    @property
    def has_published(self) -> bool:
        """Return True if published numbers exist: for a task of the paper, unchanged, without an ablation of its own."""
        return self.task in published.TASKS and not self.size.endswith(CHANGED) and not self.is_disturbed

    @property
    def is_published_size(self) -> bool:
        """Return True if the task, the model and finetuning are those of the paper, whatever the recipe."""
        return self.has_published and not any(off_published_size(job) for job in self.jobs("icl_iwl", "iwl_only", *ABLATIONS))

    @property
    def is_disturbed(self) -> bool:
        """Return True if jobs were finetuned under an ablation that no trade-off varies."""
        return any(job.disturbed for job in self.jobs())

    def published(self, model: str, measure: str) -> dict[tuple[str, str], Interval]:
        """Published means by (rotation, curriculum), with a t interval where seeds are published."""
        means = published.find(self.task, model, measure) if self.has_published else {}
        return {condition: self._published_interval(mean, model, measure, *condition) for condition, mean in means.items()}

    def _published_interval(self, mean: float, model: str, measure: str, rotation: str, curriculum: str) -> Interval:
        seeds = published.by_seed(self.task, model, measure, rotation, curriculum)
        if len(seeds) < 2 or (self.task, measure) in published.ITEMS_ALIKE:
            return Interval(mean, float("nan"), float("nan"), 0, False)
        return dataclasses.replace(interval([seeds], [1.0], (0.0, 1.0)), value=mean)

    def published_value(self, model: str, measure: str, rotation: str, curriculum: str) -> published.Value | None:
        """The published mean of a condition, or its bound; None without one."""
        wanted = (self.task, model, measure, rotation, curriculum)
        values = published.VALUES if self.has_published else []
        return next((v for v in values if (v.task, v.model, v.measure, v.rotation, v.curriculum) == wanted), None)

    def published_trade_off(self, ablation: str, retention_level: float) -> tuple[dict[float, float], dict[float, float]]:
        """Return published generalisation and retention by level (see `published.trade_off`); empty without any."""
        return published.trade_off(self.task, ablation, retention_level) if self.has_published else ({}, {})

    @property
    def chance(self) -> float:
        """Return the chance level on unrotated tasks."""
        return chance(self.jobs()[0].flags)

    def picture(self, name: str) -> Path:
        """Return the path of a figure, without its ending."""
        return self.out / "figures" / re.sub(r"\W+", "_", f"{self.size}_{self.task}_{name}")

    @property
    def title(self) -> str:
        """Return the title: task and size."""
        return f"{self.task} task ({self.size})"

    def trade_off(self, experiment: str) -> TradeOff | None:
        """Return the measures of a trade-off experiment; None if fewer than two of its levels are finished."""
        jobs = self.jobs(experiment)
        if len({job.training_level for job in jobs}) < 2:
            return None
        if experiment not in self._measured:
            rows = (self.rows(jobs, table) for table in ("finetune_accuracy", "finetune_loss"))
            self._measured[experiment] = tradeoff.measure(*rows, self.task, jobs[0].flags["ablation"], self.chance)
        return self._measured[experiment]


def pools_of(sweep: Sweep, out: Path) -> list[Pool]:
    """Return a pool for each size and task of the finished jobs."""
    return [Pool(sweep, size, task, out) for size, task in sweep.pools()]
