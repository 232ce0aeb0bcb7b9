"""The old name of `analysis.statistics.binomial`, which keeps working."""

from analysis.statistics.binomial import anova, clustered, ordered_levels, simple_effects

__all__ = ["anova", "clustered", "ordered_levels", "simple_effects"]
