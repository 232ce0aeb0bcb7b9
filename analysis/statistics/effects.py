"""Effect sizes: mean accuracies, differences and differences of differences, with 95 % intervals.

The unit is the seed. A seed's accuracy in a condition is the mean of its rows' n_correct / n_queries, each row alike. So
groups and episodes count alike whatever their size, as in the paper's means and in a job's summary.

Intervals are Student's t over seeds. A difference is taken seed by seed if both conditions have the same seeds (paired); else it
has Welch's interval. With one seed, or none (a language model), the unit is the episode, as the column `over` says. Then a
difference is paired only if the caller says that both conditions have the same episodes. Accuracies are clipped to [0, 1],
differences to [−1, 1]. Units that are all alike have no spread to make an interval of: low and high are NaN and `alike` is True.
benchmarks/intervals.py measures how often such intervals hold the true mean, and docs/report.md has its table.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.statistics.checks import check_columns, check_reference

CONFIDENCE = 0.95
SAME = 1e-12  # values that differ by less are alike: what is left of rounding
OF_INTERVAL = ["low", "high", "n", "over", "alike"]
OF_DIFFERENCE = ["level", "against", "difference", *OF_INTERVAL, "paired"]


@dataclass(frozen=True)
class Interval:
    """A weighted sum of means of independent samples, and its 95 % interval: NaN for a sample of one, and if all are alike.
    n: the size of the smallest sample."""

    value: float
    low: float
    high: float
    n: int
    alike: bool


def interval(samples: Sequence[np.ndarray], weights: Sequence[float], bounds: tuple[float, float]) -> Interval:
    """Return Σ weight · mean(sample) with Welch's interval, clipped to `bounds`; of one sample that is Student's.

    Welch, B. L. (1947), "The generalization of 'Student's' problem when several different population variances are involved".
    """
    value = float(sum(weight * np.mean(sample) for weight, sample in zip(weights, samples, strict=True)))
    n = min(map(len, samples))
    if n < 2:
        return Interval(value, np.nan, np.nan, n, False)
    if all(np.ptp(sample) < SAME for sample in samples):
        return Interval(value, np.nan, np.nan, n, True)
    parts = np.array([weight**2 * np.var(x, ddof=1) / len(x) for weight, x in zip(weights, samples, strict=True)])
    df = parts.sum() ** 2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    half = _quantile(df) * np.sqrt(parts.sum())
    low, high = np.clip([value - half, value + half], *bounds)
    return Interval(value, float(low), float(high), n, False)


def _quantile(df: float) -> float:
    from scipy.special import stdtrit  # takes a moment to load, and a job's picture needs no interval

    return float(stdtrit(df, 0.5 + CONFIDENCE / 2))


def mean_interval(
    table: pd.DataFrame, by: Sequence[str], seed: str = "seed", successes: str = "n_correct", trials: str = "n_queries"
) -> pd.DataFrame:
    """Mean accuracy of each condition: columns `by`, mean, low, high, n (of the units), over (`seeds` or `episodes`), alike.

    A table without a column `seed` has no seeds. ValueError, also of `effect_size`: a column that is missing or has rows without
    a value; counts that are none.
    """
    unit, accuracy = _by_unit(table, list(by), seed, successes, trials)
    rows = []
    for key, values in accuracy.groupby(list(by), sort=False):
        found = interval([values.to_numpy(float)], [1.0], (0.0, 1.0))
        rows.append((*key, found.value, found.low, found.high, found.n, unit, found.alike))
    return pd.DataFrame(rows, columns=[*by, "mean", *OF_INTERVAL])


def effect_size(
    table: pd.DataFrame,
    effect: str,
    within: str | None = None,
    seed: str = "seed",
    successes: str = "n_correct",
    trials: str = "n_queries",
    reference: dict[str, str] | None = None,
    same_episodes: bool = False,
) -> pd.DataFrame:
    """Differences of mean accuracy, level − reference level of `effect`, within each level of `within`.

    With `within`, rows follow for the interaction: the difference in a level minus that in the reference level, named
    `unrotated − rotated`. Reference levels as in `binomial.anova`. Columns: `within` (if given), level, against, difference
    (of accuracies, −1 to 1; interaction: −2 to 2), low, high, n (units of the condition that has fewest), over, alike, paired
    (whether the interval is of differences unit by unit). `same_episodes`: episodes with one number are one in all conditions. A
    condition that has no rows leaves its comparisons out. Other columns are averaged over.
    """
    reference = reference or {}
    factors = [effect] if within is None else [within, effect]
    check_reference(reference, factors)
    unit, accuracy = _by_unit(table, factors, seed, successes, trials)
    cells = {key: values.droplevel(factors) for key, values in accuracy.groupby(factors, sort=False)}
    from analysis.statistics.binomial import ordered_levels  # takes seconds to load, and a job's picture needs only `band`

    base, *others = ordered_levels(table[effect], reference.get(effect))
    surroundings = [()] if within is None else [(level,) for level in ordered_levels(table[within], reference.get(within))]
    can_pair = unit == "seeds" or same_episodes
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
                found, paired = _combine([cells[key] for key in keys], weights, can_pair)
                numbers = (found.value, found.low, found.high, found.n, unit, found.alike, paired)
                rows.append((*place, level, base, *numbers))
    return pd.DataFrame(rows, columns=[*factors[:-1], *OF_DIFFERENCE])


def of_values(frame: pd.DataFrame, by: Sequence[str], bounds: tuple[float, float] = (0.0, 1.0)) -> pd.DataFrame:
    """Return `mean_interval` of a column `value` with one number a seed and episode, in place of counts."""
    unit = unit_of(frame)
    rows = []
    for key, values in frame.groupby([*by, unit]).value.mean().groupby(list(by)):
        found = interval([values.to_numpy(float)], [1.0], bounds)
        rows.append(
            (*(key if isinstance(key, tuple) else (key,)), found.value, found.low, found.high, found.n, f"{unit}s", found.alike)
        )
    return pd.DataFrame(rows, columns=[*by, "mean", *OF_INTERVAL])


def of_row(row: pd.Series | tuple, value: float) -> Interval:
    """The interval that a row of `mean_interval`, `effect_size` or `of_values` has, around the number it is of."""
    return Interval(value, row.low, row.high, row.n, row.alike)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return mean(ours) − mean(theirs) of independent seeds, with Welch's interval."""
    return interval([np.asarray(ours, float), np.asarray(theirs, float)], [1.0, -1.0], (-1.0, 1.0))


def counted(n: int, units: str) -> str:
    """Return a number of `seeds` or `episodes` in words: `5 seeds`, `1 episode`."""
    return f"{n} {units[:-1] if n == 1 else units}"


def unit_of(table: pd.DataFrame, seed: str = "seed") -> str:
    """Return the column of the units that intervals are over: seeds, or episodes if there is one seed or none."""
    has_seeds = seed in table and table[seed].nunique() > 1
    return "episode" if "episode" in table and not has_seeds else seed


def _by_unit(table: pd.DataFrame, by: list[str], seed: str, successes: str, trials: str) -> tuple[str, pd.Series]:
    """Return the kind of unit, and each unit's accuracy by `by` and unit. Rows without trials are left out."""
    column = unit_of(table, seed)
    for name in dict.fromkeys((seed, column) if seed in table else (column,)):
        check_columns(table, [*by, name], successes, trials)
    table = table[table[trials] > 0]
    accuracy = (table[successes] / table[trials]).groupby([table[name] for name in [*by, column]], observed=True).mean()
    return "episodes" if column == "episode" else "seeds", accuracy


def _combine(cells: list[pd.Series], weights: list[float], can_pair: bool) -> tuple[Interval, bool]:
    """The weighted sum of the means of `cells` (accuracy by unit), and whether it was taken unit by unit."""
    widest = len(cells) / 2  # of a difference 1, of one of differences 2
    paired = can_pair and all(cell.index.equals(cells[0].index) for cell in cells)
    if paired:
        cells, weights = [sum(weight * cell for weight, cell in zip(weights, cells, strict=True))], [1.0]
    return interval([cell.to_numpy(float) for cell in cells], weights, (-widest, widest)), paired


def band(values: pd.DataFrame, bounds: tuple[float, float]) -> pd.DataFrame:
    """Mean over seeds, and its 95 % interval, of each column of `values` [seeds, points], which lie in `bounds`: columns mean, low,
    high. low and high are NaN with one seed; where all seeds are alike they are the mean."""
    data = values.to_numpy(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a standard deviation of one seed
        half = data.std(axis=0, ddof=1) / np.sqrt(len(data))
    mean, half = data.mean(axis=0), half * _quantile(len(data) - 1) if len(data) > 1 else half * np.nan
    low, high = np.clip(mean - half, *bounds), np.clip(mean + half, *bounds)
    return pd.DataFrame({"mean": mean, "low": low, "high": high}, index=values.columns)
