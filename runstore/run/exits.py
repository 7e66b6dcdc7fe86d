"""How runs end when nobody calls `finish`: exceptions, signals, the end of the script.

Inside of a loop of ours a signal only asks the run to stop: the optimizer step is finished and
saved first. Elsewhere, and at a second Ctrl-C, the script is left at once. A run that is left open
says `interrupted` with the reason, never `finished`: whether the script got where it wanted cannot
be known. SIGKILL and power loss leave no end at all; readers find out.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from runstore.redaction.redact import redact_source
from runstore.run.stops import Stop, Terminated

if TYPE_CHECKING:
    from runstore.run.run import Run

TRACEBACK_CHARS = 8000
# A message may hold a whole array: more than this is not searched for secrets, nor kept.
REDACTED_CHARS = 100_000

_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()
_PREEMPTING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""SIGHUP: the terminal is gone, as when a laptop that had the script in ssh is shut."""
_Handler = Callable[[int, FrameType | None], Any] | int | None

_left_for: str | None = None
"""Why the script was left, when a signal did it."""
_chaining: set[int] = set()
"""Signals whose handler of the script's own we are calling."""
_previous: dict[int, _Handler] = {}
"""The handlers that ours have taken the place of."""
_fork = threading.local()
"""The signal mask of the thread that is forking."""


def watch(run: Run) -> None:
    """See to it that `run` gets an end, however the process leaves."""
    if not _open_runs:
        atexit.register(_end_open_runs)
    # Each time: the first run may have been opened in a thread, where no handler can be set.
    _install_handlers()
    _open_runs.add(run)


def forget(run: Run) -> None:
    """The run has ended by itself."""
    _open_runs.discard(run)
    if not _open_runs:
        atexit.unregister(_end_open_runs)
        _remove_handlers()


def is_stopping() -> bool:
    """Tell whether a run was asked to stop, and a loop of it will see that."""
    return any(run.stop is not None and run.can_stop for run in _open_runs)


def end_left_open(run_dir: Path, error: BaseException | None) -> None:
    """End the runs in a directory that a function has left open, which has returned or raised."""
    for run in [run for run in _open_runs if run.path == run_dir]:
        if error is None:
            run.finish()
        else:
            end_by_exception(run, error)


def stop_left_open(run_dir: Path, reason: str) -> None:
    """Ask the runs in a directory that a loop of this process is in to save and stop."""
    for run in list(_open_runs):
        if run.path == run_dir and run.can_stop:
            run.ask_to_stop(Stop(reason))


def end_by_exception(run: Run, error: BaseException) -> None:
    """End a run that an exception left."""
    if isinstance(error, Terminated):
        run.end("interrupted", error.reason)
    elif isinstance(error, KeyboardInterrupt):
        run.end("interrupted", str(error) or "KeyboardInterrupt (Ctrl-C)")
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
        if _left_for is not None:
            run.end("interrupted", _left_for)
        elif isinstance(error, BaseException):
            end_by_exception(run, error)
        else:
            run.end("interrupted", "the process ended without run.finish()")


def _install_handlers() -> None:
    """Take the signals that preempt a run; a handler of the user's own is called behind ours."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _PREEMPTING:
        current = signal.getsignal(number)
        # None: of C code, which could not be called. SIG_IGN: the user wants none of it (nohup).
        if current not in (_on_signal, None, signal.SIG_IGN):
            _previous[number] = current
            signal.signal(number, _on_signal)


def _remove_handlers() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, previous in list(_previous.items()):
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, previous)
        del _previous[number]


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Ask the runs to stop, if a loop of theirs will see it; otherwise leave at once."""
    if number in _chaining:
        # The script's handler has called ours, which it found there when it was set.
        return
    stoppable = [run for run in _open_runs if run.can_stop]
    again = any(run.stop is not None for run in stoppable)
    previous = _previous.get(number)
    own = callable(previous) and previous is not signal.default_int_handler
    if not stoppable or (again and number == signal.SIGINT):
        _leave_at_once(number, frame, previous)
        return
    stop = Stop.by_signal(number)
    for run in stoppable:
        run.ask_to_stop(stop)
    if not again:
        _say(f"{signal.Signals(number).name}: what is under way is finished first")
    if own:
        _chain(previous, number, frame)


def _leave_at_once(number: int, frame: FrameType | None, previous: _Handler) -> None:
    global _left_for
    if callable(previous):
        _chain(previous, number, frame)
        return
    # A request in a script whose loop is not ours came as a signal from the writer's thread.
    asked = next((run.stop for run in _open_runs if run.stop and not run.stop.number), None)
    _left_for = asked.reason if asked else f"terminated by {signal.Signals(number).name}"
    raise Terminated(_left_for, 0 if asked else 128 + number)


def _chain(previous: _Handler, number: int, frame: FrameType | None) -> None:
    assert callable(previous)  # the callers have looked
    _chaining.add(number)
    try:
        previous(number, frame)
    finally:
        _chaining.discard(number)


def _say(message: str) -> None:
    # A handler may interrupt a print, and print is not reentrant.
    with suppress(OSError):
        os.write(2, f"\nrunstore: {message}\n".encode())


def leave_from_thread(run: Run) -> None:
    """Bring the main thread to leave a script whose loop is not ours; for requests."""
    if signal.SIGTERM in _previous and not run.ended:
        os.kill(os.getpid(), signal.SIGTERM)


def _hold_signals() -> None:
    """Keep signals pending over a fork.

    CPython forgets what arrives before its own fork hooks are done, and a child that still had
    our handler would live on.
    """
    if _previous:
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, set(_previous))


def _release_signals() -> None:
    mask, _fork.mask = getattr(_fork, "mask", None), None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _leave_runs_to_parent() -> None:
    """In a forked child: the runs belong to the parent, and so do the signal handlers."""
    for run in list(_open_runs):
        run.forget_in_child()
    _open_runs.clear()
    _remove_handlers()
    _release_signals()


os.register_at_fork(
    before=_hold_signals,
    after_in_parent=_release_signals,
    after_in_child=_leave_runs_to_parent,
)
