"""`parity serve`: the reference server's API over this project's engine, safe by default."""
