"""Checks of a table and its arguments before a test: each fault is a ValueError that names the column or value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import pandas as pd

Family = Literal["quasibinomial", "binomial"]


def check_family(family: str) -> None:
    """Raise ValueError for a family that no test here is of."""
    if family not in get_args(Family):
        raise ValueError(f"family is one of {', '.join(map(repr, get_args(Family)))}, not {family!r}")


def check_reference(reference: Mapping[str, str] | None, factors: Sequence[str]) -> None:
    """Raise ValueError for the reference level of something that is no factor."""
    if unknown := [name for name in reference or {} if name not in factors]:
        raise ValueError(f"reference: {', '.join(map(str, unknown))} is none of the factors {', '.join(factors)}")


def check_columns(table: pd.DataFrame, names: Sequence[str], successes: str, trials: str) -> None:
    """Raise ValueError, which names the column: one that is missing, asked for twice, or has rows without a value; counts that
    are none."""
    if missing := [str(name) for name in (*names, successes, trials) if name not in table]:
        raise ValueError(f"the table has no column {', '.join(missing)}")
    if twice := [str(name) for name in dict.fromkeys(names) if list(names).count(name) > 1]:
        raise ValueError(f"{', '.join(twice)}: is asked for twice")
    for name in names:
        if lacking := int(table[name].isna().sum()):
            raise ValueError(f"{name}: {lacking} of {len(table)} rows have no value")
    try:
        counts = table[[successes, trials]].to_numpy(float)
    except (TypeError, ValueError):
        raise ValueError(f"{successes} and {trials} must be numbers") from None
    if not ((counts >= 0).all() and (counts[:, 0] <= counts[:, 1]).all()):  # NaN fails, too
        raise ValueError(f"every row needs 0 ≤ {successes} ≤ {trials}")
