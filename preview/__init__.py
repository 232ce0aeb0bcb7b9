"""What a job would do: its cost, and the episodes it would draw. Computes nothing that is kept."""
