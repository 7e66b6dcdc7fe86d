"""Everything that can be shown: one file per format, all behind one small protocol.

A source recognises a directory by the names in it and opens it as a `RunReader`, which keeps a
`RunState` up to date. The first source that recognises a directory has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from runstore.paths import id_order
from runstore.patience import Patience
from runstore.slurm_jobs import JOBS, JOBS_AT_ONCE
from runstore.sources import (
    csv_rows,
    huggingface,
    lightning,
    mlflow,
    native,
    plain,
    tensorboard,
    wandb,
)
from runstore.sources.reading import RunReader, guarded
from runstore.sources.silent import SilentReader
from runstore.state import RunState


class Source(Protocol):
    """One format of runs."""

    NAME: str
    """Shown beside a run that is not native."""
    LOOKED_FOR: tuple[str, ...]
    """What makes a directory a run of this format, in words for whoever finds none."""

    def recognises(self, directory: Path, names: Sequence[str]) -> bool:
        """Tell whether a directory with these entries is a run of this format."""

    def open_run(self, directory: Path, *, patient: bool = True) -> RunReader:
        """Return a reader; nothing is read yet."""


SOURCES: tuple[Source, ...] = (
    native,
    wandb,
    mlflow,
    huggingface,
    lightning,
    tensorboard,
    plain,
    csv_rows,
)
"""In the order in which they are asked."""
_BY_CHANCE: tuple[Source, ...] = (plain, csv_rows)
"""One stray file (an export, say) makes any directory look like a run of these."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run that was found, not read. Small: a root may hold a hundred thousand."""

    place: str
    """The path of its directory, as text."""
    source: Source
    changed: str = ""
    """When the directory was changed, where its name tells no time."""
    below: int = 0
    """How much of `place` is in front of its name below the root."""

    @property
    def path(self) -> Path:
        """The run's directory."""
        return Path(self.place)

    @property
    def name(self) -> str:
        """The directory's name, which is the id of a native run."""
        return self.place.rpartition("/")[2]

    @property
    def id(self) -> str:
        """What the run is called in lists.

        Other tools call many runs `version_0`: theirs is the path below the root, as TensorBoard
        has it. It does not depend on which other runs there are.
        """
        if self.source is native:
            return self.name
        found = self.place[self.below :] or self.name
        return found if found not in (".", "..") else self.path.resolve().name

    @property
    def sort_key(self) -> str:
        """What sorts runs by the time of their creation as far as their names tell."""
        return self.changed or id_order(self.name)


def recognise(directory: Path, names: Sequence[str]) -> Source | None:
    """Return the source that reads a directory with these entries, or None."""
    return next((source for source in SOURCES if _recognises(source, directory, names)), None)


def _recognises(source: Source, directory: Path, names: Sequence[str]) -> bool:
    """Ask a source; a file that it stumbles over makes no run, and hides no other."""
    try:
        return source.recognises(directory, names)
    except (OSError, ValueError):
        return False


def is_by_chance(source: Source) -> bool:
    """Tell whether a directory that looks like a run may be a folder of runs with a stray file."""
    return source in _BY_CHANCE


def owns(source: Source, folder: str) -> bool:
    """Tell whether a folder of that name in a run is a part of it, and no run besides.

    A source may name such folders in `OWN_FOLDERS`, as patterns.
    """
    patterns: Sequence[str] = getattr(source, "OWN_FOLDERS", ())
    return any(fnmatchcase(folder, pattern) for pattern in patterns)


def may_hold_runs(folder: str, beside: Sequence[str]) -> bool:
    """Tell whether to look for runs in a folder of a directory that is none and has these names."""
    return not mlflow.holds_no_runs(folder, beside)


def recorded_name(ref: RunRef) -> str:
    """Return what a run's document calls it, where its directory may be called otherwise."""
    if ref.source is native:
        return native.recorded_id(ref.path)
    if ref.source is wandb:
        return wandb.recorded_name(ref.path)
    return mlflow.recorded_name(ref.path) if ref.source is mlflow else ""


def looked_for() -> str:
    """Return in words what makes a directory a run: `run.json, …, *.jsonl`."""
    return ", ".join(name for source in SOURCES for name in source.LOOKED_FOR)


def unread(directory: Path) -> str:
    """Say what else a directory without runs has that may hold some, as `; …` or nothing."""
    found = mlflow.unread_store(directory)
    return f"; {found}" if found else ""


def open_run(ref: RunRef, *, patient: bool = True) -> RunReader:
    """Return a reader of a run that was found.

    Args:
        ref: the run.
        patient: zeros at the end of a file may still become data, so what follows them waits for
            later polls. Who reads only once must not be patient, or misses it.
    """
    reader = ref.source.open_run(ref.path, patient=patient)
    if ref.source is not native:
        reader.state.called = ref.id
    return reader


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
    return SilentReader(ref.path, ref.source.NAME)


__all__ = [
    "SOURCES",
    "RunReader",
    "RunRef",
    "RunState",
    "Source",
    "ask_scheduler",
    "glanced",
    "guarded",
    "is_by_chance",
    "looked_for",
    "may_hold_runs",
    "open_run",
    "owns",
    "recognise",
    "recorded_name",
    "unanswered",
    "unread",
]
