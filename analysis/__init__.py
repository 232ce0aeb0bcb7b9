"""What is read from a job's folder: summaries, figures, statistics. No training code."""
