"""Everything that can be shown: one file per format, all behind one small protocol.

A source recognises a directory by the names in it and opens it as a `RunReader`, which keeps a
`RunState` up to date. The first source that recognises a directory has it (`formats`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.files.paths import SweepPaths, id_order
from runstore.sources.formats import NATIVE, SOURCES, TENSORBOARD, Source

if TYPE_CHECKING:
    from runstore.sources.reading import RunReader

_MLFLOW_FOLDERS = ("models", "traces", "datasets", "tags")
"""Folders of an experiment of MLflow that hold no runs; `models` is one of the store, too."""
_MLFLOW_NAMES = ("meta.yaml", ".trash")
"""What an experiment, and a store, has beside them."""
_SWEEP = SweepPaths(Path())


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
        if self.source is NATIVE:
            return self.name
        found = self.place[self.below :] or self.name
        return found if found not in (".", "..") else self.path.resolve().name

    @property
    def sort_key(self) -> str:
        """What sorts runs by the time of their creation as far as their names tell."""
        return self.changed or id_order(self.name)


def recognise(directory: Path, names: Sequence[str]) -> Source | None:
    """Return the source that reads a directory with these entries, or None."""
    listing = "\n".join(names)
    return next((one for one in SOURCES if one.recognises(directory, names, listing)), None)


def folders_of_run(source: Source, directory: Path, names: Sequence[str]) -> Sequence[str]:
    """Return the folders of a directory whose files belong to the run in the directory itself."""
    if source is not TENSORBOARD:
        return ()
    # Imported here, as all formats are: see `formats`.
    from runstore.sources import tensorboard

    return tensorboard.folders_of_run(directory, names)


def owns(source: Source, folder: str) -> bool:
    """Tell whether a folder of that name in a run is a part of it, and no run besides."""
    return any(fnmatchcase(folder, pattern) for pattern in source.own_folders)


def may_hold_runs(folder: str, beside: Collection[str]) -> bool:
    """Tell whether to look for runs in a folder of a directory that is none and has these names."""
    if folder == _SWEEP.slurm.name and _SWEEP.document.name in beside:
        # Thousands of files that submitit has there.
        return False
    return folder not in _MLFLOW_FOLDERS or not any(name in beside for name in _MLFLOW_NAMES)


def recorded_name(ref: RunRef) -> str:
    """Return what a run's document calls it, where its directory may be called otherwise."""
    name = getattr(ref.source.load(), "recorded_name", None)
    return str(name(ref.path)) if name else ""


def looked_for() -> str:
    """Return in words what makes a directory a run: `run.json, …, *.jsonl`."""
    return ", ".join(name for source in SOURCES for name in source.looked_for)


def unread(directory: Path) -> str:
    """Say what else a directory without runs has that may hold some, as `; …` or nothing."""
    from runstore.sources import mlflow

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
    if ref.source is not NATIVE:
        reader.state.called = ref.id
    return reader


__all__ = [
    "NATIVE",
    "SOURCES",
    "RunRef",
    "Source",
    "folders_of_run",
    "looked_for",
    "may_hold_runs",
    "open_run",
    "owns",
    "recognise",
    "recorded_name",
    "unread",
]
