"""Checkpoints of a run: when they are saved, what they hold, how a resumed run goes on."""
