"""The contract between a run and its readers: results.json, its types, and the words that describe them."""
