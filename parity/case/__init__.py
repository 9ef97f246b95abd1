"""A case: its YAML read and checked, and the two recipes and the server that follow from it."""
