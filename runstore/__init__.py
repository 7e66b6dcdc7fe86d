"""Append-only files for PyTorch training runs: log them, grep them, resume them, watch them."""
