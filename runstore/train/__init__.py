"""The parts that need PyTorch; nothing outside this package imports it."""
