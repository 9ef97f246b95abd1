"""Cases as pytest tests: the options, one test for each case, and failures in pytest's words."""
