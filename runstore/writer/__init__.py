"""What appends to a run: streams, their parts, their thread, and what they do when that fails."""
