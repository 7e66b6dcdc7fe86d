"""A line for a crontab that pulls again and again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
_HOURS = (1, 2, 3, 4, 6, 8, 12, 24)
"""What divides an hour, or a day: cron knows no other even steps."""


def step_s(every_s: float) -> int:
    """Return the interval of cron that is nearest to one of seconds, not shorter."""
    steps = [60 * minutes for minutes in _MINUTES] + [3600 * hours for hours in _HOURS]
    return min((step for step in steps if step >= every_s), default=86400)


def schedule(every_s: float) -> str:
    """Return the five fields of a crontab line."""
    step = step_s(every_s)
    minutes, hours = step // 60, step // 3600
    if minutes < 60:
        return "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    return "0 0 * * *" if hours == 24 else "0 * * * *" if hours == 1 else f"0 */{hours} * * *"


def line(every_s: float, command: Sequence[str]) -> str:
    """Return the line of a crontab that runs a command, with no line break in it.

    Args:
        every_s: how often, in seconds.
        command: with absolute paths: cron starts it in the home directory, with a short PATH.
    """
    # cron makes line breaks of percent signs.
    return f"{schedule(every_s)} {shlex.join(command)}".replace("%", r"\%")
