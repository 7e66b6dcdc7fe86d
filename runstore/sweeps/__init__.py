"""Sweeps: a command or a function over many sets of hyperparameters, one run each."""
