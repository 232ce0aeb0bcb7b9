"""Coverage of 95 % intervals over few seeds: Student's t, as in the report, and the percentile bootstrap.

python benchmarks/intervals.py        prints the table of docs/report.md

Seeds are drawn from spreads that are bounded and skewed, as few-shot accuracies are. Two are the published seeds of a
condition, drawn with replacement. One is a distribution from 0 to 1 with most of its mass at both ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.measures import published  # noqa: E402
from engine.streams import stream  # noqa: E402

N_SETS, N_RESAMPLES, TAIL = 20_000, 999, 0.025
Spread = NDArray[np.float64]


def spreads() -> dict[str, Spread]:
    """Populations of seeds, each a list of accuracies that are alike in probability."""
    interleaved = ("icl", "few_shot", "unrotated", "interleaved")
    ends = np.clip(stream("benchmark", "intervals", "ends").beta(0.6, 0.3, 100_000), 0, 1)
    return {
        "category, few-shot interleaved (10 published seeds)": published.by_seed("category", *interleaved),
        "grid, few-shot interleaved (5 published seeds)": published.by_seed("grid", *interleaved),
        "Beta(.6, .3): mostly near 1, some near 0": ends,
        "normal, mean .7, SD .1": stream("benchmark", "intervals", "normal").normal(0.7, 0.1, 100_000),
    }


def coverage(population: Spread, n: int) -> tuple[float, float]:
    """The part of sets of n seeds whose t interval, and whose bootstrap interval, holds the population's mean."""
    rng = stream("benchmark", "intervals", "sets", str(n))
    sets = rng.choice(population, (N_SETS, n))
    mean, truth = sets.mean(1), population.mean()
    half = t.ppf(1 - TAIL, n - 1) * sets.std(1, ddof=1) / np.sqrt(n)
    by_t = np.abs(mean - truth) <= half + 1e-12
    weights = rng.multinomial(n, [1 / n] * n, N_RESAMPLES) / n  # the same draws serve all sets
    low, high = np.quantile(sets @ weights.T, [TAIL, 1 - TAIL], axis=1)
    by_bootstrap = (low <= truth + 1e-12) & (truth <= high + 1e-12)
    return float(by_t.mean()), float(by_bootstrap.mean())


def main() -> None:
    print("| spread of seeds | seeds | t | percentile bootstrap |\n|---|---|---|---|")
    for name, population in spreads().items():
        for n in (3, 5, 10):
            by_t, by_bootstrap = coverage(population, n)
            print(f"| {name} | {n} | {by_t:.3f} | {by_bootstrap:.3f} |")


if __name__ == "__main__":
    main()
