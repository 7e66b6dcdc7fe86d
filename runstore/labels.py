"""What runs are called beside each other: in the column `run` of tables, and as sub-directories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from runstore.records import without_surrogates
from runstore.sources import RunRef


def labels(refs: Sequence[RunRef], root: Path) -> list[str]:
    """Return a name for each run: its id.

    Where several have the same, as copies in two folders, it is the path below `root`, or the
    whole path of a run that is not below it.
    """
    shared = _shared(refs)
    return [
        without_surrogates(_path_below(ref, root) if ref.id in shared else ref.id) for ref in refs
    ]


def _shared(refs: Iterable[RunRef]) -> set[str]:
    """Return the names that more than one directory has."""
    places: dict[str, str] = {}
    return {ref.id for ref in refs if places.setdefault(ref.id, ref.place) != ref.place}


def _path_below(ref: RunRef, root: Path) -> str:
    path = ref.path
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
