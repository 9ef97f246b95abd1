"""Malformed inputs of every kind, and whether each ends as it should. `python -m tests.malformed` runs all of them."""
