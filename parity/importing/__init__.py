"""`parity import`: a job folder read, its previews paired, a case file written for each."""
