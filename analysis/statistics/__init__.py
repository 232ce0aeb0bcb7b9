"""Tests and intervals, of tables alone."""
