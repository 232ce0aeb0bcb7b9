"""The statistics of a data set of conditions, as one table of tests and one of effect sizes, for people to read."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from scipy.stats import chi2

from analysis.statistics import binomial, effects
from analysis.statistics.checks import Family, check_columns, check_family
from analysis.statistics.clustered import clustered

COLUMNS = ["model", "within", "term", "χ²", "df", "p", "note"]


def model_tests(rows: pd.DataFrame, family: Family = "quasibinomial", effect: str = "curriculum") -> pd.DataFrame:
    """Return type-III tests of rotation × `effect`, as in the paper: treatment contrasts, reference levels rotated and blocked.

    Beside them: tests with sum contrasts, simple effects within each rotation, and with several seeds, seeds as clusters.

    As in the paper, a row of the model is a seed × condition, its episodes and groups summed; without seeds a condition. A
    test that is impossible is a row with a note. A note on separation is told once.
    """
    check_family(family)
    check_columns(rows, ["rotation", effect], "n_correct", "n_queries")
    factors = [name for name in ("rotation", effect) if rows[name].nunique() > 1]
    if effect not in factors:
        return pd.DataFrame([dict.fromkeys(COLUMNS, "") | {"note": f"only one {effect.replace('_', ' ')}: nothing to test"}])
    rows = summed(rows, ["rotation", effect])
    parts = [
        _attempt(
            f"{family}, {contrasts} contrasts",
            lambda contrasts=contrasts: binomial.anova(rows, factors, family=family, contrasts=contrasts),
        )
        for contrasts in ("treatment", "sum")
    ]
    if len(factors) > 1:
        parts.append(
            _attempt(f"{family}, simple effects", lambda: binomial.simple_effects(rows, effect, "rotation", family=family))
        )
    if "seed" in rows and rows.seed.nunique() > 1:
        found = _attempt("seeds as clusters, sum contrasts", lambda: clustered(rows, factors, contrasts="sum"))
        smallest = float(chi2.sf(rows.seed.nunique(), 1))  # its χ² is at most the number of seeds
        if smallest > 0.05:
            few = f"With {rows.seed.nunique()} seeds as clusters no p of one degree of freedom falls below {smallest:.3f}."
            found["note"] = found.note.fillna("").replace("", few)
        parts.append(found)
    found = pd.concat(parts, ignore_index=True)[COLUMNS]
    return found.assign(note=found.note.where(~found.note.duplicated(), ""))


def summed(rows: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """A row a seed (if there are seeds) and combination of factors, with the counts of all its rows."""
    by = [*factors, *(["seed"] if "seed" in rows else [])]
    check_columns(rows, by, "n_correct", "n_queries")
    levels = dict.fromkeys(factors, "object")  # of a category, only the present ones
    return rows.astype(levels).groupby(by, sort=False)[["n_correct", "n_queries"]].sum().reset_index()


def _attempt(model: str, test: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    try:
        found = test()
    except ValueError as error:
        found = pd.DataFrame([{"term": "", "note": str(error)}])
    found = found.assign(model=model, within=found.get("rotation", ""))
    return found.rename(columns={"chi2": "χ²"}).reindex(columns=COLUMNS)


def effect_sizes(rows: pd.DataFrame, effect: str = "curriculum", same_episodes: bool = False, against: str = "") -> pd.DataFrame:
    """Return differences of mean accuracy, each level of `effect` − the level `against` (blocked, if the data do not have it), with
    95 % intervals: see `effects.effect_size`."""
    check_columns(rows, ["rotation", effect], "n_correct", "n_queries")
    if rows[effect].nunique() < 2:
        return pd.DataFrame()
    within = "rotation" if rows.rotation.nunique() > 1 else None
    reference = {effect: against} if against in set(rows[effect]) else None
    return effects.effect_size(rows, effect, within, reference=reference, same_episodes=same_episodes)
