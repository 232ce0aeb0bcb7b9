"""The old name of `analysis.report.claims`, which keeps working."""

from analysis.report.claims import COLUMNS, DIFFERENCES, MEASURES, MODELS, NAMES, OF_DIFFERENCE, OF_TRADE_OFF, OURS, table

__all__ = ["COLUMNS", "DIFFERENCES", "MEASURES", "MODELS", "NAMES", "OF_DIFFERENCE", "OF_TRADE_OFF", "OURS", "table"]
