"""One look at each of many runs: for lists, tables and whoever reads once.

Slurm is asked about many jobs at once, and a run whose file system does not answer holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runstore.patience import Patience
from runstore.slurm.jobs import JOBS, JOBS_AT_ONCE
from runstore.sources import RunRef, open_run
from runstore.sources.reading import RunReader, guarded
from runstore.sources.silent import SilentReader


def ask_scheduler(readers: Iterable[RunReader]) -> None:
    """Let runs that were read once, and whose end is unknown, learn what Slurm knows of their jobs.

    One question for all of them. A viewer that stays does not wait for the answer.
    """
    if JOBS.refresh():
        for reader in readers:
            reader.judge()


def glanced(refs: Sequence[RunRef]) -> Iterator[RunReader]:
    """Yield a reader of each run that has had one look at it; nobody keeps them.

    Where Slurm may know how a run ended, the next runs are looked at ahead, so that it is asked
    about many jobs at once. A run whose file system does not answer is `unanswered`.
    """
    asked_until, patience = 0, Patience()
    try:
        for index, ref in enumerate(refs):
            reader = _glance(ref, patience)
            if index >= asked_until and JOBS.has_questions():
                asked_until = index + JOBS_AT_ONCE
                for ahead in refs[index + 1 : asked_until]:
                    _glance(ahead, patience)
                JOBS.refresh()
                reader = _glance(ref, patience)
            yield reader
    finally:
        patience.end()


def _glance(ref: RunRef, patience: Patience) -> RunReader:
    reader = open_run(ref, patient=False)
    in_time = patience.do(lambda: guarded(reader, reader.glance))
    return reader if in_time else unanswered(ref)


def unanswered(ref: RunRef) -> RunReader:
    """Return a reader of a run whose file system does not answer: it knows just that."""
    return SilentReader(ref.path, ref.source.name)
