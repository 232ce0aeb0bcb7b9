"""The old name of `analysis.statistics.effects`, which keeps working."""

from analysis.statistics.effects import CONFIDENCE, N_RESAMPLES, band, effect_size, mean_interval

__all__ = ["CONFIDENCE", "N_RESAMPLES", "band", "effect_size", "mean_interval"]
