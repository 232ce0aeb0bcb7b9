"""Preview of a job: its cost, and the episodes it would draw. Computes nothing that is kept."""
