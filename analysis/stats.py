"""The old name of `analysis.statistics.binomial` and `clustered`, which keeps working."""

from analysis.statistics.binomial import REFERENCE_LEVELS, Contrasts, Data, Fit, anova, fit, ordered_levels, prepare, simple_effects
from analysis.statistics.checks import Family
from analysis.statistics.clustered import clustered

__all__ = [
    "REFERENCE_LEVELS",
    "Contrasts",
    "Data",
    "Family",
    "Fit",
    "anova",
    "clustered",
    "fit",
    "ordered_levels",
    "prepare",
    "simple_effects",
]
