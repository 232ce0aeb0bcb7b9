"""A job on disk: its files, how it survives being killed, and how it tells its progress. Knows nothing of science."""
