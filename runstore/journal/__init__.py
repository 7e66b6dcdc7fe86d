"""Every run that was ever started: what it came from, and how it is run once more."""
