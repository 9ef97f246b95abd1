"""Baselines: what a case drew when a person last said it was right, kept in the repository, and the gate on it."""
