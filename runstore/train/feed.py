"""Batches of the user's loader, in an order that a checkpoint can go on with.

A checkpoint in the middle of an epoch holds the generators as they were before `iter(loader)`,
from which the loader drew its order, and how many batches were done. The resumed run draws the
same order from them, passes over what was done without loading it, and only then puts back the
generators as they were at the checkpoint.
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

import torch
from torch.utils.data import DataLoader, Sampler, Subset, TensorDataset

from runstore.train.rng import RngState, get_rng_state, set_rng_state
from runstore.train.sampler import SeededDataset

_IGNORED_IN_WORKERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_workers: weakref.WeakKeyDictionary[BaseProcess, int] = weakref.WeakKeyDictionary()
"""The workers that were started quiet, with the process that did."""
_kills_at_exit: set[int] = set()
"""The processes that kill theirs when they exit: a fork does not take that over."""

FeedState = dict[str, Any]
"""`drawn_from`: the generators before iter(loader); `generators`: the loader's own, then;
`batches`: how many were done; `loader`: its own state_dict, when it has one."""


class Feed:
    """One pass over a loader."""

    def __init__(self, loader: Iterable[Any], epoch: int | None) -> None:
        """Begin a pass; nothing is drawn before the first batch.

        Args:
            loader: what the user loops over.
            epoch: from 1, for a sampler that wants to know it.
        """
        self._loader = loader
        self._drawn_from: RngState = {}
        self._generators: list[torch.Tensor] = []
        self.batches = 0
        """Batches handed out in this pass, with those before a resume."""
        set_sampler_epoch(loader, epoch)

    def start(self) -> Iterator[Any]:
        """Return the batches from the first one on."""
        self._drawn_from = get_rng_state()
        self._generators = [generator.get_state() for generator in generators_of(self._loader)]
        return self._count(_iterate(self._loader))

    def resume(self, saved: FeedState, restore: Callable[[], None], batches: int) -> Iterator[Any]:
        """Return the batches behind the first `batches`.

        Args:
            saved: what `state` returned.
            restore: puts the generators back as they were at the checkpoint; called when the order
                is drawn and before the first sample is loaded.
            batches: how many were done; not `saved["batches"]` when the number of ranks changed.
        """
        self._drawn_from, self._generators = saved["drawn_from"], saved["generators"]
        self.batches = batches
        set_rng_state(self._drawn_from)
        for generator, state in zip(generators_of(self._loader), self._generators, strict=False):
            generator.set_state(state)
        return self._count(self._resumed(saved, restore))

    def _resumed(self, saved: FeedState, restore: Callable[[], None]) -> Iterator[Any]:
        loader = self._loader
        if "loader" in saved and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(saved["loader"])
            batches = _iterate(loader)
            restore()
        elif isinstance(loader, DataLoader) and _can_skip(loader):
            batches = _iterate(_skipping(loader, self.batches, restore))
        else:
            # Loaded and thrown away: an iterable tells its order in no other way.
            batches = _iterate(loader)
            for _ in itertools.islice(batches, self.batches):
                pass
            restore()
        return batches

    def _count(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.batches += 1
            yield batch

    def state(self) -> FeedState:
        """Return what `resume` needs; between two batches."""
        state: FeedState = {
            "drawn_from": self._drawn_from,
            "generators": self._generators,
            "batches": self.batches,
        }
        own = getattr(self._loader, "state_dict", None)
        if callable(own):
            state["loader"] = own()
        return state


def generators_of(loader: Iterable[Any]) -> list[torch.Generator]:
    """Return the generators of the loader and its sampler's, which the global state lacks."""
    loader = _unwrapped(loader)
    sampler = getattr(loader, "sampler", None)
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    unique = {id(item): item for item in found if isinstance(item, torch.Generator)}
    return list(unique.values())


def set_sampler_epoch(loader: Iterable[Any], epoch: int | None) -> None:
    """Tell the sampler its epoch: without it, DistributedSampler repeats the first one's order."""
    if epoch is None:
        return
    loader = _unwrapped(loader)
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    for sampler in {id(item): item for item in samplers if item is not None}.values():
        set_epoch = getattr(sampler, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)


def resumes_exactly(loader: Iterable[Any]) -> str:
    """Say why a pass over `loader` cannot be resumed exactly; empty when it can."""
    source = _unwrapped(loader)
    restores_itself = hasattr(loader, "load_state_dict")
    if isinstance(source, Iterator) and not restores_itself:
        return (
            "an iterator, as of enumerate or zip, may have drawn its order before run.train saw it"
        )
    if not isinstance(source, DataLoader) or source.num_workers == 0:
        return ""
    if source.persistent_workers:
        return "persistent workers draw no new seed in later epochs, a resumed run does"
    # Workers that begin anew and load what is then thrown away come to the same numbers.
    passes_over = restores_itself or (source is loader and _can_skip(source))
    if passes_over and not _draws_nothing_in_workers(source.dataset):
        return "augmentation in workers may be random; runstore.SeededDataset makes it exact"
    return ""


def _draws_nothing_in_workers(dataset: Any) -> bool:
    if isinstance(dataset, SeededDataset):
        return True
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, TensorDataset)


def _unwrapped(loader: Iterable[Any]) -> Iterable[Any]:
    """Return what a progress bar (tqdm) around a loader loops over."""
    while not isinstance(loader, DataLoader) and isinstance(
        inner := getattr(loader, "iterable", None), Iterable
    ):
        loader = inner
    return loader


def _iterate(loader: Iterable[Any]) -> Iterator[Any]:
    """Return `iter(loader)` whose workers, if it has any, ignore what ends or preempts the run.

    Slurm and terminals signal every process of the job; a worker that dies of it takes the
    training down before it can save.
    """
    if not isinstance(loader, DataLoader) or loader.num_workers == 0:
        return iter(loader)
    with _quiet_workers(loader):
        return iter(loader)


@contextlib.contextmanager
def _quiet_workers(loader: DataLoader[Any]) -> Iterator[None]:
    """Let the workers that `loader` starts within ignore signals, from their first moment on."""
    given, others = loader.worker_init_fn, set(multiprocessing.active_children())
    if not isinstance(given, _QuietWorker):
        loader.worker_init_fn = _QuietWorker(given)
    # Inherited: a spawned worker needs seconds to come to its worker_init_fn.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_IN_WORKERS)
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


def _can_skip(loader: DataLoader[Any]) -> bool:
    # An IterableDataset has no order that could be skipped, and what a loader's own __iter__ makes
    # of its batches only that loader knows.
    plain = type(loader).__iter__ is DataLoader.__iter__
    return plain and not isinstance(loader.dataset, torch.utils.data.IterableDataset)


def _skipping(loader: DataLoader[Any], done: int, restore: Callable[[], None]) -> DataLoader[Any]:
    """Return a loader like `loader` that begins behind its first `done` batches.

    By PyTorch's public arguments only, because a loader's sampler cannot be replaced.
    """
    options: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "timeout": loader.timeout,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "generator": loader.generator,
        "pin_memory_device": loader.pin_memory_device,
    }
    if loader.num_workers:
        options["prefetch_factor"] = loader.prefetch_factor
    if loader.batch_sampler is None:
        # batch_size=None: the sampler's items are the batches.
        sampler = _Skipped(loader.sampler, done, restore)
        return DataLoader(loader.dataset, batch_size=None, sampler=sampler, **options)
    batch_sampler = _Skipped(loader.batch_sampler, done, restore)
    return DataLoader(loader.dataset, batch_sampler=batch_sampler, **options)


class _Skipped(Sampler[Any]):
    """What a sampler yields behind its first items."""

    def __init__(self, sampler: Any, done: int, restore: Callable[[], None]) -> None:
        self._sampler, self._done, self._restore = sampler, done, restore

    def __iter__(self) -> Iterator[Any]:
        items = iter(self._sampler)
        for _ in itertools.islice(items, self._done):
            pass
        # Here the order is drawn, and no sample is loaded.
        self._restore()
        yield from items

    def __len__(self) -> int:
        return len(self._sampler) - self._done
