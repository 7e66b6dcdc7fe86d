"""Pulls again and again, less often while the link is gone; each change of fortune is told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from runstore.hosts.ssh import Link, LinkError
from runstore.numbers import span
from runstore.pull.failures import PullError
from runstore.pull.session import Pass, Pull

LONGEST_S = 300.0
"""Between two tries, however long the link is gone; an interval that is longer stays."""


class BackOff:
    """How long to wait for the next try. Pure."""

    def __init__(self, every_s: float) -> None:
        """Try every so many seconds while all is well."""
        self._every_s = every_s
        self._failures = 0

    def wait_s(self, *, failed: bool) -> float:
        """Return the seconds until the next try, behind one that did or did not fail."""
        self._failures = self._failures + 1 if failed else 0
        longer_s = self._every_s * 2.0 ** min(self._failures, 30)
        return max(self._every_s, min(longer_s, LONGEST_S))


class Turn(NamedTuple):
    """What came of one try."""

    done: Pass | None
    news: str = ""
    """What is to be told now; empty for nothing new."""


def keep_up(
    pull: Pull,
    link: Link,
    every_s: float,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Turn]:
    """Yield what comes of each try, for ever; it waits before each.

    Args:
        pull: a copy that was brought up to date a moment ago.
        link: how its host is reached; opened again without asking anything when it is gone.
        every_s: seconds between two pulls.
        sleep: waits for some seconds.
        clock: monotonic seconds.
    """
    back_off = BackOff(every_s)
    failing, since, wait_s = pull.known.problem, clock(), every_s
    while True:
        sleep(wait_s)
        try:
            if not link.is_open:
                link.open(ask=False)
            done = pull.whole()
        except (PullError, LinkError) as error:
            wait_s = back_off.wait_s(failed=True)
            news = f"{error}; trying again, at the latest every {span(max(every_s, LONGEST_S))}"
            yield Turn(None, news if error.why != failing else "")
            since = since if failing else clock()
            failing = error.why
            continue
        wait_s = back_off.wait_s(failed=False)
        problem = done.problem.why if done.problem else ""
        news = f"{pull.source.host}: {problem}" if problem != failing else ""
        if failing and not problem:
            news = f"{pull.source.host}: well again after {span(clock() - since)}"
        elif problem and not failing:
            since = clock()
        failing = problem
        yield Turn(done, news)
