"""The old name of `analysis.report.notebook`, which keeps working."""

from analysis.report.notebook import groups, picture, read, rounded, show

__all__ = ["groups", "picture", "read", "rounded", "show"]
