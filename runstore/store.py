"""Roots of runs: find them, newest first, and the one that somebody means.

A root holds no index. Runs are found by walking: into folders, but not into a run.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from runstore.errors import AmbiguousRunError, RootNotFoundError, RunNotFoundError
from runstore.limits import LINKED_DEPTH
from runstore.paths import looks_like_run_id
from runstore.sources import (
    RunRef,
    Source,
    is_by_chance,
    looked_for,
    may_hold_runs,
    native,
    owns,
    recognise,
    recorded_name,
    tensorboard,
    unread,
)
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


def walk(roots: Sequence[Path]) -> Iterator[RunRef]:
    """Yield the runs below some roots, in any order.

    Raises:
        RootNotFoundError: as `discover`.
    """
    seen: set[str] = set()
    for root in roots:
        problem = root_problem(root)
        if problem is not None:
            raise RootNotFoundError(root, problem)
        yield from _Walk(root, seen, is_only_root=len(roots) == 1).runs()


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

    def inside(self, name: str, *, is_link: bool, is_within: bool) -> _Place:
        """Return a folder in it."""
        path = _join(self.path, name)
        if is_link:
            # It may lead to `/`: it is followed, but not far.
            deepest = min(self.deepest, self.depth + 1 + LINKED_DEPTH)
            return _Place(path, os.path.realpath(path), self.depth + 1, deepest, is_within)
        # Asking the kernel for each of a thousand real paths costs more than reading the names.
        real = path if self.real == self.path else _join(self.real, name)
        return _Place(path, real, self.depth + 1, self.deepest, is_within)


class _Walk:
    """Finds the runs below one root."""

    def __init__(self, root: Path, seen: set[str], *, is_only_root: bool) -> None:
        """Pass over the real directories in `seen`, which grows."""
        self._root, self._seen = str(root), seen
        above = self._root if is_only_root else str(root.parent)
        self._below = 0 if above == "." else len(above.rstrip("/")) + 1

    def runs(self) -> Iterator[RunRef]:
        """Yield them, in any order."""
        return self._runs(_Place(self._root, os.path.realpath(self._root)))

    def _runs(self, place: _Place) -> Iterator[RunRef]:
        """Yield the runs in and below a directory, each real directory once."""
        directory, depth = place.path, place.depth
        if place.real in self._seen or depth > place.deepest:
            return
        self._seen.add(place.real)
        if depth and looks_like_run_id(directory.rpartition("/")[2]):
            yield RunRef(directory, native)
            return
        try:
            names, folders = _listed(directory)
        except OSError:
            if not place.is_within:
                yield _odd_ref(directory)
            return
        source = recognise(Path(directory), names)
        if place.is_within and source is not None and is_by_chance(source):
            source = None
        # A root of runs may hold a stray table.
        is_guess = depth == 0 and source is not None and is_by_chance(source)
        is_within = place.is_within or not (source is None or is_guess)
        found_below = False
        for name, is_link in _to_search(directory, names, folders, source, depth):
            for ref in self._runs(place.inside(name, is_link=is_link, is_within=is_within)):
                found_below = True
                yield ref
        if source is not None and not (is_guess and found_below):
            yield RunRef(directory, source, _time_key(directory), self._below)
        elif depth and not names and not place.is_within:
            yield _odd_ref(directory)


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
    if source is native:
        return []
    if source is tensorboard:
        own = tensorboard.folders_of_run(Path(directory), names)
        return [folder for folder in folders if folder[0] not in own]
    if source is None:
        return [folder for folder in folders if may_hold_runs(folder[0], names)]
    if is_by_chance(source):
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


def _odd_ref(directory: str) -> RunRef:
    """An empty or unreadable directory: shown as what it is, not passed over."""
    return RunRef(directory, native, _time_key(directory))


def _time_key(directory: str) -> str:
    """Return when a directory was changed, as ids begin; nothing where its name tells a time."""
    if looks_like_run_id(directory.rpartition("/")[2]):
        return ""
    try:
        modified = Path(directory).stat().st_mtime
    except OSError:
        return UNKNOWN_TIME
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(modified))


def find(wanted: str, root: Path, watch: Watch = unwatched) -> RunRef:
    """Return the run that `wanted` means: a path, an id, a unique prefix or name, or `latest`.

    An id is the directory's name (of another tool's run: its path below the root) or, where none
    matches, the one in `run.json`, W&B's own, or the name that MLflow gave the run. A name is what
    `init(name=…)` put between the id's time and its last letters. `watch` sees how
    far it is.

    Raises:
        RootNotFoundError: the root is not there (and `wanted` is no path).
        RunNotFoundError: no run matches.
        AmbiguousRunError: several runs have that id or name, or ids that begin with it.
    """
    as_path = Path(wanted)
    is_path = os.sep in wanted or wanted in (os.curdir, os.pardir)
    if wanted and as_path.is_dir() and (is_path or not (root / wanted).is_dir()):
        return _named_below(_run_at(as_path, wanted), root)
    if os.sep in wanted and not as_path.exists() and not (root / wanted).exists():
        raise RunNotFoundError(wanted, f"that place: there is no such directory, nor in {root}")
    refs = discover([root], watch)
    if wanted == "latest" and refs:
        return refs[0]
    exact = [ref for ref in refs if wanted in (ref.name, ref.id, path_below(ref, root))]
    names = [ref.name for ref in refs]
    matches = exact or _named(wanted, zip(names, refs, strict=True))
    matches = matches or [ref for ref in refs if wanted and name_in(ref.name) == wanted]
    if not matches and wanted:
        # Documents are opened only now: most runs are asked for by their directory's name.
        ids = [recorded_name(ref) for ref in watch(refs, "reading ids", len(refs))]
        matches = _named(wanted, zip(ids, refs, strict=True))
        names = list(dict.fromkeys(filter(None, names + ids)))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise AmbiguousRunError(wanted, str(root), [path_below(ref, root) for ref in matches])
    raise RunNotFoundError(wanted, str(root), _near(wanted, names))


def _named(wanted: str, named: Iterable[tuple[str, RunRef]]) -> list[RunRef]:
    """Return the runs of exactly that name, or else those whose names begin with it."""
    begun = [(name, ref) for name, ref in named if wanted and name.startswith(wanted)]
    return [ref for name, ref in begun if name == wanted] or [ref for _, ref in begun]


def name_in(run_id: str) -> str:
    """Return `digits` of `20261120-141502-digits-2ck3x9qa`."""
    return "-".join(run_id.split("-")[2:-1])


def path_below(ref: RunRef, root: Path) -> str:
    """Return the path of a run's directory from the root in which it was found."""
    return str(ref.path.relative_to(root))


def _run_at(path: Path, wanted: str) -> RunRef:
    problem = root_problem(path)
    if problem is not None:
        raise RootNotFoundError(path, problem)
    names = os.listdir(path)
    if not names:
        return _odd_ref(str(path))
    # Nothing is searched: it may be the whole disk. A table among runs is one for who names it.
    source = recognise(path, names)
    if source is None:
        searched = f"that directory ({looked_for()} were looked for{unread(path)})"
        raise RunNotFoundError(wanted, searched)
    return RunRef(str(path), source, _time_key(str(path)))


def _named_below(ref: RunRef, root: Path) -> RunRef:
    """Return a run with the id that it has in the list of its root."""
    before = f"{root}/"
    return replace(ref, below=len(before)) if ref.place.startswith(before) else ref


def _near(wanted: str, names: Sequence[str]) -> list[str]:
    """Return up to three ids that hold the text or are spelled like it."""
    holding = [name for name in names if wanted and wanted.lower() in name.lower()]
    return (holding or difflib.get_close_matches(wanted, names, n=3, cutoff=0.5))[:3]
