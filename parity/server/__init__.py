"""`parity serve`: the reference server's API on top of this project's engine, safe by default."""
