"""The text and tables that the command line prints, and the files it writes for GitHub."""
