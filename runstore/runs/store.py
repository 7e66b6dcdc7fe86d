"""Roots of runs: find them, newest first.

A root holds no index. Runs are found by walking: into folders, but not into a run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from runstore.errors import RootNotFoundError
from runstore.files.limits import LINKED_DEPTH
from runstore.files.paths import looks_like_run_id
from runstore.sources import RunRef, Source, folders_of_run, may_hold_runs, owns, recognise
from runstore.sources.formats import NATIVE, TENSORBOARD
from runstore.watching import Watch, unwatched

MAX_DEPTH = 12
"""Folders nested deeper than this are not searched."""
LOOKING = "looking for runs"
UNKNOWN_TIME = "-"
"""Sorts before all times."""

Found = TypeVar("Found")


def discover(roots: Sequence[Path], watch: Watch = unwatched) -> list[RunRef]:
    """Return the runs below some roots, newest first; a root may be a run itself.

    Args:
        roots: where to look.
        watch: who sees how far that is.

    Raises:
        RootNotFoundError: a root is not there, is a file, or may not be read.
    """
    refs = list(watch(walk(roots), LOOKING))
    sort_newest_first(refs, lambda ref: ref)
    return refs


def walk(
    roots: Sequence[Path], *, seen: set[str] | None = None, most: int | None = None
) -> Iterator[RunRef]:
    """Yield the runs below some roots, in any order.

    Args:
        roots: where to look.
        seen: real directories that are passed over; those that are looked at are added.
        most: how many of them there may be; None for any number.

    Raises:
        RootNotFoundError: as `discover`.
    """
    seen = set() if seen is None else seen
    most = sys.maxsize if most is None else most
    for root in roots:
        problem = root_problem(root)
        if problem is not None:
            raise RootNotFoundError(root, problem)
        yield from _Walk(root, seen, most, is_only_root=len(roots) == 1).runs()


def sort_newest_first(found: list[Found], ref_of: Callable[[Found], RunRef]) -> None:
    """Sort what belongs to runs by the time of their creation, the newest first."""
    # One key after the other: of a hundred thousand runs, pairs of them would take megabytes.
    found.sort(key=lambda one: ref_of(one).name, reverse=True)
    found.sort(key=lambda one: ref_of(one).sort_key, reverse=True)


def root_problem(root: Path) -> str | None:
    """Say why no runs can be looked for in `root`; None when they can."""
    try:
        os.scandir(root).close()
    except NotADirectoryError:
        # A file, or below one.
        is_file = os.path.lexists(root)
        return "is a file, expected a directory of runs" if is_file else "no such directory"
    except FileNotFoundError:
        return "no such directory"
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return None


class _Place(NamedTuple):
    """A directory that a walk comes to."""

    path: str
    real: str
    depth: int = 0
    deepest: int = MAX_DEPTH
    is_within: bool = False
    """It lies in a run: what is no run there is no business of ours."""
    is_beside_runs: bool = False
    """It lies beside directories that are called as ours are."""

    def inside(self, name: str, *, is_link: bool, is_within: bool, beside_runs: bool) -> _Place:
        """Return a folder in it."""
        path = _join(self.path, name)
        depth = self.depth + 1
        if is_link:
            # It may lead to `/`: it is followed, but not far.
            deepest = min(self.deepest, depth + LINKED_DEPTH)
            return _Place(path, os.path.realpath(path), depth, deepest, is_within, beside_runs)
        # Asking the kernel for each of a thousand real paths costs more than reading the names.
        real = path if self.real == self.path else _join(self.real, name)
        return _Place(path, real, depth, self.deepest, is_within, beside_runs)


class _Walk:
    """Finds the runs below one root."""

    def __init__(self, root: Path, seen: set[str], most: int, *, is_only_root: bool) -> None:
        """Pass over the real directories in `seen`, which grows until there are as many."""
        self._root, self._seen, self._most = str(root), seen, most
        above = self._root if is_only_root else str(root.parent)
        self._below = 0 if above == "." else len(above.rstrip("/")) + 1

    def runs(self) -> Iterator[RunRef]:
        """Yield them, in any order."""
        return self._runs(_Place(self._root, os.path.realpath(self._root)))

    def _runs(self, place: _Place) -> Iterator[RunRef]:
        """Yield the runs in and below a directory, each real directory once."""
        directory, depth = place.path, place.depth
        if place.real in self._seen or depth > place.deepest or len(self._seen) >= self._most:
            return
        self._seen.add(place.real)
        if depth and looks_like_run_id(directory.rpartition("/")[2]):
            yield RunRef(directory, NATIVE)
            return
        try:
            names, folders = _listed(directory)
        except OSError:
            if not place.is_within:
                yield odd_ref(directory)
            return
        source = recognise(Path(directory), names)
        if place.is_within and source is not None and source.is_by_chance:
            source = None
        # A root of runs may hold a stray table.
        is_guess = depth == 0 and source is not None and source.is_by_chance
        is_within = place.is_within or not (source is None or is_guess)
        found_below = False
        searched = _to_search(directory, names, folders, source, depth)
        beside_runs = any(looks_like_run_id(name) for name, _ in searched)
        for name, is_link in searched:
            inner = place.inside(
                name, is_link=is_link, is_within=is_within, beside_runs=beside_runs
            )
            for ref in self._runs(inner):
                found_below = True
                yield ref
        if source is not None and not (is_guess and found_below):
            yield RunRef(directory, source, time_key(directory), self._below)
        elif not names and place.is_beside_runs and not place.is_within:
            # Elsewhere it is a folder for plots, say, and of no interest.
            yield odd_ref(directory)


def _listed(directory: str) -> tuple[list[str], list[tuple[str, bool]]]:
    """Return the names in a directory; and its folders, each with whether a link leads there.

    The kernel's entries are not kept: each has its whole path.
    """
    names: list[str] = []
    folders: list[tuple[str, bool]] = []
    with os.scandir(directory) as listing:
        for entry in listing:
            names.append(entry.name)
            if not entry.name.startswith(".") and _is_directory(entry):
                folders.append((entry.name, entry.is_symlink()))
    # A directory is known by its own name, not by that of a link beside it: W&B's `latest-run`.
    folders.sort(key=lambda folder: folder[1])
    return names, folders


def _join(directory: str, name: str) -> str:
    """Return the path of a name in a directory as `Path` would write it."""
    if directory == ".":
        return name
    return f"{directory}{name}" if directory.endswith("/") else f"{directory}/{name}"


def _to_search(
    directory: str,
    names: Sequence[str],
    folders: list[tuple[str, bool]],
    source: Source | None,
    depth: int,
) -> list[tuple[str, bool]]:
    """Return the folders to search in.

    None inside a run; but one stray `*.jsonl` or table (an export, say) makes a folder of runs look
    like a run, and must not hide what is below it. A root that has runs below is no run then.
    TensorBoard has runs within runs; what others have below a root is none where it is a part of
    them.
    """
    if source is NATIVE:
        return []
    if source is TENSORBOARD:
        own = folders_of_run(source, Path(directory), names)
        return [folder for folder in folders if folder[0] not in own]
    if source is None:
        return [folder for folder in folders if may_hold_runs(folder[0], names)]
    if source.is_by_chance:
        return folders
    if depth == 0:
        return [folder for folder in folders if not owns(source, folder[0])]
    return [folder for folder in folders if looks_like_run_id(folder[0])]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """A link that leads to itself is no reason to lose sight of its neighbours."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def odd_ref(directory: str) -> RunRef:
    """An empty or unreadable directory: shown as what it is, not passed over."""
    return RunRef(directory, NATIVE, time_key(directory))


def time_key(directory: str) -> str:
    """Return when a directory was changed, as ids begin; nothing where its name tells a time."""
    if looks_like_run_id(directory.rpartition("/")[2]):
        return ""
    try:
        modified = Path(directory).stat().st_mtime
    except OSError:
        return UNKNOWN_TIME
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(modified))


def name_in(run_id: str) -> str:
    """Return `digits` of `20261120-141502-digits-2ck3x9qa`."""
    return "-".join(run_id.split("-")[2:-1])


def path_below(ref: RunRef, root: Path) -> str:
    """Return the path of a run's directory from the root in which it was found."""
    return str(ref.path.relative_to(root))
