"""Two video files compared with nothing else known: size, timing, levels, and what is left after them."""
