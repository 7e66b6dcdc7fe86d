"""Runs in other formats, a module each; what they write, and in which columns, is in `rows`."""
