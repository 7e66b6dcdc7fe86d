"""Calls that may never come back: a file server that does not answer stops a thread, not all."""

from __future__ import annotations

import queue
from collections.abc import Callable

from runstore.threads import start_daemon

ANSWER_S = 10.0
"""So long a viewer waits for a run; a file server that is only slow answers sooner."""
NEXT_ANSWER_S = 1.0
"""So long once one has not answered: the next run may lie on the same server."""


class Patience:
    """Does one thing after another in a thread beside, and leaves one that takes too long."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        """Wait at most `answer_s` seconds for each."""
        self._answer_s = answer_s
        self._begin()

    def _begin(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        todo, done = self._todo, self._done
        start_daemon(lambda: _work(todo, done), "runstore-patience")

    def do(self, action: Callable[[], object]) -> bool:
        """Tell whether `action` came to its end in time; what it raises is raised here.

        One that did not is still at it: leave what it works on alone.
        """
        self._todo.put(action)
        try:
            error = self._done.get(timeout=self._answer_s)
        except queue.Empty:
            # It leaves when it comes back.
            self._todo.put(None)
            self._answer_s = min(self._answer_s, NEXT_ANSWER_S)
            self._begin()
            return False
        if error is not None:
            raise error
        return True

    def end(self) -> None:
        """Let the thread go."""
        self._todo.put(None)


def _work(
    todo: queue.SimpleQueue[Callable[[], object] | None],
    done: queue.SimpleQueue[BaseException | None],
) -> None:
    while (action := todo.get()) is not None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            done.put(error)
        else:
            done.put(None)
