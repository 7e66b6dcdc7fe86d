"""Runs as tables: columns, data frames, collections; and what a notebook shows."""
