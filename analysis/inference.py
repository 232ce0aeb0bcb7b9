"""The old name of `analysis.statistics.inference`, which keeps working."""

from analysis.statistics.inference import COLUMNS, effect_sizes, model_tests, summed

__all__ = ["COLUMNS", "effect_sizes", "model_tests", "summed"]
