"""Cases, comparison, findings and the command line of wan-parity."""
