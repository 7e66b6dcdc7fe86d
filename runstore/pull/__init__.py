"""Copies of runs on other machines, by rsync over ssh: `runstore pull`, and what the monitor does.

A copy is brought up to date as often as wanted, while the originals grow, and nothing is ever
deleted in it.
"""

from runstore.pull.failures import PullError
from runstore.pull.place import default_place
from runstore.pull.rsync import Brought
from runstore.pull.session import Pass, Pull

__all__ = ["Brought", "Pass", "Pull", "PullError", "default_place"]
