"""The old name of `analysis.report.notebook`, which keeps working."""

from analysis.report.notebook import explore, groups, picture, read, rounded, show

__all__ = ["explore", "groups", "picture", "read", "rounded", "show"]
