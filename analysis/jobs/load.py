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
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.jobs import tables
from analysis.jobs.job import Job, fields
from flags import presets
from flags.config import CATEGORY, DATA, DERIVED, EXECUTION, FINETUNING, GRID, MODEL, PROMPT, Config, is_sound

SAMPLE = "sample"  # results/sample is read only when it is asked for: it may hold what the reader's own jobs hold as well
OF_JOB = ("size", "task", "experiment", "pt_rotation", "pt_curriculum")


class Unreadable(Exception):
    """Results that cannot be put together: which, and why."""


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
        for number, job in enumerate(self.jobs):
            if (job.experiment == "llm") != (name == "llm_accuracy"):
                continue
            rows = tables.read(job.folder, name)
            _check_whole(job, name, rows)
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


def _check_whole(job: Job, name: str, rows: pd.DataFrame) -> None:
    """A finished job's table has all of its seeds, each condition and episode as often as the others, and reaches the last step.

    Raises tables.BadTable.
    """
    if job.experiment == "llm":
        return
    path = tables.find(job.folder, name)
    there, expected = set(rows.seed.unique()), set(job.seeds)
    steps = job.flags["n_blocks"] * job.flags["n_steps_per_block"]
    if name.startswith("finetune") and (steps or len(rows)):
        last = rows.step.max() if len(rows) else 0
        if last != steps:
            raise tables.BadTable(f"{path}, line {len(rows) + 1}: ends at step {last} of {steps}; lines are missing")
        unit = ["seed", "init", "rotation", "context_curriculum", "step_curriculum", "episode"]
        found = rows.groupby(unit).size()
        tested = [column for column in ("step", "test_level", "subset") if column in rows]
        wanted = int(np.prod([rows[column].nunique() for column in tested]))
        per_seed = found.groupby("seed").size()
        if (found != wanted).any():
            where, n = found.index[(found != wanted).argmax()], int(found[found != wanted].iloc[0])
            line = int(np.flatnonzero((rows[unit].astype(str) == [str(word) for word in where]).all(axis=1))[0]) + 2
            raise tables.BadTable(f"{path}, line {line}: the episode that begins there has {n} lines instead of {wanted}")
        if per_seed.nunique() > 1:
            raise tables.BadTable(
                f"{path}, line {len(rows) + 1}: seed {per_seed.idxmin()} has fewer episodes than seed {per_seed.idxmax()}"
            )
    if there != expected and (len(rows) or (name.startswith("finetune") and steps)):
        missing = ", ".join(map(str, sorted(there ^ expected)))
        raise tables.BadTable(f"{path}, line {len(rows) + 1}: is not of the job's seeds; too many or missing: {missing}")


def load(root: Path) -> Sweep:
    """All jobs under `root`. Tables are read when they are asked for.

    Raises Unreadable if there is no such folder, for a job that is there twice, and for jobs whose flags differ in more than a
    figure compares.
    """
    if not root.is_dir():
        raise Unreadable(f"{root}: there is no such folder")
    jobs = list(_jobs(root))
    sweep = Sweep(root, [job for job in jobs if job.finished], [job for job in jobs if not job.finished])
    _refuse_doubles(sweep.jobs)
    _refuse_mixtures(sweep.jobs)
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


def _refuse_doubles(jobs: list[Job]) -> None:
    found: dict[tuple, Job] = {}
    for job in jobs:
        for condition, seed in product(job.conditions, job.seeds):
            key = (job.size, job.task, job.experiment, condition, seed)
            if key in found:
                what = " ".join(word for word in (job.experiment, *condition) if word and isinstance(word, str))
                raise Unreadable(
                    f"seed {seed} of {what} is there twice: in {found[key].folder} and in {job.folder}; read one of them"
                )
            found[key] = job


def _refuse_mixtures(jobs: list[Job]) -> None:
    """Within a condition only seeds may differ; within a size and task, what the figures compare: experiment, what was
    metalearned, the level of an ablation."""
    seeds = {"seed", "n_runs", "base_seeds", "base_seed", "load_model_from", "max_members"}
    seeds |= {"restarts"}  # a seed that learns at its first start is the same with any number of them
    by_condition = {"ablation_level", "pt_rot_cond", "pt_cond"}
    which = {"with_iwl_only", "test_one_rot_cond", "congruent_only"}  # conditions are finetuned, not what comes of them
    finetuning = {f.name for f in fields(FINETUNING)} - which
    task = {f.name for f in fields(DATA, GRID, CATEGORY, PROMPT, MODEL)}
    everything = {f.name for f in dataclasses.fields(Config)} - {f.name for f in fields(EXECUTION)}
    first: dict[tuple, Job] = {}
    for job in jobs:
        group = (job.size, job.task)
        own = everything - seeds - by_condition - which
        if job.experiment in presets.TRADE_OFFS:
            own |= {"load_model_from"}  # its levels start from one base
        compared = [((*group, job.experiment, job.metalearned_on, job.conditions[0][0]), own)]
        if job.experiment != "llm":
            compared.append(((*group, "task"), task - seeds))
        if job.experiment in ("icl_iwl", "iwl_only") and job.is_finetuned:
            compared.append(((*group, "finetuning"), finetuning))
        for key, names in compared:
            other = first.setdefault(key, job)
            differing = [name for name in sorted(names) if job.flags.get(name) != other.flags.get(name)]
            if differing:
                said = ", ".join(f"--{name} {other.flags.get(name)} and {job.flags.get(name)}" for name in differing)
                raise Unreadable(f"{other.folder} and {job.folder} cannot be compared: they have {said}; read them apart")
