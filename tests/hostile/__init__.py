"""Hostile strings in every input of the commands and the server, and what comes out of them again."""
