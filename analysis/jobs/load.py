"""Every job under a folder, as tidy tables: what is there, what is not finished, and what may not stand side by side.

A table has a row for each of a job's rows, with columns that say which job it is of: size (`demo`, `laptop`, `paper` …),
task, experiment, pt_rotation and pt_curriculum (what was metalearned; empty without metalearning), training_level (of an
ablation, else 0), and job (its place in `Sweep.jobs`).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.jobs import tables
from analysis.jobs.compare import Unreadable, refuse_doubles, refuse_mixtures
from analysis.jobs.job import Job
from analysis.jobs.whole import check_whole
from flags.config import DERIVED, EXECUTION, Config, is_sound

SAMPLE = "sample"  # results/sample is read only when it is asked for: it may hold what the reader's own jobs hold as well
OF_JOB = ("size", "task", "experiment", "pt_rotation", "pt_curriculum")


@dataclass(frozen=True)
class Sweep:
    """The jobs under a folder. `jobs` are the finished ones, in the order of their folders' names."""

    root: Path
    jobs: list[Job]
    unfinished: list[Job]
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def groups(self) -> list[tuple[str, str]]:
        """Each size and task that there are finished jobs of; never mixed in a figure. The largest size first."""
        order = ["paper", "paper, robust recipe", "laptop", "demo"]
        there = {(job.size, job.task) for job in self.jobs}
        return sorted(there, key=lambda g: (order.index(g[0]) if g[0] in order else len(order), g))

    def select(self, size: str, task: str, *experiments: str) -> list[Job]:
        """Finished jobs of a size and task; of these experiments, or of all."""
        return [j for j in self.jobs if (j.size, j.task) == (size, task) and (not experiments or j.experiment in experiments)]

    def table(self, name: str, jobs: Iterable[Job] | None = None) -> pd.DataFrame:
        """A table of all finished jobs that have it, or of `jobs` alone. Raises tables.BadTable."""
        if name not in self._tables:
            self._tables[name] = self._read(name)
        rows = self._tables[name]
        if jobs is None:
            return rows
        wanted = np.isin(np.arange(len(self.jobs)), [self.jobs.index(job) for job in jobs])
        return rows[wanted[rows.job.to_numpy()]]

    def _read(self, name: str) -> pd.DataFrame:
        parts = []
        models = model_labels([job for job in self.jobs if job.experiment == "llm"])
        for number, job in enumerate(self.jobs):
            if (job.experiment == "llm") != name.startswith("llm_"):
                continue
            if name == "llm_generated" and not tables.find(job.folder, name).exists():  # nothing was, or it was not handed on
                continue
            rows = tables.read(job.folder, name)
            check_whole(job, name, rows)
            if job.model in models:
                rows["model"] = models[job.model]
            parts.append(rows.assign(job=np.int16(number), training_level=job.training_level))
        if not parts:
            return pd.DataFrame(columns=[*tables.COLUMNS[name], "job", "training_level", *OF_JOB])
        rows = pd.concat(parts, ignore_index=True)
        parts.clear()
        of_job = pd.DataFrame(
            [(j.size, j.task, j.experiment, *j.metalearned_on) for j in self.jobs], columns=OF_JOB, dtype="category"
        )
        place = rows.job.to_numpy()
        for column in OF_JOB:
            codes = of_job[column].cat.codes.to_numpy()[place]
            rows[column] = pd.Categorical.from_codes(codes, dtype=of_job[column].dtype)
        return rows


def model_labels(jobs: list[Job]) -> dict[str, str]:
    """The names of language models that share the last part of their path: as many parts of it as tell them apart."""
    models = {job.model: Path(job.model).parts for job in jobs}
    labels = {}
    for model, parts in models.items():
        others = [other for name, other in models.items() if name != model and other[-1:] == parts[-1:]]
        if others:
            n = next(n for n in range(2, len(parts) + 2) if all(other[-n:] != parts[-n:] for other in others))
            labels[model] = str(Path(*parts[-n:]))
    return labels


def load(root: Path) -> Sweep:
    """All jobs under `root`. Tables are read when they are asked for.

    Raises Unreadable if there is no such folder, for a job that is there twice, and for jobs whose flags differ in more than a
    figure compares.
    """
    if not root.is_dir():
        raise Unreadable(f"{root}: there is no such folder")
    jobs = list(_jobs(root))
    sweep = Sweep(root, [job for job in jobs if job.finished], [job for job in jobs if not job.finished])
    refuse_doubles(sweep.jobs)
    refuse_mixtures(sweep.jobs)
    return sweep


def _jobs(root: Path) -> Iterable[Job]:
    for place, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in ("checkpoints", SAMPLE) and ".old" not in f and not f.startswith("."))
        if "config.json" not in files:
            continue
        path = Path(place) / "config.json"
        try:
            recorded = json.loads(path.read_text(encoding="utf-8"))
            flags, execution = dict(recorded["flags"]), dict(recorded["execution"])
            job = Job(
                Path(place), {f.name: f.default for f in dataclasses.fields(Config)} | flags, execution, "summary.json" in files
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise Unreadable(f"{path}: is not the configuration of a job") from None
        for f in dataclasses.fields(Config):
            if f.metadata["group"] not in (EXECUTION, DERIVED) and not is_sound(f, job.flags[f.name]):
                raise Unreadable(f"{path}: is not the configuration of a job: {f.name} is {job.flags[f.name]!r}")
        yield job
