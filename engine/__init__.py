"""The computation: random streams from keys, attention over a shared context, ensembles of stacked models."""
