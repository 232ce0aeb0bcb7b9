"""The old name of `analysis.statistics.effects`, which keeps working."""

from analysis.statistics.effects import (
    CONFIDENCE,
    OF_DIFFERENCE,
    OF_INTERVAL,
    SAME,
    Interval,
    band,
    difference,
    effect_size,
    interval,
    mean_interval,
    of_row,
    of_values,
)

__all__ = [
    "CONFIDENCE",
    "OF_DIFFERENCE",
    "OF_INTERVAL",
    "SAME",
    "Interval",
    "band",
    "difference",
    "effect_size",
    "interval",
    "mean_interval",
    "of_row",
    "of_values",
]
