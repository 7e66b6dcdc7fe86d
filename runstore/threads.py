"""Threads beside the training: they take no signals, and nothing waits for them at the exit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

# All but the faults of the thread itself.
_FOR_THE_MAIN_THREAD = signal.valid_signals() - {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
}


def start_daemon(target: Callable[[], None], name: str) -> threading.Thread:
    """Start and return a daemon thread that blocks all signals.

    A signal that it took would not wake the main thread from a sleep or a wait for the GPU, and
    Python's handlers run there: Slurm's SIGTERM would be seen too late.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    # A new thread inherits the mask, so that there is no moment in which it could take one.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_MAIN_THREAD)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return thread
