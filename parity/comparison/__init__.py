"""Two videos compared frame by frame, and the status that follows for the case."""
