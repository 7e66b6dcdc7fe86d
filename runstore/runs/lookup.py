"""The run that somebody means: by a path, an id, a name, or as a list of runs prints it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from runstore.errors import (
    AmbiguousRunError,
    FolderOfRunsError,
    RootNotFoundError,
    RunNotFoundError,
)
from runstore.files.paths import is_hex_id, listed_name
from runstore.runs.store import (
    LOOKING,
    discover,
    name_in,
    odd_ref,
    path_below,
    root_problem,
    sort_newest_first,
    time_key,
    walk,
)
from runstore.sources import RunRef, looked_for, recognise, recorded_name, unread
from runstore.text import printable
from runstore.watching import Watch, unwatched

LOOKED_BELOW = 1000
"""Directories that are looked at below one that is no run: it may be the whole disk."""
LEVELS_ABOVE = 4
"""Folders around a file of which one may be its run: MLflow's metrics may have folders in names."""


class _Asked(NamedTuple):
    """What somebody asks for."""

    text: str
    root: Path
    watch: Watch
    around: bool


def find(wanted: str, root: Path, watch: Watch = unwatched, *, around: bool = True) -> RunRef:
    """Return the run that `wanted` means: a path, an id, a unique prefix or name, or `latest`.

    An id is the directory's name (of another tool's run: its path below the root) or, where none
    matches, the one in `run.json`, W&B's own, or the name that MLflow gave the run, also with the
    beginning of its id behind it, as lists print it. A name is what `init(name=…)` put between the
    id's time and its last letters. A path may also lead to a file of the run, or to a directory
    with just that run below.

    Args:
        wanted: what was asked for.
        root: where to look for ids and names.
        watch: who sees how far it is.
        around: whether a path may lead to a file, or to a directory with one run below. Who writes
            takes no run but the one that was named.

    Raises:
        RootNotFoundError: the root is not there (and `wanted` is no path).
        RunNotFoundError: no run matches.
        AmbiguousRunError: several runs have that id or name, ids that begin with it, or lie below.
    """
    asked = _Asked(wanted, root, watch, around)
    place = _place(wanted, root)
    if place is not None:
        ref = _run_at(place, asked) if place.is_dir() else _run_of_file(place, asked)
        return _named_below(ref, root)
    if os.sep in wanted and not (root / wanted).exists():
        raise RunNotFoundError(wanted, f"that place: there is no such directory, nor in {root}")
    try:
        return _by_name(asked)
    except (RootNotFoundError, RunNotFoundError):
        # A name of a run goes before that of a file that happens to lie here.
        if around and wanted and Path(wanted).is_file():
            return _named_below(_run_of_file(Path(wanted), asked), root)
        raise


def _place(wanted: str, root: Path) -> Path | None:
    """Return the directory or file that is meant by its path, if one is."""
    path, below = Path(wanted), root / wanted
    is_path = os.sep in wanted or wanted in (os.curdir, os.pardir)
    if wanted and path.is_dir() and (is_path or not below.is_dir()):
        return path
    if not is_path:
        return None
    return next((file for file in (path, below) if file.is_file()), None)


def _by_name(asked: _Asked) -> RunRef:
    wanted, root, watch, _ = asked
    problem = root_problem(root)
    if problem is not None:
        raise RootNotFoundError(root, problem, wanted)
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
        matches = _named(wanted, zip(ids, refs, strict=True)) or _listed(wanted, ids, refs)
        lists = [listed_name(name, ref.name) for name, ref in zip(ids, refs, strict=True)]
        names = list(dict.fromkeys(filter(None, names + lists + ids)))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise AmbiguousRunError(wanted, str(root), [path_below(ref, root) for ref in matches])
    raise RunNotFoundError(wanted, str(root), near(wanted, names))


def _named(wanted: str, named: Iterable[tuple[str, RunRef]]) -> list[RunRef]:
    """Return the runs of exactly that name, or else those whose names begin with it."""
    begun = [(name, ref) for name, ref in named if wanted and name.startswith(wanted)]
    return [ref for name, ref in begun if name == wanted] or [ref for _, ref in begun]


def _listed(wanted: str, names: Sequence[str], refs: Sequence[RunRef]) -> list[RunRef]:
    """Return the runs that a list prints so: their name, and the beginning of their id."""
    pairs = zip(names, refs, strict=True)
    named = ((name, ref) for name, ref in pairs if name and is_hex_id(ref.name))
    return _named(wanted, ((printable(f"{name} {ref.name}"), ref) for name, ref in named))


def _run_at(path: Path, asked: _Asked) -> RunRef:
    problem = root_problem(path)
    if problem is not None:
        raise RootNotFoundError(path, problem)
    names = os.listdir(path)
    if not names:
        return odd_ref(str(path))
    # A table among runs is one for who names its folder.
    source = recognise(path, names)
    if source is None:
        return _only_run_below(path, asked)
    return RunRef(str(path), source, time_key(str(path)))


def _only_run_below(path: Path, asked: _Asked) -> RunRef:
    seen: set[str] = set()
    refs = list(asked.watch(walk([path], seen=seen, most=LOOKED_BELOW), LOOKING))
    is_all = len(seen) < LOOKED_BELOW
    if len(refs) == 1 and is_all and asked.around:
        return refs[0]
    if refs:
        sort_newest_first(refs, lambda ref: ref)
        raise FolderOfRunsError(asked.text, [ref.place for ref in refs], is_all=is_all)
    below = "" if is_all else f", also in the first {LOOKED_BELOW:,} folders below it"
    searched = f"that directory ({looked_for()} were looked for{below}{unread(path)})"
    raise RunNotFoundError(asked.text, searched)


def _run_of_file(file: Path, asked: _Asked) -> RunRef:
    """Return the run to which a file belongs."""
    for level, folder in enumerate(islice(file.parents, LEVELS_ABOVE)):
        try:
            source = recognise(folder, os.listdir(folder))
        except OSError:
            break
        # What lies in a folder below a stray table has nothing to do with it.
        if source is None or (level and source.is_by_chance):
            continue
        ref = RunRef(str(folder), source, time_key(str(folder)))
        if asked.around:
            return ref
        searched = f"that place: it is a file of the run {ref.place}, which is to be named"
        raise RunNotFoundError(asked.text, searched, [ref.place])
    raise RunNotFoundError(asked.text, "that place: it is a file, and of no run that is known")


def _named_below(ref: RunRef, root: Path) -> RunRef:
    """Return a run with the id that it has in the list of its root."""
    before = f"{root}/"
    return replace(ref, below=len(before)) if ref.place.startswith(before) else ref


def near(wanted: str, names: Sequence[str]) -> list[str]:
    """Return up to three names that hold the text or are spelled like it."""
    holding = [name for name in names if wanted and wanted.lower() in name.lower()]
    return (holding or difflib.get_close_matches(wanted, names, n=3, cutoff=0.5))[:3]
