"""Finished jobs as they lie in folders: their flags and tables, and which of them go together."""
