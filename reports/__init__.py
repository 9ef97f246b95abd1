"""Reports of a run: one self-contained HTML page, made from the result types alone."""
