"""Tests of conditions: binomial models with type-III likelihood-ratio tests, as the paper made them in R.

The model is R's `glm(cbind(successes, failures) ~ Rotation * Curriculum)` with a logit link and all interactions of the
factors. The tests are those of `car::Anova(model, type = 3, test.statistic = "LR")` (Fox & Weisberg, An R Companion to
Applied Regression). Tables are tidy: a row a test (of an episode, a seed …), with a column for each factor and counts.

To agree with R to the last digit that it prints, two of its conventions are followed. Iteration starts and stops where R's
does. The dispersion is made of the weights that the last iteration began with, which moves a quasi-binomial statistic by
up to some 1e-4 of itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.stats import chi2 as chi2_distribution

from analysis.statistics.checks import Family, check_columns, check_family, check_reference

Contrasts = Literal["treatment", "sum"]

REFERENCE_LEVELS = ("rotated", "blocked")  # the paper's; a factor with neither has its first level in alphabetical order
_DIVERGED = 1e-6
_NO_DISPERSION = 1e-8  # below this no row differs from its cell's mean, but for what the iteration left


def anova(
    table: pd.DataFrame,
    factors: Sequence[str],
    successes: str = "n_correct",
    trials: str = "n_queries",
    family: Family = "quasibinomial",
    contrasts: Contrasts = "treatment",
    reference: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Type-III likelihood-ratio tests of every term of the model with all interactions of `factors` (1, 2, 3 …).

    A term is tested by leaving its columns out while all others stay: χ² = (deviance without − deviance with) /
    dispersion. So with treatment contrasts, as in the paper, a main effect is the *simple* effect at the other factors'
    reference levels. With sum contrasts it is the effect averaged, on the logit scale, over their levels. The highest
    interaction is the same in both.

    Columns: term (`rotation`, `rotation:curriculum` …), chi2, df, p, family, contrasts, dispersion (Pearson's χ² of the
    model / residual degrees of freedom; 1 for `binomial`), separated, note. `separated`: a cell is at 0 or at 1
    throughout; `note` says which numbers are then unreliable, and is empty if none is. `reference`: the reference level
    by factor (see REFERENCE_LEVELS); it matters with treatment contrasts only. Rows without trials are passed over.
    Without a dispersion (one row a cell, or no row that differs from its cell's mean: R would print rounding errors divided
    by each other) chi2 and p are NaN.

    Raises ValueError for wrong counts, a factor of one level, an empty cell, and a missing column or value. It also does so for
    an unknown family, contrasts or reference.
    """
    check_family(family)
    data = prepare(table, factors, successes, trials, contrasts, reference)
    full = fit(data.columns, data)
    dispersion = full.dispersion if family == "quasibinomial" else 1.0
    return _tests(data, full, dispersion).assign(
        family=family,
        contrasts=contrasts,
        dispersion=dispersion,
        separated=data.separated,
        note=_note(data, dispersion, family),
    )


def simple_effects(
    table: pd.DataFrame,
    effect: str | Sequence[str],
    within: str,
    successes: str = "n_correct",
    trials: str = "n_queries",
    family: Family = "quasibinomial",
    reference: Mapping[str, str] | None = None,
    pooled: bool = False,
) -> pd.DataFrame:
    """The effect of one factor within each level of another: `effect="curriculum", within="rotation"`.

    A model of `effect` (several: with their interactions) on the rows of each level of `within`; treatment contrasts.
    The dispersion is that of this model, since rotations differ in it by an order of magnitude; with `pooled` that of
    the model with both factors. Columns: the level, in a column named as `within`, then those of `anova`.
    """
    effects = [effect] if isinstance(effect, str) else list(effect)
    check_family(family)
    check_columns(table, [within, *effects], successes, trials)
    check_reference(reference, [within, *effects])
    whole = anova(table, [within, *effects], successes, trials, family, "treatment", reference).iloc[0] if pooled else None
    of_effects = {name: level for name, level in (reference or {}).items() if name in effects}
    arguments = (successes, trials, family, "treatment", of_effects)
    parts = []
    for level in ordered_levels(table[within], (reference or {}).get(within)):
        rows = table[table[within] == level]
        part = anova(rows, effects, *arguments)
        if pooled:
            data = prepare(rows, effects, successes, trials, "treatment", of_effects)
            tests = _tests(data, fit(data.columns, data), whole.dispersion)
            part = part.assign(**tests, **whole[["dispersion", "separated", "note"]])
        part.insert(0, within, level)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Data:
    """A table as a model takes it.

    rows: the places of those with trials in the table · share, n [N]: proportion of successes and trials · columns [N, P] of the
    full model · terms: name → which columns [P] are its · separated: whether a cell is at 0 or 1 throughout · spreads: for each
    cell, whether its rows differ · null_deviance: that of the mean of all alone.
    """

    rows: np.ndarray
    share: np.ndarray
    n: np.ndarray
    columns: np.ndarray
    terms: dict[str, np.ndarray]
    separated: bool
    spreads: list[bool]
    null_deviance: float


@dataclass(frozen=True)
class Fit:
    """A model's deviance, dispersion and fitted means [N]."""

    deviance: float
    dispersion: float
    mean: np.ndarray  # [N]


def ordered_levels(column: pd.Series, reference: str | None = None) -> list:
    """A factor's levels, the reference first. Raises ValueError for a reference level without rows, and for levels that have no
    order."""
    try:
        levels = sorted(column.unique())
    except TypeError:
        raise ValueError(f"{column.name}: has levels of several types, which have no order") from None
    if not levels:
        raise ValueError(f"{column.name}: has no rows")
    if reference is None:
        reference = next((level for level in REFERENCE_LEVELS if level in levels), levels[0])
    if reference not in levels:
        raise ValueError(f"{column.name}: no rows of the reference level {reference!r}; levels are {', '.join(map(str, levels))}")
    return [reference, *(level for level in levels if level != reference)]


def prepare(
    table: pd.DataFrame,
    factors: Sequence[str],
    successes: str,
    trials: str,
    contrasts: Contrasts,
    reference: Mapping[str, str] | None,
) -> Data:
    """Return a table as a model takes it. ValueError as in `anova`."""
    check_columns(table, factors, successes, trials)
    check_reference(reference, factors)
    if contrasts not in ("treatment", "sum"):
        raise ValueError(f"contrasts are 'treatment' or 'sum', not {contrasts!r}")
    table = table.reset_index(drop=True)
    table = table[table[trials] > 0]
    n = table[trials].to_numpy(float)
    levels = {name: ordered_levels(table[name], (reference or {}).get(name)) for name in factors if len(table)}
    for name in factors:
        if len(levels.get(name, [])) < 2:
            raise ValueError(f"{name} has fewer than two levels; a test needs two")

    cells = table.groupby(list(factors))[[successes, trials]].sum()
    if len(cells) < np.prod([len(of_factor) for of_factor in levels.values()]):
        raise ValueError(f"some combination of {', '.join(factors)} has no rows: its effects cannot be told apart")
    at_an_end = cells[(cells[successes] == 0) | (cells[successes] == cells[trials])]
    separated = bool(len(at_an_end))

    main = {}
    for name in factors:
        codes = table[name].map({level: i for i, level in enumerate(levels[name])}).to_numpy(int)
        coding = np.eye(len(levels[name]))[:, 1:]
        if contrasts == "sum":
            coding[0] = -1  # whichever level gets the −1, the columns span the same, and so the tests are the same
        main[name] = coding[codes]  # [N, levels − 1]
    blocks = {"": np.ones((len(table), 1))}
    for order in range(1, len(factors) + 1):
        for chosen in combinations(factors, order):
            block = np.ones((len(table), 1))
            for name in chosen:
                block = (block[:, :, None] * main[name][:, None, :]).reshape(len(table), -1)
            blocks[":".join(chosen)] = block
    owner = np.repeat(list(blocks), [block.shape[1] for block in blocks.values()])
    terms = {term: owner == term for term in blocks if term}
    share = table[successes].to_numpy(float) / n
    spreads = [np.ptp(share[place]) > 0 for place in table.reset_index(drop=True).groupby(list(factors)).indices.values()]
    columns = np.concatenate(list(blocks.values()), axis=1)
    mean = (share * n).sum() / n.sum()
    with np.errstate(all="ignore"):
        logs = share * np.log(share / mean), (1 - share) * np.log((1 - share) / (1 - mean))
    null_deviance = float(2 * (n * np.nansum(logs, axis=0)).sum())
    return Data(table.index.to_numpy(), share, n, columns, terms, separated, spreads, null_deviance)


class _Binomial(sm.families.Binomial):
    """Starts iterating where R does: at (successes + ½) / (trials + 1)."""

    def __init__(self, trials: np.ndarray):
        super().__init__()
        self.trials = trials

    def starting_mu(self, y: np.ndarray) -> np.ndarray:
        return (self.trials * y + 0.5) / (self.trials + 1)


def fit(columns: np.ndarray, data: Data, precise: bool = False) -> Fit:
    """Return the maximum of the likelihood, by iteratively reweighted least squares.

    R stops at |change of deviance| < 1e-8 (|deviance| + 0.1), or after 25 iterations; `precise` goes on as far as the
    numbers carry. Under separation the coefficients grow without bound while the deviance converges all the same.
    """
    tolerance = {"atol": 1e-12, "rtol": 1e-14, "maxiter": 50} if precise else {"atol": 1e-9, "rtol": 1e-8, "maxiter": 25}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # separation is found in the counts, where it is certain, and told in the result
        model = sm.GLM(data.share, columns, family=_Binomial(data.n), var_weights=data.n)
        found = model.fit(**tolerance)
        # A deviance beyond that without any column: the iteration ran away.
        if found.deviance > data.null_deviance * (1 + _DIVERGED) + _DIVERGED:
            model = sm.GLM(data.share, columns, family=_Binomial(data.n), var_weights=data.n)
            found = model.fit(method="bfgs", maxiter=500, disp=False)
            model.mu = found.mu
            model.weights = data.n * found.mu * (1 - found.mu)
        residuals = (data.share - model.mu) * model.family.link.deriv(model.mu)
        free = len(data.n) - columns.shape[1]
        # model.weights are those that the last iteration began with, as in R
        dispersion = float(model.weights @ residuals**2) / free if free else np.nan
        return Fit(float(found.deviance), dispersion, model.mu)


def _tests(data: Data, full: Fit, dispersion: float) -> pd.DataFrame:
    """Return the tests: columns term, chi2, df, p."""
    divisor = dispersion if dispersion >= _NO_DISPERSION else np.nan
    rows = []
    for term, tested in data.terms.items():
        more = max(fit(data.columns[:, ~tested], data).deviance - full.deviance, 0.0)
        df = int(tested.sum())
        rows.append((term, more / divisor, df, float(chi2_distribution.sf(more / divisor, df))))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])


def _note(data: Data, dispersion: float, family: Family) -> str:
    """Return a warning about unreliable numbers, or an empty text. A cell at 0 or 1 adds no spread to a dispersion."""
    if family == "binomial":
        return ""
    if np.isnan(dispersion):
        return "One row a cell: there is nothing to estimate a dispersion from."
    if dispersion < _NO_DISPERSION:
        return "No row differs from the mean of its cell: the dispersion is 0, and χ², which is divided by it, is undefined."
    alike = data.spreads.count(False)
    if not alike:
        return ""
    has = "has" if alike == 1 else "have"
    told = f"{alike} of {len(data.spreads)} cells {has} no spread; the dispersion comes from the others, so χ² may be too large."
    undefined = " Effects between cells at 0 or 1 are not defined on the logit scale: see the effect sizes."
    return told + undefined if data.separated else told
