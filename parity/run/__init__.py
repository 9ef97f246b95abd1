"""A run: cases generated one after another, cached, watched, and resumed after an interruption."""
