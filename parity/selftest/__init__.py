"""The proof of findings, diagnosis and search: drift planted on purpose, and whether it is found."""
