"""The rows that a finished job's table must have, by its flags and by what was found: lost and doubled lines are noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.jobs import tables
from analysis.jobs.job import Job
from analysis.jobs.tables import BadTable
from analysis.jobs.words import CURRICULA, GROUPS, ROTATIONS
from flags.stages import flags_of, n_steps
from tasks.task import CRITERION

LOSS_EVERY = 10  # updates of finetuning that a row of its loss is the mean of
STEP_CURRICULA = ("blocked", "interleaved")
PAIR = ("context_curriculum", "step_curriculum")
CERTAIN = 1e-9  # by chance no query of a subset was trained on between two rows of the loss: more unlikely than this counts as lost
Expected = Mapping[str | tuple[str, str], Sequence[Any]]


def check_whole(job: Job, name: str, rows: pd.DataFrame) -> None:
    """Raise BadTable if a finished job's table lacks a row that it must have, has one twice, or has one of no seed, condition or
    step of the job."""
    path = tables.find(job.folder, name)
    if name == "llm_accuracy":
        _check_product(path, rows, _asked(job) | {"subset": _subsets_asked(job), "scoring": job.config.scorings})
        if rows.model.nunique() > 1:
            raise BadTable(f"{path}: has rows of several models, {' and '.join(sorted(rows.model.unique())[:2])}")
        if "generate" in job.config.scorings and (generated := tables.find(job.folder, "llm_generated")).exists():
            _check_generated(job, generated, tables.read(job.folder, "llm_generated"), rows)
    elif name == "llm_generated":
        _check_generated(job, path, rows, tables.read(job.folder, "llm_accuracy"))
    elif name == "pretrain_accuracy":
        _check_validations(job, path, rows)
    elif name == "pretrain_loss":
        _check_losses(job, path, rows)
    else:
        _check_finetuning(job, name, path, rows)


def _check_finetuning(job: Job, name: str, path: Path, rows: pd.DataFrame) -> None:
    flags, config = job.flags, job.config
    every = flags["finetune_test_every"] if name == "finetune_accuracy" else LOSS_EVERY
    total, block = config.n_finetuning_steps, flags["n_steps_per_block"]
    steps = [step for step in range(1, total + 1) if step % every == 0 or step % block == 0]
    if name == "finetune_accuracy":
        steps = [0, *steps]
    last = rows.step.max() if len(rows) else 0
    if last < total:
        raise BadTable(f"{path}, line {len(rows) + 1}: ends at step {last} of {total}; lines are missing")
    contexts = CURRICULA if job.task == "grid" else STEP_CURRICULA
    expected: dict[str | tuple[str, str], Sequence[Any]] = {
        "seed": job.seeds,
        "init": (config.init, "random") if flags["with_iwl_only"] and config.init != "random" else (config.init,),
        "rotation": (flags["pt_rot_cond"],) if flags["test_one_rot_cond"] else ROTATIONS,
        PAIR: [(c, s) for s in STEP_CURRICULA for c in contexts if c == s or not flags["congruent_only"]],
        "episode": range(flags["n_test"]),
        "step": steps,
    }
    if name == "finetune_accuracy":
        levels = np.round(config.test_levels, 6).tolist()  # as `tables.read` rounds them
        expected |= {"test_level": levels, "subset": _subsets(job)}
    _check_product(path, rows, expected)


@dataclass(frozen=True)
class _Stage:
    """A stage of metalearning: its number, its flags, its bar, and how many updates an epoch and a start of it have."""

    number: int
    flags: dict[str, Any]
    bar: float | None
    is_last: bool
    per_epoch: int
    n_steps: int

    def schedule(self, start: int, every: str, first: bool) -> list[int]:
        return _schedule(start, self.n_steps, self.flags[every], self.per_epoch, first)


def _stages(job: Job, rows: pd.DataFrame) -> list[_Stage]:
    """The stages of a job. None of those whose epochs' length is not known (see `_updates_per_epoch`)."""
    found = []
    for number, changed in enumerate((*job.flags["stages"], {}), start=1):
        flags = flags_of(job.flags, number)
        per_epoch = _updates_per_epoch(job, flags, rows[rows.stage == number])
        if per_epoch is not None:
            steps = n_steps(flags["n_epochs"], flags["pretrain_steps"], per_epoch)
            found.append(_Stage(number, flags, changed.get("bar"), number > len(job.flags["stages"]), per_epoch, steps))
    return found


def _check_validations(job: Job, path: Path, rows: pd.DataFrame) -> None:
    """Each seed's validations are those that its metalearning makes, given what they found: they say where a stage reached its bar
    or stopped early, where it started again, and which was a new best."""
    for number, of_stage in _by_stage(job, path, rows):
        steps = sorted(of_stage.step.unique())
        _check_product(path, of_stage, {"seed": job.seeds, "step": steps, "subset": _subsets(job)}, whole=False)
        _check_subsets(path, of_stage, _subsets(job))
        for stage in _stages(job, rows):
            if stage.number == number:
                for seed in job.seeds:
                    _check_seed(stage, path, seed, of_stage)


def _by_stage(job: Job, path: Path, rows: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """The rows of each stage that the job has. Raises BadTable for rows of another one."""
    numbers = range(1, len(job.flags["stages"]) + 2)
    unknown = ~rows.stage.isin(numbers).to_numpy()
    if unknown.any():
        line = int(unknown.argmax())
        raise BadTable(f"{path}, line {line + 2}: stage is {rows.stage.iloc[line]}, and the job has {len(numbers)}")
    for number in numbers:
        yield number, rows[rows.stage == number]


def _check_seed(stage: _Stage, path: Path, seed: int, rows: pd.DataFrame) -> None:
    novel = rows[(rows.seed == seed) & (rows.subset == "novel")].sort_values("step")
    found = dict(zip(novel.step.tolist(), zip(novel.n_correct, novel.loss, novel.is_best, strict=True), strict=True))
    n_novel = int(novel.n_queries.max()) if len(novel) else 0
    expected = {step for _, step in _validations(stage, path, seed, found, n_novel)}
    if extra := sorted(found.keys() - expected):
        raise BadTable(f"{path}, line {_line(rows, seed, extra[0])}: seed {seed} has no validation at step {extra[0]}")


def _validations(stage: _Stage, path: Path, seed: int, found: dict[int, tuple[int, float, int]], n_novel: int):
    """Start (from 0) and step of each validation that a stage makes of a seed, by what was found: step → right novel answers, loss
    and is_best. Raises BadTable where one is missing, or is_best is not as they say."""
    flags, kept = stage.flags, (-1, float("inf"))
    by_loss = flags["keep_by"] == "loss"
    for start in range((flags["restarts"] or 0) + 1):
        best, stale, passed = (-1, float("inf")), 0, False
        for step in stage.schedule(start, "test_every", first=start == 0):
            if step not in found:
                raise BadTable(f"{path}: lacks the validation of seed {seed} at step {step}")
            right, loss, is_best = found[step]
            if is_best != (loss < kept[1] if by_loss else right > kept[0]):
                raise BadTable(f"{path}: is_best of seed {seed} at step {step} is {is_best}; an earlier line is missing or changed")
            stale = 0 if (loss < best[1] if by_loss else right > best[0]) else stale + 1
            kept, best = (right, loss) if is_best else kept, (max(right, best[0]), min(loss, best[1]))
            passed = stage.bar is not None and right >= stage.bar * n_novel
            yield start, step
            is_through = stale >= flags["patience"] or (not by_loss and best[0] == n_novel)
            if passed or (flags["stop_early"] and is_through):
                break
        is_done = kept[0] > CRITERION * n_novel if stage.is_last else stage.bar is None or passed
        if is_done or stage.n_steps == 0:
            return


def _check_losses(job: Job, path: Path, rows: pd.DataFrame) -> None:
    """Each seed has its rows of the loss up to where its validations say that each start ended. A step has all subsets, unless it
    is of so few updates that by chance none of a subset's queries was among them."""
    validations = tables.read(job.folder, "pretrain_accuracy")
    _check_validations(job, tables.find(job.folder, "pretrain_accuracy"), validations)
    stages = {stage.number: stage for stage in _stages(job, validations)}
    for number, of_stage in _by_stage(job, path, rows):
        steps = sorted(of_stage.step.unique())
        _check_product(path, of_stage, {"seed": job.seeds, "step": steps, "subset": _subsets(job)}, whole=False)
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
                groups = full * (flags["pretrain_bs"] // flags["queries_per_episode"]) + 1
                certain = (1 - share) ** (groups * flags["queries_per_episode"]) < CERTAIN
                if there.get((seed, step), 0) < (len(_subsets(job)) if certain else 1):
                    raise BadTable(f"{path}: lacks a line of seed {seed} at step {step}")
                expected.add((seed, step))
                before = step
    if extra := sorted(there.keys() - expected):
        raise BadTable(f"{path}, line {_line(rows, *extra[0])}: seed {extra[0][0]} has no row of the loss at step {extra[0][1]}")


def _schedule(start: int, n_steps: int, every: int, per_epoch: int, first: bool) -> list[int]:
    """The steps of a start, of n_steps each, that are a multiple of `every`, or the last of an epoch or start; with `first` 0."""
    steps = range(start * n_steps + 1, (start + 1) * n_steps + 1)
    multiples = range(steps.start + -steps.start % every, steps.stop, every)
    ends = range(steps.start + -steps.start % per_epoch, steps.stop, per_epoch)
    return sorted({*multiples, *ends, *steps[-1:], *([0] if first else [])})


def _updates_per_epoch(job: Job, flags: dict[str, Any], rows: pd.DataFrame) -> int | None:
    """Metalearning updates in an epoch of a stage, of n_train episodes with a query for each item; where files deliver the
    episodes, the highest step that the rows have of the first epoch. None if all seeds left that one early and started again."""
    if flags["load_data_from"]:
        first, later = rows.step[rows.epoch == 1], rows.epoch[rows.epoch > 1]
        if len(later) and (later > flags["n_epochs"]).all():
            return None
        return int(first.max()) if len(first) else 1
    n_queries = 25 if job.task == "grid" else flags["n_symbols"] ** 2
    groups = flags["n_train"] * n_queries // flags["queries_per_episode"]
    return max(1, -(-groups // max(1, flags["pretrain_bs"] // flags["queries_per_episode"])))


def _smallest_share(validations: pd.DataFrame) -> float:
    """The part of an episode's queries that its smallest subset has."""
    sizes = validations.groupby("subset", observed=True).n_queries.max()
    return float(sizes.min() / sizes.sum()) if len(sizes) else 0.0


def _check_subsets(path: Path, rows: pd.DataFrame, subsets: Sequence[str]) -> None:
    found = rows.groupby(["seed", "step"]).size()
    if (found != len(subsets)).any():
        seed, step = found.index[(found != len(subsets)).argmax()]
        raise BadTable(f"{path}, line {_line(rows, seed, step)}: seed {seed} lacks a line at step {step}")


def _check_generated(job: Job, path: Path, rows: pd.DataFrame, accuracy: pd.DataFrame) -> None:
    """Raise BadTable unless each question that was counted has a row of what was generated. A job handed on may lack the table."""
    counted = accuracy[accuracy.scoring == "generate"]
    n_items = counted.groupby(["rotation", "context_curriculum", "episode"], observed=True).n_queries.sum().max()
    _check_product(path, rows, _asked(job) | {"item": range(int(n_items))})


def _asked(job: Job) -> dict[str | tuple[str, str], Sequence[Any]]:
    """The conditions and episodes of a language model's job."""
    conditions = [condition[1:] for condition in job.conditions]
    return {("rotation", "context_curriculum"): conditions, "episode": range(job.flags["n_val"])}


def _subsets(job: Job) -> list[str]:
    n_groups = 2 if job.task == "grid" else job.flags["n_labels_per_task"]
    return [*(f"study_{group}" for group in GROUPS[:n_groups]), "novel"]


def _subsets_asked(job: Job) -> list[str]:
    return _subsets(job) if job.flags["llm_study"] else ["novel"]


def _line(rows: pd.DataFrame, seed: int, step: int) -> int:
    return int(rows.index[(rows.seed == seed) & (rows.step == step)][0]) + 2


def _check_product(path: Path, rows: pd.DataFrame, expected: Expected, whole: bool = True) -> None:
    """Raise BadTable for a row whose values of these columns are not all expected, or stand in another row as well; and, of the
    `whole` table, for a combination of expected values that no row has."""
    code = np.zeros(len(rows), dtype=np.int64)
    for columns, values in expected.items():
        place = _places(rows, columns, values)
        if (place < 0).any():
            number = int((place < 0).argmax())
            line = rows.index[number] + 2
            said = ", ".join(f"{name} is {rows[name].iloc[number]}" for name in _listed(columns))
            raise BadTable(f"{path}, line {line}: {said}, which the flags of the job do not have")
        code = code * len(values) + place
    counts = np.bincount(code, minlength=int(np.prod([len(values) for values in expected.values()])))
    if (counts > 1).any():
        number = int(pd.Series(code).duplicated().to_numpy().argmax())
        first = int((code == code[number]).argmax())
        line, before = (rows.index[place] + 2 for place in (number, first))
        raise BadTable(f"{path}, line {line}: is of the same {_named(expected)} as line {before}")
    if whole and (counts == 0).any():
        missing = int((counts == 0).argmax())
        places = np.unravel_index(missing, [len(values) for values in expected.values()])
        said = []
        for (columns, values), place in zip(expected.items(), places, strict=True):
            value = values[place]
            said += [f"{n} {v}" for n, v in zip(_listed(columns), value if isinstance(columns, tuple) else (value,), strict=True)]
        raise BadTable(f"{path}: lacks the line of {', '.join(said)}")


def _places(rows: pd.DataFrame, columns: str | tuple[str, str], values: Sequence[Any]) -> np.ndarray:
    """The place in `values` of each row's value of the columns; -1 for one that is not among them."""
    if isinstance(columns, tuple):
        alone = [list(dict.fromkeys(part)) for part in zip(*values, strict=True)]
        first, second = (_places(rows, name, part) for name, part in zip(columns, alone, strict=True))
        place_of = np.full((len(alone[0]) + 1, len(alone[1]) + 1), -1)  # the last row and column are of -1
        for place, (one, other) in enumerate(values):
            place_of[alone[0].index(one), alone[1].index(other)] = place
        return place_of[first, second]
    if isinstance(rows[columns].dtype, pd.CategoricalDtype):
        return rows[columns].cat.set_categories(list(values)).cat.codes.to_numpy(dtype=np.int64)
    return pd.Index(list(values)).get_indexer(rows[columns]).astype(np.int64)


def _listed(columns: str | tuple[str, str]) -> tuple[str, ...]:
    return columns if isinstance(columns, tuple) else (columns,)


def _named(expected: Expected) -> str:
    return ", ".join(name for columns in expected for name in _listed(columns))
