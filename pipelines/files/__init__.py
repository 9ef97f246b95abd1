"""Files and texts: reading them within bounds, writing them whole, and the phrases that messages share."""
