"""The old name of `analysis.report.claims`, which keeps working."""

from analysis.report.claims import COLUMNS, ENOUGH_SEEDS, MEASURES, MODELS, NAMES, table

__all__ = ["COLUMNS", "ENOUGH_SEEDS", "MEASURES", "MODELS", "NAMES", "table"]
