"""The page of figures, tables and claims; also for notebooks."""
