"""What runs are called beside each other: in the column `run` of tables, and as sub-directories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from runstore.files.records import without_surrogates
from runstore.sources import NATIVE, RunRef


def labels(refs: Sequence[RunRef], root: Path) -> list[str]:
    """Return a name for each run: its id.

    That is the directory's name, and of another tool's run the path below `root`. Where several
    have the same, as copies in two folders, it is the path, too.
    """
    ids = [_id(ref, root) for ref in refs]
    shared = _shared(zip(ids, refs, strict=True))
    return [
        without_surrogates(_path_below(ref, root) if own in shared else own)
        for own, ref in zip(ids, refs, strict=True)
    ]


def _id(ref: RunRef, root: Path) -> str:
    is_below = ref.source is not NATIVE and ref.path != root and ref.path.is_relative_to(root)
    return _path_below(ref, root) if is_below else ref.name


def _shared(named: Iterable[tuple[str, RunRef]]) -> set[str]:
    """Return the ids that more than one directory has."""
    places: dict[str, str] = {}
    return {own for own, ref in named if places.setdefault(own, ref.place) != ref.place}


def _path_below(ref: RunRef, root: Path) -> str:
    path = ref.path
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
