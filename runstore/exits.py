"""How runs end when nobody calls `finish`: exceptions, Ctrl-C, SIGTERM, the end of the script.

A run that is left open says `interrupted` with the reason, never `finished`: whether the script
got where it wanted cannot be known. SIGKILL and power loss leave no end at all; readers find out.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
import weakref
from types import FrameType
from typing import TYPE_CHECKING

from runstore.redact import redact_source

if TYPE_CHECKING:
    from runstore.run import Run

TRACEBACK_CHARS = 8000
# A message may hold a whole array: more than this is not searched for secrets, nor kept.
REDACTED_CHARS = 100_000

_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()
_terminated_by: str | None = None
_handler_installed = False
_fork = threading.local()
"""The signal mask of the thread that is forking."""


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM, so that `with` and `finally` blocks run."""

    def __init__(self, name: str, number: int) -> None:
        self.signal_name = name
        # What a shell reports for a process that the signal killed.
        super().__init__(128 + number)


def watch(run: Run) -> None:
    """See to it that `run` gets an end, however the process leaves."""
    if not _open_runs:
        atexit.register(_end_open_runs)
    # Each time: the first run may have been opened in a thread, where no handler can be set.
    _install_handler()
    _open_runs.add(run)


def forget(run: Run) -> None:
    """The run has ended by itself."""
    _open_runs.discard(run)
    if not _open_runs:
        atexit.unregister(_end_open_runs)
        _remove_handler()


def end_by_exception(run: Run, error: BaseException) -> None:
    """End a run that an exception left."""
    if isinstance(error, Terminated):
        run.end("interrupted", f"terminated by {error.signal_name}")
    elif isinstance(error, KeyboardInterrupt):
        run.end("interrupted", "KeyboardInterrupt (Ctrl-C)")
    elif isinstance(error, SystemExit) and error.code in (None, 0):
        where = run.unfinished()
        if where:
            run.end("interrupted", f"left by sys.exit(0) {where}")
        else:
            run.end("finished", "left by sys.exit(0)")
    elif isinstance(error, SystemExit):
        run.end("failed", f"left by sys.exit({error.code!r})")
    else:
        run.end("failed", describe(error), traceback=_traceback(error))


def describe(error: BaseException) -> str:
    """Return `ValueError: what it says`, without secrets."""
    told = traceback.TracebackException.from_exception(error)
    # Notes come last, and a note is no reason.
    told.__notes__ = None
    text = list(told.format_exception_only())[-1].strip()
    return redact_source(text[:REDACTED_CHARS])[:500]


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return redact_source(text[-REDACTED_CHARS:])[-TRACEBACK_CHARS:]


def _end_open_runs() -> None:
    error = getattr(sys, "last_value", None)
    for run in list(_open_runs):
        if _terminated_by is not None:
            run.end("interrupted", f"terminated by {_terminated_by}")
        elif isinstance(error, BaseException):
            end_by_exception(run, error)
        else:
            run.end("interrupted", "the process ended without run.finish()")


def _install_handler() -> None:
    """Turn SIGTERM into an exception, unless the user has a handler of their own."""
    global _handler_installed
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)
        _handler_installed = True


def _remove_handler() -> None:
    global _handler_installed
    in_main = threading.current_thread() is threading.main_thread()
    if _handler_installed and in_main and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _handler_installed = False


def _on_sigterm(number: int, _frame: FrameType | None) -> None:
    global _terminated_by
    _terminated_by = signal.Signals(number).name
    raise Terminated(_terminated_by, number)


def _hold_sigterm() -> None:
    """Keep SIGTERM pending over a fork.

    CPython forgets what arrives before its own fork hooks are done, and a child that still had
    our handler would live on.
    """
    if _handler_installed:
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    mask, _fork.mask = getattr(_fork, "mask", None), None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _leave_runs_to_parent() -> None:
    """In a forked child: the runs belong to the parent, and so does the signal handler."""
    for run in list(_open_runs):
        run.forget_in_child()
    _open_runs.clear()
    _remove_handler()
    _release_sigterm()


os.register_at_fork(
    before=_hold_sigterm,
    after_in_parent=_release_sigterm,
    after_in_child=_leave_runs_to_parent,
)
