"""Accuracies, trade-offs and headline numbers: what is made of tables before any statistics."""
