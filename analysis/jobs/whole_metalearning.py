"""The rows that metalearning's tables must have, stage by stage: what they found says where each seed's metalearning went on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.jobs import tables
from analysis.jobs.expected import check_product, line_of, subsets_of
from analysis.jobs.job import Job
from analysis.jobs.tables import BadTable
from flags.stages import flags_of, n_queries, n_steps
from tasks.task import CRITERION

CERTAIN = 1e-9  # by chance no query of a subset was trained on between two rows of the loss: more unlikely than this counts as lost


@dataclass(frozen=True)
class _Stage:
    """A stage of metalearning: its flags, its bar, and how many updates an epoch and a start of it have."""

    flags: dict[str, Any]
    bar: float | None
    is_last: bool
    per_epoch: int
    n_steps: int

    def schedule(self, start: int, every: str, first: bool) -> list[int]:
        return _schedule(start, self.n_steps, self.flags[every], self.per_epoch, first)


def _stages(job: Job, rows: pd.DataFrame) -> dict[int, _Stage]:
    """The stages of a job by number, without those whose epochs' length is not known (see `_updates_per_epoch`)."""
    found = {}
    for number, changed in enumerate((*job.flags["stages"], {}), start=1):
        flags = flags_of(job.flags, number)
        per_epoch = updates_per_epoch(job, flags, rows[rows.stage == number])
        if per_epoch is not None:
            steps = n_steps(flags["n_epochs"], flags["pretrain_steps"], per_epoch)
            found[number] = _Stage(flags, changed.get("bar"), number > len(job.flags["stages"]), per_epoch, steps)
    return found


def check_validations(job: Job, path: Path, rows: pd.DataFrame) -> None:
    """Raise BadTable unless each seed has exactly the validations that its metalearning makes.

    The accuracies found tell where a stage reached its bar or stopped early, which seeds restarted, and which was a new best.
    """
    stages = _stages(job, rows)
    for _, of_stage in _by_stage(job, path, rows):
        steps = sorted(of_stage.step.unique())
        check_product(path, of_stage, {"seed": job.seeds, "step": steps, "subset": subsets_of(job)}, whole=False)
        _check_subsets(path, of_stage, subsets_of(job))
    if len(stages) == len(job.flags["stages"]) + 1:
        for seed in job.seeds:
            _check_seed(stages, job.flags["restarts"] or 0, path, seed, rows)


def _by_stage(job: Job, path: Path, rows: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """The rows of each stage that the job has. Raises BadTable for rows of another one."""
    numbers = range(1, len(job.flags["stages"]) + 2)
    unknown = ~rows.stage.isin(numbers).to_numpy()
    if unknown.any():
        line = int(unknown.argmax())
        raise BadTable(f"{path}, line {line + 2}: stage is {rows.stage.iloc[line]}, and the job has {len(numbers)}")
    for number in numbers:
        yield number, rows[rows.stage == number]


def _check_seed(stages: dict[int, _Stage], restarts: int, path: Path, seed: int, rows: pd.DataFrame) -> None:
    novel = rows[(rows.seed == seed) & (rows.subset == "novel")]
    found = {
        (stage, step): (right, loss, is_best, n)
        for stage, step, right, loss, is_best, n in zip(
            *(novel[name].tolist() for name in ("stage", "step", "n_correct", "loss", "is_best", "n_queries")), strict=True
        )
    }
    expected = set(_validations(stages, restarts, path, seed, found))
    if extra := sorted(found.keys() - expected):
        stage, step = extra[0]
        line = line_of(rows[rows.stage == stage], seed, step)
        raise BadTable(f"{path}, line {line}: seed {seed} has no validation at step {step}")


_Found = dict[tuple[int, int], tuple[int, float, int, int]]


def _validations(stages: dict[int, _Stage], restarts: int, path: Path, seed: int, found: _Found) -> Iterator[tuple[int, int]]:
    """Return stage and step of each validation that metalearning makes of a seed.

    `found`: stage, step → right novel answers, loss, is_best and queries. Raises BadTable for a missing validation, and for an
    is_best that the answers and losses contradict.
    """
    kept = (-1, float("inf"))  # of the last stage, over all starts
    for start in range(restarts + 1):
        for number, stage in stages.items():
            before = kept if stage.is_last else (-1, float("inf"))
            steps, passed, after = _of_a_start(stage, number, start, path, seed, found, before)
            kept = after if stage.is_last else kept
            yield from ((number, step) for step in steps)
            if not passed and start < restarts:
                break
        else:
            return


def _of_a_start(stage: _Stage, number: int, start: int, path: Path, seed: int, found: _Found, kept: tuple[int, float]):
    """Return the steps of one start of a stage, whether the seed needs no restart after it, and what it has kept."""
    by_loss = stage.flags["keep_by"] == "loss"
    best, stale, passed, steps, n_novel = (-1, float("inf")), 0, False, [], 0
    for step in stage.schedule(start, "test_every", first=start == 0):
        if (number, step) not in found:
            raise BadTable(f"{path}: lacks the validation of seed {seed} at step {step}")
        right, loss, is_best, n_novel = found[number, step]
        if is_best != (loss < kept[1] if by_loss else right > kept[0]):
            raise BadTable(f"{path}: is_best of seed {seed} at step {step} is {is_best}; an earlier line is missing or changed")
        stale = 0 if (loss < best[1] if by_loss else right > best[0]) else stale + 1
        kept, best = (right, loss) if is_best else kept, (max(right, best[0]), min(loss, best[1]))
        passed = stage.bar is not None and right >= stage.bar * n_novel
        steps.append(step)
        is_through = stale >= stage.flags["patience"] or (not by_loss and best[0] == n_novel)
        if passed or (stage.flags["stop_early"] and is_through):
            break
    is_done = kept[0] > CRITERION * n_novel if stage.is_last else stage.bar is None or passed
    return steps, is_done or stage.n_steps == 0, kept


def check_losses(job: Job, path: Path, rows: pd.DataFrame) -> None:
    """Raise BadTable unless each seed has its rows of the loss up to the end of each start, which its validations tell.

    A step has all subsets, unless it is of so few updates that a subset's queries may be absent by chance.
    """
    validations = tables.read(job.folder, "pretrain_accuracy")
    check_validations(job, tables.find(job.folder, "pretrain_accuracy"), validations)
    stages = _stages(job, validations)
    for number, of_stage in _by_stage(job, path, rows):
        steps = sorted(of_stage.step.unique())
        check_product(path, of_stage, {"seed": job.seeds, "step": steps, "subset": subsets_of(job)}, whole=False)
        if number in stages:
            _check_losses_of(stages[number], job, path, of_stage, validations[validations.stage == number])


def _check_losses_of(stage: _Stage, job: Job, path: Path, rows: pd.DataFrame, validations: pd.DataFrame) -> None:
    flags, share = stage.flags, _smallest_share(validations)
    there = rows.groupby(["seed", "step"]).size().to_dict()
    expected: set[tuple[int, int]] = set()
    for seed in job.seeds:
        ends: dict[int, int] = {}
        for step in validations.step[validations.seed == seed].tolist():
            start = max(0, step - 1) // max(1, stage.n_steps)
            ends[start] = max(step, ends.get(start, 0))
        for start, end in ends.items():
            before = start * stage.n_steps
            schedule = [s for s in stage.schedule(start, "print_every", first=False) if s <= end]
            for step in sorted({*schedule, *([end] if end > before else [])}):
                full = step - before - (step % stage.per_epoch == 0)  # an epoch's last batch may be short
                packs = full * (flags["pretrain_bs"] // flags["queries_per_episode"]) + 1
                certain = (1 - share) ** (packs * flags["queries_per_episode"]) < CERTAIN
                if there.get((seed, step), 0) < (len(subsets_of(job)) if certain else 1):
                    raise BadTable(f"{path}: lacks a line of seed {seed} at step {step}")
                expected.add((seed, step))
                before = step
    if extra := sorted(there.keys() - expected):
        raise BadTable(f"{path}, line {line_of(rows, *extra[0])}: seed {extra[0][0]} has no row of the loss at step {extra[0][1]}")


def _schedule(start: int, n_steps: int, every: int, per_epoch: int, first: bool) -> list[int]:
    """The steps of a start, of n_steps each, that are a multiple of `every`, or the last of an epoch or start; with `first` 0."""
    steps = range(start * n_steps + 1, (start + 1) * n_steps + 1)
    multiples = range(steps.start + -steps.start % every, steps.stop, every)
    ends = range(steps.start + -steps.start % per_epoch, steps.stop, per_epoch)
    return sorted({*multiples, *ends, *steps[-1:], *([0] if first else [])})


def updates_per_epoch(job: Job, flags: dict[str, Any], rows: pd.DataFrame) -> int | None:
    """Return the metalearning updates in an epoch of a stage: n_train episodes with a query for each item.

    For episodes from files it is the highest step of the first epoch in the rows. None if all seeds left that epoch early.
    """
    if flags["load_data_from"]:
        first, later = rows.step[rows.epoch == 1], rows.epoch[rows.epoch > 1]
        if len(later) and (later > flags["n_epochs"]).all():
            return None
        return int(first.max()) if len(first) else 1
    packs = flags["n_train"] * n_queries(flags) // flags["queries_per_episode"]
    return max(1, -(-packs // max(1, flags["pretrain_bs"] // flags["queries_per_episode"])))


def _smallest_share(validations: pd.DataFrame) -> float:
    """The part of an episode's queries that its smallest subset has."""
    sizes = validations.groupby("subset", observed=True).n_queries.max()
    return float(sizes.min() / sizes.sum()) if len(sizes) else 0.0


def _check_subsets(path: Path, rows: pd.DataFrame, subsets: Sequence[str]) -> None:
    found = rows.groupby(["seed", "step"]).size()
    if (found != len(subsets)).any():
        seed, step = found.index[(found != len(subsets)).argmax()]
        raise BadTable(f"{path}, line {line_of(rows, seed, step)}: seed {seed} lacks a line at step {step}")
