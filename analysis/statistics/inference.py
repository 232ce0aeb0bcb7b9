"""The statistics of a data set of conditions, as one table of tests and one of effect sizes, for people to read."""

from __future__ import annotations

import pandas as pd

from analysis.statistics import binomial, effects
from analysis.statistics.checks import Family, check_columns, check_family

COLUMNS = ["model", "within", "term", "χ²", "df", "p", "note"]


def model_tests(rows: pd.DataFrame, family: Family = "quasibinomial", effect: str = "curriculum") -> pd.DataFrame:
    """Type-III tests of rotation × `effect`: as the paper has them (treatment contrasts, reference levels rotated and blocked),
    with sum contrasts, simple effects within each rotation, and with seeds as clusters if there are seeds. What cannot be
    tested is a row with a note."""
    check_family(family)
    check_columns(rows, ["rotation", effect], "n_correct", "n_queries")
    factors = [name for name in ("rotation", effect) if rows[name].nunique() > 1]
    if effect not in factors:
        return pd.DataFrame([dict.fromkeys(COLUMNS, "") | {"note": f"only one {effect.replace('_', ' ')}: nothing to test"}])
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
        parts.append(_attempt("seeds as clusters, sum contrasts", lambda: binomial.clustered(rows, factors, contrasts="sum")))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _attempt(model: str, test) -> pd.DataFrame:
    try:
        found = test()
    except ValueError as error:
        found = pd.DataFrame([{"term": "", "note": str(error)}])
    found = found.assign(model=model, within=found.get("rotation", ""))
    return found.rename(columns={"chi2": "χ²"}).reindex(columns=COLUMNS)


def effect_sizes(rows: pd.DataFrame, effect: str = "curriculum") -> pd.DataFrame:
    """Differences of mean accuracy with 95 % bootstrap intervals over seeds: see `effects.effect_size`."""
    check_columns(rows, ["rotation", effect, "seed"], "n_correct", "n_queries")
    if rows[effect].nunique() < 2:
        return pd.DataFrame()
    return effects.effect_size(rows, effect, "rotation" if rows.rotation.nunique() > 1 else None)
