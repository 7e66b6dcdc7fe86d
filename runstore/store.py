"""Roots of runs: find them, newest first, and the one that somebody means.

A root holds no index. Runs are found by walking: into folders, but not into a run.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from runstore.errors import AmbiguousRunError, RootNotFoundError, RunNotFoundError
from runstore.limits import LINKED_DEPTH
from runstore.paths import id_order, looks_like_run_id
from runstore.sources import RunRef, Source, native, recognise

MAX_DEPTH = 12
"""Folders nested deeper than this are not searched."""


def discover(roots: Sequence[Path]) -> list[RunRef]:
    """Return the runs below some roots, newest first; a root may be a run itself.

    Raises:
        RootNotFoundError: a root is not there, is a file, or may not be read.
    """
    refs: list[RunRef] = []
    seen: set[str] = set()
    for root in roots:
        problem = root_problem(root)
        if problem is not None:
            raise RootNotFoundError(root, problem)
        refs.extend(_walk(root, os.path.realpath(root), seen, 0))
    return sorted(refs, key=lambda ref: (ref.sort_key, ref.name), reverse=True)


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


def _walk(
    directory: Path, real: str, seen: set[str], depth: int, deepest: int = MAX_DEPTH
) -> Iterator[RunRef]:
    """Yield the runs in and below a directory, each real directory once."""
    if real in seen or depth > deepest:
        return
    seen.add(real)
    if depth and looks_like_run_id(directory.name):
        yield RunRef(directory, native, id_order(directory.name))
        return
    try:
        with os.scandir(directory) as listing:
            entries = list(listing)
    except OSError:
        yield _odd_ref(directory)
        return
    source = recognise(directory, [entry.name for entry in entries])
    below = [
        ref
        for entry in _folders(entries, source, depth)
        # Asking the kernel for each of a thousand real paths costs more than reading the names.
        for ref in _walk(
            directory / entry.name,
            os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}",
            seen,
            depth + 1,
            # A link may lead to `/`: it is followed, but not far.
            min(deepest, depth + 1 + LINKED_DEPTH) if entry.is_symlink() else deepest,
        )
    ]
    if source is not None and not (depth == 0 and below):
        yield RunRef(directory, source, _sort_key(directory))
    elif depth and not entries:
        yield _odd_ref(directory)
    yield from below


def _folders(
    entries: Sequence[os.DirEntry[str]], source: Source | None, depth: int
) -> list[os.DirEntry[str]]:
    """Return the entries to search in.

    None inside a run; but one stray `*.jsonl` (an export, say) makes a folder of runs look like a
    run of plain lines, and must not hide what is below it. A root that has runs below is no run.
    """
    if source is native:
        return []
    folders = [e for e in entries if not e.name.startswith(".") and _is_directory(e)]
    if source is None or depth == 0:
        return folders
    return [e for e in folders if looks_like_run_id(e.name)]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """A link that leads to itself is no reason to lose sight of its neighbours."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _odd_ref(directory: Path) -> RunRef:
    """An empty or unreadable directory: shown as what it is, not passed over."""
    return RunRef(directory, native, _sort_key(directory))


def _sort_key(directory: Path) -> str:
    if looks_like_run_id(directory.name):
        return id_order(directory.name)
    try:
        modified = directory.stat().st_mtime
    except OSError:
        return ""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(modified))


def find(wanted: str, root: Path) -> RunRef:
    """Return the run that `wanted` means: a path, an id, a unique prefix or name, or `latest`.

    An id is the directory's name or, where none matches, the one in `run.json`. A name is what
    `init(name=…)` put between the id's time and its last letters.

    Raises:
        RootNotFoundError: the root is not there (and `wanted` is no path).
        RunNotFoundError: no run matches.
        AmbiguousRunError: several runs have that id or name, or ids that begin with it.
    """
    as_path = Path(wanted)
    if wanted and as_path.is_dir() and (os.sep in wanted or not (root / wanted).is_dir()):
        return _run_at(as_path, wanted)
    if os.sep in wanted and not as_path.exists() and not (root / wanted).exists():
        raise RunNotFoundError(wanted, f"that place: there is no such directory, nor in {root}")
    refs = discover([root])
    if wanted == "latest" and refs:
        return refs[0]
    paths = [_short(ref, root) for ref in refs]
    exact = [ref for ref, path in zip(refs, paths, strict=True) if wanted in (ref.name, path)]
    names = [ref.name for ref in refs]
    matches = exact or _named(wanted, zip(names, refs, strict=True))
    matches = matches or [ref for ref in refs if wanted and _name_in(ref.name) == wanted]
    if not matches and wanted:
        # Documents are opened only now: most runs are asked for by their directory's name.
        ids = [_recorded_id(ref) for ref in refs]
        matches = _named(wanted, zip(ids, refs, strict=True))
        names = list(dict.fromkeys(filter(None, names + ids)))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise AmbiguousRunError(wanted, str(root), [_short(ref, root) for ref in matches])
    raise RunNotFoundError(wanted, str(root), _near(wanted, names))


def _named(wanted: str, named: Iterable[tuple[str, RunRef]]) -> list[RunRef]:
    """Return the runs of exactly that name, or else those whose names begin with it."""
    begun = [(name, ref) for name, ref in named if wanted and name.startswith(wanted)]
    return [ref for name, ref in begun if name == wanted] or [ref for _, ref in begun]


def _name_in(run_id: str) -> str:
    """Return `digits` of `20261120-141502-digits-2ck3x9qa`."""
    return "-".join(run_id.split("-")[2:-1])


def _recorded_id(ref: RunRef) -> str:
    """Return the id in a run's document: renamed and copied directories have another name."""
    return native.recorded_id(ref.path) if ref.source is native else ""


def _short(ref: RunRef, root: Path) -> str:
    return str(ref.path.relative_to(root))


def _run_at(path: Path, wanted: str) -> RunRef:
    problem = root_problem(path)
    if problem is not None:
        raise RootNotFoundError(path, problem)
    names = os.listdir(path)
    if not names:
        return _odd_ref(path)
    # What is no run by its own names is not searched: it may be the whole disk.
    refs = discover([path]) if recognise(path, names) is not None else []
    refs = [ref for ref in refs if ref.path == path]
    if not refs:
        raise RunNotFoundError(wanted, f"that directory ({', '.join(_kinds())} were looked for)")
    return refs[0]


def _kinds() -> list[str]:
    return ["run.json", "events-0001.jsonl", "*.jsonl"]


def _near(wanted: str, names: Sequence[str]) -> list[str]:
    """Return up to three ids that hold the text or are spelled like it."""
    holding = [name for name in names if wanted and wanted.lower() in name.lower()]
    return (holding or difflib.get_close_matches(wanted, names, n=3, cutoff=0.5))[:3]
