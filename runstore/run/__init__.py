"""Run: what training code calls."""
