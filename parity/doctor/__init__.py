"""`parity doctor`: what of this machine and this installation works, and what to do about the rest."""
