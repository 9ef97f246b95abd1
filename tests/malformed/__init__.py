"""Malformed inputs of every kind, each of which must end in a clear message: `python -m tests.malformed` runs all."""
