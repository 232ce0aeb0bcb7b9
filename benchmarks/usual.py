"""Headline numbers of our own jobs of a preset: analysis/measures/usual.csv, beside which every such job shows its own.

python benchmarks/usual.py results/sample/demo_*_icl_iwl/unrotated_blocked/seed_*     writes the table anew

Each job is one seed of a preset. Write it anew when a change moves the numbers of a preset. Jobs whose flags are not those of
a preset are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.jobs.load import Unreadable, load  # noqa: E402
from analysis.measures import summary, usual  # noqa: E402


def rows(folders: Iterable[Path]) -> pd.DataFrame:
    """The headline numbers of the finished jobs in these folders, a row a seed and condition."""
    found = []
    try:
        sweeps = [load(folder) for folder in folders]
    except Unreadable as error:
        sys.exit(str(error))
    if left_out := [line for sweep in sweeps for line in [*sweep.left_out, *(f"unfinished: {one}" for one in sweep.unfinished)]]:
        sys.exit("\n".join(left_out))
    for job in (job for sweep in sweeps for job in sweep.jobs):
        preset = job.execution["preset"]
        if changed := usual.changed_flags(job, preset):
            sys.exit(f"{job.folder}: is no job of --preset {preset}, its {', '.join(changed)} differs")
        if job.flags["n_runs"] != 1:
            sys.exit(f"{job.folder}: has {job.flags['n_runs']} seeds, and a summary does not tell them apart; run a job a seed")
        of_job = {"preset": preset, "task": job.task, "seed": job.flags["seed"]}
        found += [
            {**of_job, **condition, "accuracy": round(value, 4)}
            for condition, value in usual.headline(summary.summarise(job.folder))
        ]
    order = ["preset", "task", "seed", "measure", "init", "rotation", "curriculum"]
    table = pd.DataFrame(found, columns=[*order, "accuracy"])
    if table.empty or table.duplicated(order).any():
        sys.exit("a seed is in two jobs" if len(table) else "there is no finished job")
    return table.sort_values(order, ignore_index=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/usual.py RESULTS ...")
    rows(map(Path, sys.argv[1:])).to_csv(usual.OURS, index=False)
