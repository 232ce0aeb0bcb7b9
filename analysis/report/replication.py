"""The published tests, computed again from the published counts: whether our statistics are the paper's."""

from __future__ import annotations

import pandas as pd

from analysis.measures import published
from analysis.statistics.binomial import anova

COLUMNS = ["task", "data", "model", "within", "term", "χ² published", "χ²", "p published", "p", "note"]
LANGUAGE_MODELS = ("Llama 2 70B", "GPT-3.5")


def data_set(task: str, data: str, model: str) -> pd.DataFrame:
    """The rows of a published analysis, blocked and interleaved curricula: of a data set `after`, `few_shot` or `composite`
    (rule-like few-shot, rotated after training) and a model, or `both LLMs`."""
    rows = published.counts()
    models = LANGUAGE_MODELS if model == "both LLMs" else (model,)
    rows = rows[(rows.task == task) & rows.model.isin(models) & rows.curriculum.isin(["blocked", "interleaved"])]
    if data != "composite":
        return rows[rows.measure == data]
    return rows[rows.measure == rows.rotation.map({"unrotated": "few_shot", "rotated": "after"})]


def tests() -> pd.DataFrame:
    """A row for each published test: as it was printed, and ours; columns COLUMNS."""
    found = []
    for row in published.printed_tests().itertuples():
        rows = data_set(row.task, row.data, row.model)
        rows = rows[rows.rotation == row.within] if row.within else rows
        factors = ["curriculum"] if row.within else ["rotation", "curriculum"]
        tested = anova(rows, factors, family=row.family).set_index("term").loc[row.term.lower()]
        note = tested.note if pd.isna(tested.chi2) else ""
        found.append((row.task, row.data, row.model, row.within, row.term, row.chi2, tested.chi2, row.p, tested.p, note))
    return pd.DataFrame(found, columns=COLUMNS)
