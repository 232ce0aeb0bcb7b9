"""Episodes on disk. Nothing needs them: data are a function of the flags."""
