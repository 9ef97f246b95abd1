"""Files and texts: reading within limits, writing atomically, and the phrases that all messages share."""
