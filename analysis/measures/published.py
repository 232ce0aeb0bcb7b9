"""The published numbers: Russin, Pavlick & Frank, PNAS 2025 (arXiv 2402.08674v4), and the claims they stand for.

Means over seeds of models metalearned on unrotated-blocked, congruent curricula. Few-shot and ICL + IWL of the grid are over the
five of ten seeds that meet the .9 criterion. published_counts.csv has the counts of each seed and condition, and
published_tests.csv the tests as R printed them: from the notebooks folder of the published repository
(jlrussin/icl-iwl-interplay, commit a9e3ee3, MIT licence). The grid's counts after training are sums over its groups of 5 and 4
items, rebuilt there from accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
DIGITISED = 0.003  # the trade-offs were read off figures: so exact they are
CLAIMS = {
    1: "In-weight learning alone has an interleaving advantage: blocked training forgets the other block.",
    2: "In-context learning has a blocking advantage on rule-like tasks.",
    3: "Both live in one network: rule-like tasks are solved in context, under either curriculum; rotated ones, which are not, "
    "fall back to in-weight learning and its interleaving advantage.",
    4: "Trade-off: the more in-context learning is ablated, the worse the generalisation and the better the retention.",
    5: "Language models have the blocking advantage in context as well.",
}


@dataclass(frozen=True)
class Value:
    """A published mean. measure: `few_shot` or `after`. model: `iwl` (IWL only), `icl` (ICL + IWL), or a language model's name.
    curriculum: of the context, and of the steps as well."""

    claim: int
    task: str
    model: str
    measure: str
    rotation: str
    curriculum: str
    mean: float
    at_most: bool = False
    decimals: int = 3  # as published


def _pairs(
    claim: int, task: str, model: str, measure: str, rule_like: tuple[float, float], rotated: tuple[float, float]
) -> list[Value]:
    """Four values: (blocked, interleaved) on rule-like and on rotated tasks."""
    return [
        Value(claim, task, model, measure, rotation, curriculum, mean)
        for rotation, pair in (("unrotated", rule_like), ("rotated", rotated))
        for curriculum, mean in zip(("blocked", "interleaved"), pair, strict=True)
    ]


VALUES = [
    *_pairs(1, "category", "iwl", "after", (0.500, 1.000), (0.500, 0.987)),
    *_pairs(1, "grid", "iwl", "after", (0.506, 1.0), (0.542, 1.0)),
    *_pairs(2, "category", "icl", "few_shot", (1.000, 0.806), (0.724, 0.645)),
    Value(2, "grid", "icl", "few_shot", "unrotated", "blocked", 0.999),
    Value(2, "grid", "icl", "few_shot", "unrotated", "interleaved", 0.398),
    Value(2, "grid", "icl", "few_shot", "unrotated", "aligned", 1.0),
    Value(2, "grid", "icl", "few_shot", "unrotated", "misaligned", 0.15, decimals=2),
    Value(2, "grid", "icl", "few_shot", "rotated", "blocked", 0.005, at_most=True),
    Value(2, "grid", "icl", "few_shot", "rotated", "interleaved", 0.005, at_most=True),
    *_pairs(3, "category", "icl", "after", (0.999, 0.999), (0.644, 1.000)),
    *_pairs(3, "grid", "icl", "after", (0.985, 1.0), (0.655, 1.0)),
    *_pairs(5, "grid", "Llama 2 70B", "few_shot", (0.939, 0.830), (0.236, 0.245)),
    Value(5, "grid", "Llama 2 70B", "few_shot", "unrotated", "aligned", 0.970),
    Value(5, "grid", "Llama 2 70B", "few_shot", "unrotated", "misaligned", 0.685),
    Value(5, "grid", "Llama 2 70B", "few_shot", "rotated", "aligned", 0.0475, decimals=4),
    Value(5, "grid", "Llama 2 70B", "few_shot", "rotated", "misaligned", 0.0175, decimals=4),
    *_pairs(5, "grid", "GPT-3.5", "few_shot", (0.963, 0.788), (0.0, 0.013)),
    Value(5, "grid", "GPT-3.5", "few_shot", "unrotated", "aligned", 0.938),
    Value(5, "grid", "GPT-3.5", "few_shot", "unrotated", "misaligned", 0.513),
]
TASKS = {value.task for value in VALUES}
# (task, measure) whose published counts weight items alike, not groups.
ITEMS_ALIKE = {("grid", "after")}


@cache
def counts() -> pd.DataFrame:
    """The published counts: task, measure, model, rotation, curriculum, seed (of models of their own), n_correct, n_queries."""
    return pd.read_csv(HERE / "published_counts.csv")


@cache
def printed_tests() -> pd.DataFrame:
    """The published tests as R printed them: task, data, model, n_rows, within, family, term, chi2, p, all words."""
    return pd.read_csv(HERE / "published_tests.csv", dtype=str, keep_default_na=False)


def by_seed(task: str, model: str, measure: str, rotation: str, curriculum: str) -> np.ndarray:
    """The accuracy of each published seed in a condition, items alike; empty where none was published."""
    c = counts()
    there = (c.task == task) & (c.model == model) & (c.measure == measure)
    there &= (c.rotation == rotation) & (c.curriculum == curriculum)
    return (c.n_correct / c.n_queries)[there & c.seed.notna()].to_numpy()


# (task, ablation) → means by level: of the mask levels in tenths, of noise σ = 0, 1, 2 … Where only a bound is published: None.
LEVEL_STEP = {"mask": 0.1, "gaussian": 1.0}
GENERALISATION: dict[tuple[str, str], list[float | None]] = {
    ("category", "mask"): [1.0, 1.0, 0.99, 1.0, 1.0, 0.99, 0.98, 0.94, 0.82, 0.61, 0.50],
    ("grid", "mask"): [1.0, 0.81, 0.59, 0.40, 0.31, 0.17, 0.13, 0.12, 0.08],
    ("category", "gaussian"): [1.0, 0.99, 0.78, 0.66, 0.49, None, 0.41, None, 0.41],
    ("grid", "gaussian"): [1.0, 1.0, 0.94, 0.86, 0.75, 0.59, 0.46, 0.32, 0.29],
}
RETENTION: dict[tuple[str, str], list[float | None]] = {
    ("category", "mask"): [0.48, 0.57, 0.59, 0.43, 0.53, 0.58, 0.78, 0.97, 1.0, 1.0, 1.0],
    ("grid", "mask"): [0.18, 0.59, 0.76, 0.87, 0.91, 0.98, 0.99, 1.0, 1.0],
    ("category", "gaussian"): [None, None, 0.44, 0.56, 0.75, 0.95, 0.99, 0.99, 0.97],
    ("grid", "gaussian"): [0.42, 0.46, 0.49, 0.65, 0.77, 0.91, 0.95, 0.98, 1.0],
}

# The level that published retention is tested at.
TRADE_OFF_DECIMALS = 2
RETENTION_LEVEL = {("category", "mask"): 1.0, ("grid", "mask"): 0.8, ("category", "gaussian"): 8.0, ("grid", "gaussian"): 8.0}


def find(task: str, model: str, measure: str) -> dict[tuple[str, str], float]:
    """Published means by (rotation, curriculum); bounds are left out."""
    return {
        (v.rotation, v.curriculum): v.mean
        for v in VALUES
        if (v.task, v.model, v.measure) == (task, model, measure) and not v.at_most
    }


def trade_off(task: str, ablation: str, retention_level: float) -> tuple[dict[float, float], dict[float, float]]:
    """Return generalisation and retention by level; both are empty for an ablation that the paper does not have.

    Retention is empty, too, if ours is tested at another level than the published one.
    """
    if (task, ablation) not in GENERALISATION:
        return {}, {}
    is_same = RETENTION_LEVEL[task, ablation] == retention_level
    return (
        levels(GENERALISATION[task, ablation], ablation),
        levels(RETENTION[task, ablation], ablation) if is_same else {},
    )


def levels(found: list[float | None], ablation: str) -> dict[float, float]:
    """Return level → mean, where one is published."""
    return {round(k * LEVEL_STEP[ablation], 6): mean for k, mean in enumerate(found) if mean is not None}
