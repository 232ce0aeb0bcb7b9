"""How large effects are: mean accuracies, differences and differences of differences, with 95 % intervals over seeds.

The unit is the seed. A seed's accuracy in a condition is the mean of its rows' n_correct / n_queries, each row alike, so
that groups and episodes count alike whatever their size (as in the paper's means and in a job's summary).

Intervals are percentile bootstrap intervals: seeds are drawn with replacement, and the 2.5th and 97.5th percentile of the
statistic are taken. A seed that is drawn brings all of its conditions if every condition has the same seeds; otherwise
(as when only the seeds that reached a criterion stay) seeds are drawn within each condition, as if they were unrelated.
Not BCa: its correction is undefined when all seeds agree, the normal case where accuracies are at 0 or 1. With few seeds
percentile intervals are too narrow (simulated, they hold the truth in 82 to 84 % of cases with five seeds and in 87 to 89 %
with ten), and an interval of no width says that all seeds agree, not that there is no uncertainty. Draws come from a
stream of their own with a key made of the conditions compared, so equal tables give equal intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.checks import check_columns, check_reference
from engine.streams import stream

CONFIDENCE = 0.95
N_RESAMPLES = 9999


def mean_interval(
    table: pd.DataFrame, by: Sequence[str], seed: str = "seed", successes: str = "n_correct", trials: str = "n_queries"
) -> pd.DataFrame:
    """Mean accuracy of each condition: columns `by`, mean, low, high, n_seeds. low and high are NaN with one seed.
    ValueError, also of `effect_size`: a column that is missing or has rows without a value; counts that are none."""
    accuracy = _by_seed(table, [*by, seed], successes, trials)
    rows = []
    for key, values in accuracy.groupby(list(by), sort=False):
        mean, low, high, n_seeds, _ = _combine([values.droplevel(list(by))], [1.0], ("mean", *key))
        rows.append((*key, mean, low, high, n_seeds))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n_seeds"])


def effect_size(
    table: pd.DataFrame,
    effect: str,
    within: str | None = None,
    seed: str = "seed",
    successes: str = "n_correct",
    trials: str = "n_queries",
    reference: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Differences of mean accuracy, level − reference level of `effect`, within each level of `within`.

    With `within`, rows follow for the interaction: the difference in a level minus that in the reference level, named
    `unrotated − rotated`. Reference levels as in `binomial.anova`. Columns: `within` (if given), level, against, difference
    (of accuracies, −1 to 1; interaction: −2 to 2), low, high, n_seeds (of the condition that has fewest), paired (whether
    all conditions have the same seeds). low and high are NaN where a condition has but one seed. A condition that has no
    rows leaves its comparisons out. Other columns are averaged over.
    """
    reference = reference or {}
    factors = [effect] if within is None else [within, effect]
    check_reference(reference, factors)
    accuracy = _by_seed(table, [*factors, seed], successes, trials)
    cells = {key: values.droplevel(factors) for key, values in accuracy.groupby(factors, sort=False)}
    from analysis.statistics.binomial import ordered_levels  # takes seconds to load, and a job's picture needs only `band`

    base, *others = ordered_levels(table[effect], reference.get(effect))
    surroundings = [()] if within is None else [(level,) for level in ordered_levels(table[within], reference.get(within))]
    rows = []
    for level in others:
        compared = {place: [(*place, level), (*place, base)] for place in surroundings}
        wanted = [(place, keys, [1, -1]) for place, keys in compared.items()]
        wanted += [
            ((f"{place[0]} − {surroundings[0][0]}",), [*compared[place], *compared[surroundings[0]]], [1, -1, -1, 1])
            for place in surroundings[1:]
        ]
        for place, keys, weights in wanted:
            if all(key in cells for key in keys):
                found = _combine([cells[key] for key in keys], weights, ("difference", *place, level, base))
                rows.append((*place, level, base, *found))
    return pd.DataFrame(rows, columns=[*factors[:-1], "level", "against", "difference", "low", "high", "n_seeds", "paired"])


def _by_seed(table: pd.DataFrame, by: list[str], successes: str, trials: str) -> pd.Series:
    """Accuracy with index `by`, the seed last; rows without trials are passed over."""
    check_columns(table, by, successes, trials)
    table = table[table[trials] > 0]
    return (table[successes] / table[trials]).groupby([table[name] for name in by]).mean()


def _combine(cells: list[pd.Series], weights: list[float], key: tuple) -> tuple[float, float, float, int, bool]:
    """The weighted sum of the means of `cells` (accuracy by seed), its interval, the smallest number of seeds, and
    whether all have the same ones."""
    paired = all(cell.index.equals(cells[0].index) for cell in cells)
    if paired:  # one number a seed
        cells, weights = [sum(weight * cell for weight, cell in zip(weights, cells, strict=True))], [1.0]
    samples = [cell.to_numpy(float) for cell in cells]

    def statistic(*drawn, axis=-1):
        return sum(weight * np.mean(sample, axis=axis) for weight, sample in zip(weights, drawn, strict=True))

    value, n_seeds = float(statistic(*samples)), min(map(len, samples))
    if n_seeds < 2:
        return value, np.nan, np.nan, n_seeds, paired
    from scipy.stats import bootstrap  # likewise

    rng = stream("statistics", "bootstrap", *map(str, key))
    interval = bootstrap(
        samples, statistic, n_resamples=N_RESAMPLES, confidence_level=CONFIDENCE, method="percentile", vectorized=True, rng=rng
    ).confidence_interval
    return value, float(interval.low), float(interval.high), n_seeds, paired


def band(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, and its 95 % interval (bootstrap over seeds, percentile), of each column of `values` [seeds, points];
    low and high are NaN with one seed. One draw of seeds serves all points."""
    data = values.to_numpy(float)
    mean = data.mean(axis=0)
    if len(data) < 2:
        nothing = np.full_like(mean, np.nan)
        return pd.DataFrame({"mean": mean, "low": nothing, "high": nothing}, index=values.columns)
    drawn = stream("statistics", "band", str(len(data))).integers(len(data), size=(2000, len(data)))
    weights = np.stack([(drawn == i).mean(axis=1) for i in range(len(data))], axis=1)  # [draws, seeds]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(weights @ data, [tail, 100 - tail], axis=0)
    return pd.DataFrame({"mean": mean, "low": low, "high": high}, index=values.columns)
