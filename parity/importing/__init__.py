"""`parity import`: reads a job folder, pairs each preview with its inputs, and writes one case file per preview."""
