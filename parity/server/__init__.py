"""`parity serve`: the reference server's API with this project's engine, safe by default."""
