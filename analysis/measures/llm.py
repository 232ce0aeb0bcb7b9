"""The headline numbers of a pretrained language model's job, and its means with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import tasks

KEY = ["scoring", "subset", "rotation", "context_curriculum"]
OURS = "llama-causal"  # how README names a model that was metalearned here and is asked as a language model is
PAIRS = (("blocked", "interleaved"), ("aligned", "misaligned"))


def summarise(folder: Path) -> list[dict[str, Any]]:
    """Accuracies, 0 to 1, of the table in a job's folder: a row a scoring × subset × condition.

    They are of the whole answer, and of its first and second coordinate alone. Subsets: novel, and study if it was asked for.
    """
    from analysis.jobs import tables

    rows = tables.read(folder, "llm_accuracy")
    rows["subset"] = rows.subset.astype(str).where(rows.subset == "novel", "study")
    sums = rows.groupby(KEY, sort=False)[["n_correct", "n_first", "n_second", "n_queries"]].sum()
    return [
        {
            **dict(zip(KEY, key, strict=True)),
            "accuracy": row.n_correct / row.n_queries,
            "first": row.n_first / row.n_queries,
            "second": row.n_second / row.n_queries,
            "n_queries": int(row.n_queries),
        }
        for key, row in sums.iterrows()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Return a summary as text: a block a scoring and subset, a line a rotation and what of the answer, a column a curriculum."""
    curricula = [name for name in tasks.curricula() if any(row["context_curriculum"] == name for row in rows)]
    parts, level = [], f"chance on unrotated tasks: {chance('unrotated'):.3f}"
    for scoring, subset in dict.fromkeys((row["scoring"], row["subset"]) for row in rows):
        there = [row for row in rows if (row["scoring"], row["subset"]) == (scoring, subset)]
        parts.append(f"In context: accuracy on {subset} items, {scoring}, by context curriculum ({level})")
        parts.append("  " + "".join(f"{head:<13}" for head in ("rotation", "coordinate")) + "".join(f"{c:>13}" for c in curricula))
        for rotation in dict.fromkeys(row["rotation"] for row in there):
            for what, label in (("accuracy", "both"), ("first", "first"), ("second", "second")):
                value = {row["context_curriculum"]: row[what] for row in there if row["rotation"] == rotation}
                cells = "".join(f"{f'{value[c]:.3f}' if c in value else '–':>13}" for c in curricula)
                parts.append(f"  {rotation if what == 'accuracy' else '':<13}{label:<13}{cells}")
        parts.append("")
    return "\n".join(parts).rstrip()


def chance(rotation: str) -> float:
    """Return the chance level of a whole answer, 0 to 1."""
    return tasks.chance({"task": tasks.ASKED}, rotation)


def is_above_chance(rows: pd.DataFrame, rotation: str) -> bool:
    """Return True if a model answers above the chance level in any context of these rows: then contexts can be compared.

    Above is an interval over episodes that lies above it; without an interval, the mean.
    """
    from analysis.statistics.effects import mean_interval

    found = mean_interval(rows, ["context_curriculum"])
    return bool((found.low.fillna(found["mean"]) > chance(rotation)).any())


def by_model(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """The rows on novel items of each model, scoring and rotation, in the order of the table."""
    key = ["model", "scoring", "rotation"]
    novel = rows[rows.subset == "novel"].astype(dict.fromkeys([*key, "context_curriculum"], str))
    return iter(novel.assign(model=novel.model.map(label)).groupby(key, sort=False))


def label(model: str) -> str:
    """Return a model's name for people, which tells models metalearned here from pretrained ones."""
    return f"{model} (ours)" if is_ours(model) else model


def is_ours(model: str) -> bool:
    """Return True for the name of a model that was metalearned here."""
    return model.startswith(OURS)


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of whole answers on novel items by model, scoring, rotation and context curriculum, with a 95 % interval over
    episodes: a language model has no seeds. Columns these, and those of `effects.mean_interval`."""
    from analysis.statistics.effects import mean_interval

    parts = []
    for key, part in by_model(rows):
        found = mean_interval(part, ["context_curriculum"])
        parts.append(pd.concat([pd.DataFrame([key] * len(found), columns=["model", "scoring", "rotation"]), found], axis=1))
    return pd.concat(parts, ignore_index=True)
