"""Where a run runs: its process, its machine, its code, and what it takes of them."""
