"""Tests of conditions with seeds as clusters: generalised score tests of the model of binomial.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2 as chi2_distribution

from analysis.statistics.binomial import Contrasts, Data, fit, prepare
from analysis.statistics.checks import check_columns


def clustered(
    table: pd.DataFrame,
    factors: Sequence[str],
    seed: str = "seed",
    successes: str = "n_correct",
    trials: str = "n_queries",
    contrasts: Contrasts = "treatment",
    reference: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Type-III tests with seeds as clusters, valid however the conditions of one seed depend on each other.

    Seeds are independent; the conditions of one seed share weights. With positive correlation within seeds, tests within seeds
    are conservative. A row an episode is another matter: its rows by the hundred may be ten replications. This was simulated
    with ten seeds that differ in every condition, standard deviation 1 on the logit scale, and no effects at all. Quasi-binomial
    tests of such rows find half of them significant at .05, these tests 5 %.

    The logit model is the same. Its estimates solve generalised estimating equations with *independence* as working correlation
    (Liang & Zeger 1986). Each term is tested by the generalised score test (Rotnitzky & Jewell 1990; Boos 1992). The model is
    fitted without the term, and the efficient score of the term is compared with its spread between seeds.

    Independence: when every seed has every condition and as many trials, an exchangeable correlation leads to the same
    estimates. With unequal trials it needs a weighting of its own, and a cell at 0 or 1 throughout leaves nothing to estimate it
    from. The robust covariance is valid whatever the true correlation.

    The score and not the Wald test: Wald's rejects too often with few clusters. It breaks down under separation (an infinite
    estimate over an infinite error). The score test is made from the model without the term, stays finite, and errs on the safe
    side (Guo et al. 2005). Its price: χ² cannot exceed the number of seeds. Ten seeds that agree entirely give 10.0, p = .0016
    with one degree of freedom. So χ² tells how well seeds agree, not how large the effect is.

    Columns as in `anova` with n_seeds instead of family and dispersion; NaN unless there are more seeds than degrees of
    freedom. `separated` is told; χ² stays finite.
    """
    check_columns(table, [*factors, seed], successes, trials)
    data = prepare(table, factors, successes, trials, contrasts, reference)
    seeds = table[seed].to_numpy()[data.rows]
    n_seeds = len(np.unique(seeds))
    rows = []
    for term, tested in data.terms.items():
        df = int(tested.sum())
        statistic = _score(data, tested, seeds) if n_seeds > df else np.nan
        note = "" if n_seeds > df else f"{n_seeds} seeds cannot test {df} degrees of freedom."
        rows.append((term, statistic, df, chi2_distribution.sf(statistic, df), contrasts, n_seeds, data.separated, note))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p", "contrasts", "n_seeds", "separated", "note"])


def _score(data: Data, tested: np.ndarray, seeds: np.ndarray) -> float:
    """The generalised score statistic for the columns `tested`."""
    null = fit(data.columns[:, ~tested], data, precise=True)
    _, of_row = np.unique(seeds, return_inverse=True)
    by_seed = np.zeros((of_row.max() + 1, len(tested)))
    np.add.at(by_seed, of_row, data.columns * (data.n * (data.share - null.mean))[:, None])  # each seed's score
    information = data.columns.T @ (data.columns * (data.n * null.mean * (1 - null.mean))[:, None])
    # A cell that the other columns describe by itself and that is at 0 or 1 has neither score nor information: hence pinv.
    nuisance = np.linalg.pinv(information[np.ix_(~tested, ~tested)], rcond=1e-10, hermitian=True)
    efficient = by_seed[:, tested] - by_seed[:, ~tested] @ nuisance @ information[np.ix_(~tested, tested)]
    efficient[np.abs(efficient) < 1e-10 * data.n.sum()] = 0.0  # what iteration leaves where the counts say 0
    total = efficient.sum(axis=0)
    return float(total @ np.linalg.pinv(efficient.T @ efficient, rcond=1e-10, hermitian=True) @ total)
