"""Readers of jobs' folders: summaries, figures, statistics. No training code."""
