"""The proof of findings, diagnosis and search: drift planted on purpose, found again or not."""
