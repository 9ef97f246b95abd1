"""The factors that can drift: their notes, fixes and pages, and which of them two recipes differ in."""
