"""Baselines: output that a person accepted, kept in the repository, and the gate that compares new output with it."""
