"""What a job leaves on disk, how it survives being killed, and how it tells where it is. Knows nothing of science."""
