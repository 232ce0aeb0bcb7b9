"""Jobs under a folder, as tidy tables: finished ones, unfinished ones, and those that cannot be read or compared.

A table joins the tables of all jobs. Added columns name the job of a row:

size            demo, laptop, paper …
task, experiment
pt_rotation, pt_curriculum   the condition of metalearning; empty without metalearning
training_level  of an ablation, else 0
job             the job's place in `Sweep.jobs`
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import tasks
from analysis.jobs import tables
from analysis.jobs.compare import Unreadable, refuse_doubles, refuse_mixtures
from analysis.jobs.job import Job
from analysis.jobs.whole import check_whole
from flags.bounds import of_kind
from flags.config import DERIVED, EXECUTION, Config, is_sound
from flags.earlier import in_todays_words
from flags.stages import is_stage

# Of the repository, and read only when they are asked for: they may hold what the reader's own jobs hold as well.
COMMITTED = ("sample", "paper")
IN_FIGURES = ("pretrain_accuracy", "finetune_accuracy", "finetune_loss", "llm_accuracy")
SIZE = ("preset", "recipe")  # flags of execution that say what a job is
NO_CONFIG = "config.json is not the configuration of a job"
OF_JOB = ("size", "task", "experiment", "pt_rotation", "pt_curriculum")


@dataclass(frozen=True)
class Sweep:
    """The jobs under a folder. `jobs` are the finished ones, in the order of their folders' names. `bad`: path → why it cannot be
    read."""

    root: Path
    jobs: list[Job]
    unfinished: list[Job]
    bad: dict[Path, str] = field(default_factory=dict)
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def left_out(self) -> list[str]:
        """A line for each path that cannot be read."""
        return [f"left out: {why if why.startswith(str(path)) else f'{path}: {why}'}" for path, why in self.bad.items()]

    def pools(self) -> list[tuple[str, str]]:
        """Return each size and task of the finished jobs, the largest size first. No figure mixes two of them."""
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

    def sound(self) -> Sweep:
        """Return the sweep without the jobs that have a damaged table, which are then in `bad`."""
        damaged: dict[Path, str] = {}
        for name in IN_FIGURES:
            try:
                self.table(name)
            except tables.BadTable:
                for job in self.jobs:
                    try:
                        _rows(job, name)
                    except tables.BadTable as error:
                        damaged.setdefault(job.folder, str(error))
        if not damaged:
            return self
        return Sweep(self.root, [j for j in self.jobs if j.folder not in damaged], self.unfinished, self.bad | damaged)

    def _read(self, name: str) -> pd.DataFrame:
        parts = []
        models = model_labels([job for job in self.jobs if job.experiment == "llm"])
        for number, job in enumerate(self.jobs):
            rows = _rows(job, name)
            if rows is None:
                continue
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


def _rows(job: Job, name: str) -> pd.DataFrame | None:
    """A table of a finished job; None if it has none of this name. Raises tables.BadTable."""
    if (job.experiment == "llm") != name.startswith("llm_"):
        return None
    if name == "llm_generated" and not tables.find(job.folder, name).exists():  # nothing was, or it was not handed on
        return None
    rows = tables.read(job.folder, name)
    check_whole(job, name, rows)
    return rows


def load(root: Path) -> Sweep:
    """Return all jobs under `root`, also in folders that are links to elsewhere. Their tables are read on demand.

    A job that cannot be read is in `bad`; the others are unaffected.

    Raises Unreadable if the folder does not exist, and for a seed in two jobs. It also does so for jobs whose flags differ
    in more than a figure compares.
    """
    if not root.is_dir():
        raise Unreadable(f"{root}: does not exist")
    jobs, bad = [], {}
    for folder, files in _folders(root, bad):
        if "config.json" not in files:
            continue
        try:
            jobs.append(_job(folder, "summary.json" in files))
        except (Unreadable, OSError) as error:
            bad[folder] = f"{os.path.basename(error.filename)}: {error.strerror}" if isinstance(error, OSError) else str(error)
    jobs.sort(key=lambda job: job.folder)
    sweep = Sweep(root, [job for job in jobs if job.finished], [job for job in jobs if not job.finished], bad)
    refuse_doubles(sweep.jobs)
    refuse_mixtures(sweep.jobs)
    return sweep


def _folders(root: Path, bad: dict[Path, str]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder under `root` that may hold jobs, once, with its files' names; those that are links to folders elsewhere come
    last. What cannot be looked into is noted in `bad`."""
    above = set(map(os.path.realpath, (root, *root.resolve().parents)))
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        top = waiting.pop(0)
        for place, folders, files in os.walk(top, onerror=lambda error: bad.update({Path(error.filename): error.strerror})):
            real = os.path.realpath(place)
            if real in seen or (real in above and place != str(root)):  # a link that leads round
                folders.clear()
                continue
            seen.add(real)
            wanted = [f for f in folders if f not in ("checkpoints", *COMMITTED) and ".old" not in f and not f.startswith(".")]
            links = [f for f in wanted if os.path.islink(os.path.join(place, f))]
            waiting += [Path(place, f) for f in sorted(links)]
            folders[:] = sorted(set(wanted) - set(links))
            if "config.json" not in files:
                bad.update({Path(place, f): "is a link to nowhere" for f in files if not os.path.exists(os.path.join(place, f))})
            yield Path(place), files


def _job(folder: Path, finished: bool) -> Job:
    """The job in a folder. Raises Unreadable, OSError."""
    path = folder / "config.json"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        flags, execution = in_todays_words(dict(recorded["flags"])), dict(recorded["execution"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unreadable(NO_CONFIG) from None
    job = Job(folder, {f.name: f.default for f in dataclasses.fields(Config)} | flags, execution, finished)
    _check_derived(job)
    if finished:
        try:
            json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise Unreadable("summary.json is damaged; the job's command makes it again") from None
    return job


def _check_derived(job: Job) -> None:
    """Raise Unreadable for a flag that no job can have recorded, and for flags that what a job is cannot be derived from."""
    for f in dataclasses.fields(Config):
        values = job.execution if f.name in SIZE else job.flags
        if f.metadata["heading"] in (EXECUTION, DERIVED) and f.name not in SIZE:
            continue
        if not is_sound(f, values.get(f.name, f.default)):
            value = values[f.name]
            why = tasks.fault_of_task(value) if f.name == "task" and isinstance(value, str) else ""
            raise Unreadable(f"{NO_CONFIG}: {f.name} is {value!r}" + (f" ({why})" if why else ""))
    stages = job.flags["stages"]
    if not isinstance(stages, list | tuple) or not all(is_stage(stage) for stage in stages):
        raise Unreadable(f"{NO_CONFIG}: stages is {stages!r}")
    seeds = job.flags["base_seeds"]
    if not isinstance(seeds, list | tuple) or not all(of_kind(seed, int) for seed in seeds):
        raise Unreadable(f"{NO_CONFIG}: base_seeds is {seeds!r}")
    try:  # whatever else is wrong is noticed here, where it hides no other job
        _ = job.size, job.experiment, job.config.test_levels, job.seeds, job.conditions, job.model, job.command
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Unreadable(f"{NO_CONFIG} ({type(error).__name__}: {error})") from None
