"""A job's headline numbers beside comparable ones: is the result as expected?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.jobs.job import Job
from analysis.jobs.size import off_published_size
from flags.config import Config
from flags.earlier import in_todays_words
from flags.resolve import resolve

if TYPE_CHECKING:
    import pandas as pd

    from analysis.measures.summary import Summary

MARGIN = 0.05  # beyond the range of seeds: few of them do not reach its ends
OURS = Path(__file__).with_name("usual.csv")  # benchmarks/usual.py writes it
PUBLISHED = "published"
FREE = ("seed", "n_runs", "max_members")  # the seeds, and how many members train at once


def beside(job: Job, found: Summary) -> list[dict[str, Any]]:
    """Return a row for each headline number of a job's summary that a comparable one is known of: measure, init, rotation,
    curriculum, value, low and high (the range of the comparable seeds; of a published mean alone: the mean), of (whose they
    are), and off: how far it lies beyond them by more than MARGIN, 0 if it does not.

    Comparable are the published seeds for jobs of the published size, metalearned on unrotated, blocked episodes or not at all,
    without ablation; and our own seeds of a preset (usual.csv) for jobs of this preset.
    """
    if of_preset := _of_preset(job):
        known, of = of_preset, f"{of_preset.n_seeds} seeds"
    elif job.experiment in ("icl_iwl", "iwl_only") and not job.disturbed and not off_published_size(job):
        known, of = partial(_published, job), PUBLISHED
    else:
        return []
    rows = []
    for condition, value in headline(found):
        if usual := known(**condition):
            low, high = usual
            beyond = max(low - value, value - high, 0.0)
            rows.append(
                {**condition, "of": of, "value": value, "low": low, "high": high, "off": beyond if beyond > MARGIN else 0.0}
            )
    return rows


def headline(found: Summary) -> Iterator[tuple[dict[str, str], float]]:
    """Yield the headline numbers of a summary, congruent curricula alone: their condition (measure, init, rotation, curriculum),
    and the accuracy."""
    for measure, part in (("few_shot", found["few_shot"]), ("after", found["after_training"])):
        for row in part:
            curriculum = row["context_curriculum"]
            if row.get("step_curriculum", curriculum) == curriculum:
                condition = {"measure": measure, "init": row["init"], "rotation": row["rotation"], "curriculum": curriculum}
                yield condition, row["accuracy"]


def _published(job: Job, measure: str, init: str, rotation: str, curriculum: str) -> tuple[float, float] | None:
    """Return the lowest and highest published seed; the published mean twice where no seeds are published."""
    from analysis.measures import published

    model = "iwl" if init == "random" else "icl"
    if model == "icl" and job.metalearned_on != ("unrotated", "blocked"):
        return None
    of_seeds = published.by_seed(job.task, model, measure, rotation, curriculum)
    if len(of_seeds) and (job.task, measure) not in published.ITEMS_ALIKE:
        return float(of_seeds.min()), float(of_seeds.max())
    mean = published.find(job.task, model, measure).get((rotation, curriculum))
    return None if mean is None else (mean, mean)


@dataclass(frozen=True)
class _OurSeeds:
    """The headline numbers of our own jobs of a preset: rows of usual.csv."""

    rows: pd.DataFrame

    @property
    def n_seeds(self) -> int:
        return self.rows.seed.nunique()

    def __call__(self, measure: str, init: str, rotation: str, curriculum: str) -> tuple[float, float] | None:
        """Return the lowest and highest seed; None of a condition that they do not have."""
        r = self.rows
        here = r[(r.measure == measure) & (r.init == init) & (r.rotation == rotation) & (r.curriculum == curriculum)]
        return (float(here.accuracy.min()), float(here.accuracy.max())) if len(here) else None


def _of_preset(job: Job) -> _OurSeeds | None:
    """Return our seeds of a job's preset and task; None if we have none, or if the job's flags are not the preset's."""
    import pandas as pd

    preset, ours = job.execution.get("preset"), pd.read_csv(OURS)
    rows = ours[(ours.preset == preset) & (ours.task == job.task)]
    return _OurSeeds(rows) if len(rows) and not changed_flags(job, preset) else None


def changed_flags(job: Job, preset: str) -> list[str]:
    """Return the flags in which a job differs from `--preset PRESET --task TASK`, beside FREE."""
    usual = resolve({"preset": preset, "task": job.task}).defining_values()
    return [name for name, value in usual.items() if name not in FREE and not _alike(job.flags[name], value)]


def _alike(recorded: Any, value: Any) -> bool:
    """Compare a value as config.json has it, where a tuple is a list."""
    return json.dumps(recorded) == json.dumps(value)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text, with a word on each and on the whole."""
    if not rows:
        return "As expected? Nothing comparable is known of a job with these flags."
    n_off = sum(row["off"] > 0 for row in rows)
    whole = "as expected" if not n_off else f"OFF in {n_off} of {len(rows)} numbers"
    of = rows[0].get("of", PUBLISHED)  # earlier programs knew no others
    beside = "the published seeds" if of == PUBLISHED else f"{of} of this preset"
    lines = [f"As expected? {whole} (beside the range of {beside}, ± {MARGIN:g})"]
    for row in rows:
        condition = f"{row['measure'].replace('_', '-'):<9} {row['init']:<12} {row['rotation']:<10} {row['curriculum']:<12}"
        usual = f"{row['low']:.3f}" + (f" to {row['high']:.3f}" if row["high"] > row["low"] else "")
        word = f"off by {row['off']:.3f}" if row["off"] else "as expected"
        lines.append(f"  {condition} {row['value']:>6.3f}   {usual:<15} {word}")
    return "\n".join(lines)


def of_folder(folder: Path, found: Summary) -> list[dict[str, Any]]:
    """Return `beside` of the job in a folder. Flags that an earlier program did not have are at their defaults."""
    recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    flags = {f.name: f.default for f in dataclasses.fields(Config)} | in_todays_words(recorded["flags"])
    return beside(Job(folder, flags, recorded["execution"], finished=True), found)
