"""Tables against the rows that they must have: what is lost, doubled or foreign is named with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.jobs.job import Job
from analysis.jobs.tables import BadTable
from analysis.jobs.words import GROUPS
from tasks import entry_of

Expected = Mapping[str | tuple[str, str], Sequence[Any]]


def subsets_of(job: Job) -> list[str]:
    """Return the subsets of the job's queries: study_A, study_B, …, novel."""
    n_groups = entry_of(job.task).n_groups(job.flags)
    return [*(f"study_{group}" for group in GROUPS[:n_groups]), "novel"]


def line_of(rows: pd.DataFrame, seed: int, step: int) -> int:
    """Return the line of the file, from 1 and with its header, where the rows of a seed and step begin."""
    return int(rows.index[(rows.seed == seed) & (rows.step == step)][0]) + 2


def check_product(path: Path, rows: pd.DataFrame, expected: Expected, whole: bool = True) -> None:
    """Raise BadTable for a row with unexpected values in these columns, or with the values of an earlier row.

    Of the `whole` table, also raise it for a combination of expected values that no row has.
    """
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
