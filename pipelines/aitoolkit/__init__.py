"""The trainer's side: ai-toolkit's job configs and folders, and how each version generates its previews."""
