"""A job's headline numbers beside what is to be expected of them: whether it came out as it should."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.jobs.job import Job
from analysis.jobs.size import off_published_size
from flags.config import Config
from flags.earlier import in_todays_words

if TYPE_CHECKING:
    from analysis.measures.summary import Summary

MARGIN = 0.05  # beyond the range of seeds: few of them do not reach its ends
CONDITION = ("rotation", "curriculum")


def beside(job: Job, found: Summary) -> list[dict[str, Any]]:
    """A row for each headline number of a job's summary that a comparable one is known of: measure, init, rotation, curriculum,
    value, low and high of the published seeds (of a published mean alone: the mean), and off: how far it lies beyond these by more
    than MARGIN, 0 if it does not.

    Comparable are jobs of the published size, metalearned on unrotated, blocked episodes or not at all, without ablation.
    """
    if job.experiment not in ("icl_iwl", "iwl_only") or job.disturbed or off_published_size(job):
        return []
    rows = []
    for measure, part in (("few_shot", found["few_shot"]), ("after", found["after_training"])):
        for row in part:
            model = "iwl" if row["init"] == "random" else "icl"
            curriculum = row["context_curriculum"]
            is_comparable = model == "iwl" or job.metalearned_on == ("unrotated", "blocked")
            if not is_comparable or row.get("step_curriculum", curriculum) != curriculum:
                continue
            if usual := _range(job.task, model, measure, row["rotation"], curriculum):
                low, high = usual
                beyond = max(low - row["accuracy"], row["accuracy"] - high, 0.0)
                rows.append(
                    {"measure": measure, "init": row["init"], "rotation": row["rotation"], "curriculum": curriculum,
                     "value": row["accuracy"], "low": low, "high": high, "off": beyond if beyond > MARGIN else 0.0}
                )  # fmt: skip
    return rows


def _range(task: str, model: str, measure: str, rotation: str, curriculum: str) -> tuple[float, float] | None:
    """The lowest and highest published seed; the published mean twice where no seeds are published."""
    from analysis.measures import published

    of_seeds = published.by_seed(task, model, measure, rotation, curriculum)
    if len(of_seeds) and (task, measure) not in published.ITEMS_ALIKE:
        return float(of_seeds.min()), float(of_seeds.max())
    mean = published.find(task, model, measure).get((rotation, curriculum))
    return None if mean is None else (mean, mean)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, with a word on each and on the whole."""
    if not rows:
        return "As expected? Nothing comparable is known of a job with these flags."
    n_off = sum(row["off"] > 0 for row in rows)
    whole = "as expected" if not n_off else f"OFF in {n_off} of {len(rows)} numbers"
    lines = [f"As expected? {whole} (beside the range of the published seeds, ± {MARGIN:g})"]
    for row in rows:
        condition = f"{row['measure'].replace('_', '-'):<9} {row['init']:<12} {row['rotation']:<10} {row['curriculum']:<12}"
        usual = f"{row['low']:.3f}" + (f" to {row['high']:.3f}" if row["high"] > row["low"] else "")
        word = f"off by {row['off']:.3f}" if row["off"] else "as expected"
        lines.append(f"  {condition} {row['value']:>6.3f}   published {usual:<15} {word}")
    return "\n".join(lines)


def of_folder(folder: Path, found: Summary) -> list[dict[str, Any]]:
    """The same of the job in a folder, also of one that an earlier program began, which knew fewer flags."""
    recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    flags = {f.name: f.default for f in dataclasses.fields(Config)} | in_todays_words(recorded["flags"])
    return beside(Job(folder, flags, recorded["execution"], finished=True), found)
