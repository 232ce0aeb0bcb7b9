"""A job's CSV tables: what stands in their columns, and a reader that names file and line of what does not belong there."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

import tasks
from analysis.jobs.words import GROUPS, SUBSETS

# What a column holds: whole numbers, numbers, text, a context curriculum of any task, or one of some words.
Kind = str | tuple[str, ...]
_EPISODE: dict[str, Kind] = {
    "seed": "int32",
    "init": ("metalearned", "loaded", "random"),
    "rotation": tasks.ROTATIONS,
    "context_curriculum": "curriculum",
    "step_curriculum": tasks.STEP_CURRICULA,
    "episode": "int32",
    "block": "float32",  # empty before any update
    "trained_group": ("", *GROUPS, "all"),
    "step": "int32",
}
_QUESTION: dict[str, Kind] = {"model": "text", "rotation": tasks.ROTATIONS, "context_curriculum": "curriculum", "episode": "int32"}
COUNTS: dict[str, Kind] = {"n_correct": "int32", "n_queries": "int32"}
COLUMNS: dict[str, dict[str, Kind]] = {
    "pretrain_loss": {"seed": "int32", "stage": "int32", "step": "int32", "epoch": "int32", "subset": SUBSETS, "loss": "float64"},
    "pretrain_accuracy": {
        "seed": "int32", "stage": "int32", "step": "int32", "epoch": "int32", "subset": SUBSETS, **COUNTS, "loss": "float64",
        "is_best": "int32",
    },
    "finetune_accuracy": {**_EPISODE, "test_level": "float64", "subset": SUBSETS, **COUNTS},
    "finetune_loss": {**_EPISODE, "loss": "float64"},
    "llm_accuracy": {
        **_QUESTION, "subset": SUBSETS, "scoring": ("argmax", "candidates", "generate"),
        "n_correct": "int32", "n_first": "int32", "n_second": "int32", "n_queries": "int32",
    },
    "llm_generated": {**_QUESTION, "item": "int32", "subset": SUBSETS, "expected": "text", "generated": "text"},
}  # fmt: skip

# Columns that a table of an earlier program may lack, and what they would say.
LATER: dict[str, dict[str, float]] = {"pretrain_loss": {"stage": 1}, "pretrain_accuracy": {"stage": 1, "loss": float("nan")}}


class BadTable(ValueError):
    """A file that no job wrote, or that is damaged: says which, where and how."""


def find(folder: Path, table: str) -> Path:
    """The table's file in a job's folder, which may be compressed."""
    path = folder / f"{table}.csv"
    return path if path.exists() else path.with_suffix(".csv.gz")


def read(folder: Path, table: str, finished: bool = True) -> pd.DataFrame:
    """A table of the job in `folder`; words are categories, in a fixed order; levels are rounded to 6 decimals.

    The last line of an unfinished job may lack its end and is passed over then. Raises BadTable, with file and line.
    """
    path, later = find(folder, table), LATER.get(table, {})
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise BadTable(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    end = content.rfind(b"\n") + 1
    if finished and end < len(content):
        line = content[:end].count(b"\n") + 1
        raise BadTable(f"{path}, line {line}: is cut off")
    content = content[:end]
    header = content.partition(b"\n")[0].decode(errors="replace").rstrip("\r")
    kinds = {name: tasks.curricula() if kind == "curriculum" else kind for name, kind in COLUMNS[table].items()}
    if header == ",".join(name for name in kinds if name not in later):
        kinds = {name: kind for name, kind in kinds.items() if name not in later}
    elif header != ",".join(kinds):
        raise BadTable(f"{path}, line 1: is not the header of a {table} table ({','.join(kinds)})")
    types = {name: "category" if isinstance(kind, tuple) else "str" if kind == "text" else kind for name, kind in kinds.items()}
    try:
        rows = pd.read_csv(
            io.BytesIO(content),
            dtype=types,
            keep_default_na=False,
            na_values={"block": [""]},
            skip_blank_lines=False,
            index_col=False,
            low_memory=False,
        )
        for name, kind in kinds.items():
            if isinstance(kind, tuple):
                rows[name] = rows[name].cat.set_categories(kind)  # other words are then missing
        sound = not rows.drop(columns="block", errors="ignore").isna().any(axis=None) and not _miscounted(rows).any()
    except (ValueError, UnicodeDecodeError, OverflowError):
        sound = False
    if not sound:
        raise BadTable(f"{path}, {_first_fault(content, kinds)}")
    for name, value in later.items():
        if name not in kinds:
            rows.insert(list(COLUMNS[table]).index(name), name, value)
    if "test_level" in rows:
        rows["test_level"] = rows.test_level.round(6)
    return rows


def _miscounted(rows: pd.DataFrame) -> pd.Series:
    """Rows whose counts are impossible."""
    if "n_queries" not in rows:
        return pd.Series(False, rows.index)
    counts = [name for name in rows if name in ("n_correct", "n_first", "n_second")]
    return (rows[counts] < 0).any(axis=1) | rows[counts].gt(rows.n_queries, axis=0).any(axis=1)


def _first_fault(content: bytes, kinds: dict[str, Kind]) -> str:
    """The first line that does not belong, and why: the slow way, for a table that is known to have one."""
    lines = csv.reader(io.StringIO(content.decode(errors="replace")))
    next(lines)
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(kinds):
            return f"line {number}: has {len(cells)} fields instead of {len(kinds)}"
        for (name, kind), cell in zip(kinds.items(), cells, strict=True):
            if not _belongs(cell, name, kind):
                what = f"one of {', '.join(word or '(nothing)' for word in kind)}" if isinstance(kind, tuple) else "a number"
                return f"line {number}: {name} is {cell!r} instead of {what}"
        row = dict(zip(kinds, cells, strict=True))
        for name in ("n_correct", "n_first", "n_second"):
            if name in row and not 0 <= int(row[name]) <= int(row["n_queries"]):
                return f"line {number}: {name} is {row[name]} of {row['n_queries']} queries"
    return "some line: holds what does not belong there"


def _belongs(cell: str, name: str, kind: Kind) -> bool:
    if isinstance(kind, tuple):
        return cell in kind
    if kind == "text" or (name == "block" and not cell):
        return True
    try:
        value = int(cell) if kind == "int32" else float(cell)
    except ValueError:
        return False
    return value == value and abs(value) < 2**31
