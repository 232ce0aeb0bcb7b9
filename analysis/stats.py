"""The old name of `analysis.statistics.binomial`, which keeps working."""

from analysis.statistics.binomial import REFERENCE_LEVELS, Contrasts, anova, clustered, ordered_levels, simple_effects
from analysis.statistics.checks import Family

__all__ = ["REFERENCE_LEVELS", "Contrasts", "Family", "anova", "clustered", "ordered_levels", "simple_effects"]
