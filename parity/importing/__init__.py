"""`parity import`: reads a job folder, pairs its previews, and writes a case file for each."""
