"""The monitor as a process in a terminal of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.terminal import MONITOR, Terminal

StartMonitor = Callable[..., Terminal]


@pytest.fixture
def start_monitor() -> Iterator[StartMonitor]:
    """Return a function that starts `runstore-tui` in a terminal of a given size."""
    started: list[Terminal] = []

    def start(*arguments: object, columns: int = 80, rows: int = 24, **env: str) -> Terminal:
        terminal = Terminal([*MONITOR, *map(str, arguments)], columns, rows, env)
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        sys.stdout.write(f"the last screen that was looked at:\n{terminal.seen}\n")
        terminal.close()
