"""The epoch and the split that are open: their order, loops, batches, summaries and position."""
