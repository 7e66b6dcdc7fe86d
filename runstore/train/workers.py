"""Workers of a loader that a signal to the whole job leaves alone.

Slurm and terminals signal every process of the job; a worker that dies of it takes the training
down before it can save.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

from runstore.train.loaders import unwrapped

_IGNORED_IN_WORKERS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

_workers: weakref.WeakKeyDictionary[BaseProcess, int] = weakref.WeakKeyDictionary()
"""The workers that were started quiet, with the process that did."""
_kills_at_exit: set[int] = set()
"""The processes that kill theirs when they exit: a fork does not take that over."""


def iterate(loader: Iterable[Any]) -> Iterator[Any]:
    """Return `iter(loader)` whose workers, if it has any, ignore what ends or preempts the run."""
    source = unwrapped(loader)
    if not isinstance(source, DataLoader) or source.num_workers == 0:
        return iter(loader)
    with _quiet_workers(source, hold=_IGNORED_IN_WORKERS):
        batches = iter(loader)
    if source is loader and type(source).__iter__ is DataLoader.__iter__:
        return batches
    return _begin_quietly(source, batches)


def _begin_quietly(source: DataLoader[Any], batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches of what starts workers with the first one: tqdm, an own `__iter__`.

    Ctrl-C is not held back: the first batch may take long, or never come.
    """
    hold = tuple(number for number in _IGNORED_IN_WORKERS if number != signal.SIGINT)
    with _quiet_workers(source, hold=hold):
        first = list(itertools.islice(batches, 1))
    yield from first
    yield from batches


@contextlib.contextmanager
def _quiet_workers(loader: DataLoader[Any], hold: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Let the workers that `loader` starts within ignore signals, from their first moment on.

    Args:
        loader: its `worker_init_fn` is ours within.
        hold: what is held back within, also from this process. Workers inherit it: a spawned one
            needs seconds to come to its `worker_init_fn`.
    """
    given, others = loader.worker_init_fn, set(multiprocessing.active_children())
    if not isinstance(given, _QuietWorker):
        loader.worker_init_fn = _QuietWorker(given)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, hold)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        loader.worker_init_fn = given
        _end_at_exit(
            {child for child in multiprocessing.active_children() if child.daemon} - others
        )


def _end_at_exit(workers: set[BaseProcess]) -> None:
    """Kill `workers` when this process exits, if they are still there (persistent ones are).

    multiprocessing would send them SIGTERM, which they ignore, and wait for them without limit.
    """
    own = os.getpid()
    if own not in _kills_at_exit:
        _kills_at_exit.add(own)
        # Not atexit, which the processes of torch.multiprocessing.spawn do not run.
        multiprocessing.util.Finalize(None, _kill_workers, exitpriority=0)
    _workers.update(dict.fromkeys(workers, own))


def _kill_workers() -> None:
    own = os.getpid()
    alive = [child for child, parent in _workers.items() if parent == own and child.is_alive()]
    if alive:
        with contextlib.suppress(ValueError):  # not the main thread
            # PyTorch's handler would report workers that failed.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in alive:
        worker.kill()


class _QuietWorker:
    """A worker_init_fn around the user's; of module level, so that it can be spawned."""

    def __init__(self, given: Callable[[int], None] | None) -> None:
        self._given = given

    def __call__(self, worker: int) -> None:
        for number in _IGNORED_IN_WORKERS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED_IN_WORKERS)
        if self._given is not None:
            self._given(worker)
