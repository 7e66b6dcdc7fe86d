"""Runs are removed: only whole ones, only dead ones, and nothing but what lies in their directory.

A removal can be killed half-way, and what is left must not pass for a run. So the directory first
gets another name, which nobody takes for a run's, and then loses first what makes it one. The rest
can be removed at any time: `doctor` names it, and so does the next removal beside it.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstore.errors import RemovalError
from runstore.files.atomic import sync_directory
from runstore.files.paths import RunPaths, StreamFile, looks_like_run_id
from runstore.sources import NATIVE, RunRef, open_run
from runstore.sources.glances import ask_scheduler
from runstore.state.run_state import RunState
from runstore.text import shell_word

LEFT = ".removed-"
"""What begins the name of a directory that is being removed: no run is looked for in it."""
_BLOCK_BYTES = 512
"""Of `st_blocks`, whatever the file system (stat(2))."""
_OURS = frozenset(
    (
        *("run.json", "progress.json", "patch.diff", "checkpoints", "samples", "requests"),
        *("notes", "tags", "tensorboard", ".reserve"),
    )
)


@dataclass(slots=True)
class Contents:
    """What lies in a run's directory, links not followed."""

    files: int = 0
    size_bytes: int = 0
    """On the disk; a file with several names in it counts once."""
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    samples: int = 0
    notes: int = 0
    others: list[str] = field(default_factory=list)
    """Names that runstore did not write."""
    problems: list[str] = field(default_factory=list)
    """Directories that cannot be listed, and why."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """A run that may be removed."""

    path: Path
    state: RunState | None
    """None of what an earlier removal has left."""
    contents: Contents

    @property
    def is_left(self) -> bool:
        """Whether it is what an earlier removal has left of a run."""
        return self.state is None


def is_left(path: Path) -> bool:
    """Tell whether a directory is what a removal has left that was interrupted."""
    return path.name.startswith(LEFT) and path.is_dir() and not path.is_symlink()


def left_beside(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield what interrupted removals have left in some folders."""
    for folder in dict.fromkeys(folders):
        try:
            names = [name for name in os.listdir(folder) if name.startswith(LEFT)]
        except OSError:
            continue
        yield from (path for name in sorted(names) if is_left(path := folder / name))


def doomed(ref: RunRef, root: Path, *, even_unknown: bool = False) -> Doomed:
    """Return a run that may be removed, with what would be lost.

    Args:
        ref: the run.
        root: the directory of runs that was looked through for it.
        even_unknown: also one of which nobody can tell from here that it is dead.

    Raises:
        RemovalError: it is alive or may be, another tool's, or reached by a link.
        FormatError: it was written by a newer version.
    """
    _refuse_links(ref.path, root)
    if ref.source is not NATIVE:
        raise RemovalError(ref.path, f"a run of {ref.source.name}, whose files may hold more")
    reader = open_run(ref, patient=False)
    reader.glance()
    ask_scheduler([reader])
    if reader.refused is not None:
        raise reader.refused
    _refuse_what_is_no_run(ref.path, reader.state)
    _refuse_living(reader.state, even_unknown)
    return Doomed(ref.path, reader.state, contents(ref.path))


def doomed_left(path: Path, root: Path) -> Doomed:
    """Return what an interrupted removal has left, to be removed now.

    Raises:
        RemovalError: it is reached by a link.
    """
    _refuse_links(path, root)
    return Doomed(path, None, contents(path))


def _refuse_links(path: Path, root: Path) -> None:
    """Refuse a run that is a link, or lies behind one below the root, which may be one itself."""
    places = [path]
    if path != root and path.is_relative_to(root):
        places += [place for place in path.parents if place != root and place.is_relative_to(root)]
    for place in places:
        if place.is_symlink():
            target = os.path.realpath(place)
            raise RemovalError(path, f"{place} is a link to {target}, and links are not followed")


def _refuse_what_is_no_run(path: Path, state: RunState) -> None:
    """Refuse a directory that has just the name of a run, or a file that any tool may have."""
    names = _names(path)
    has_events = any(StreamFile.parse(name) for name in names)
    has_document = isinstance(state.info.get("id"), str) and "format" in state.info
    is_begun = looks_like_run_id(path.name) and all(map(_is_ours, names))
    if not (has_events or has_document or is_begun):
        raise RemovalError(path, "nothing in it says that runstore wrote it")
    for name in (".git", ".hg", ".svn"):
        if name in names:
            raise RemovalError(path, f"it has a {name}: more than a run")
    here = Path.cwd().resolve()
    if here.is_relative_to(path.resolve()):
        raise RemovalError(path, "the current directory is in it; cd out of it first")


def _refuse_living(state: RunState, even_unknown: bool) -> None:
    status = state.status
    said = ": ".join(filter(None, (status.word, status.reason)))
    if status.is_proven_alive:
        stop = shell_word(RunPaths(state.path).requests / "stop")
        raise RemovalError(state.path, f"it is {said}; to end it: touch {stop}")
    if status.alive and not even_unknown:
        raise RemovalError(
            state.path, f"it is {said}, and may be alive; --even-unknown removes it all the same"
        )


# ---- what would be lost ------------------------------------------------------------------------


def contents(run_dir: Path) -> Contents:
    """Return what lies in a directory, without following a link."""
    found = Contents()
    inodes: set[tuple[int, int]] = set()
    paths = RunPaths(run_dir)
    kinds = {paths.checkpoints.name: "checkpoints", paths.samples.name: "samples"}
    kinds[paths.notes.name] = "notes"

    def note_problem(error: OSError) -> None:
        found.problems.append(f"{error.filename}: {(error.strerror or str(error)).lower()}")

    for folder, _, files, folder_fd in os.fwalk(run_dir, onerror=note_problem):
        below = Path(folder).relative_to(run_dir).parts
        kind = kinds.get(below[0], "") if below else ""
        for name in files:
            try:
                status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except OSError:
                continue
            _count(found, kind, name, status, inodes)
    found.others = sorted(name for name in _names(run_dir) if not _is_ours(name))
    return found


def _count(
    found: Contents, kind: str, name: str, status: os.stat_result, inodes: set[tuple[int, int]]
) -> None:
    found.files += 1
    key = status.st_dev, status.st_ino
    size = 0 if key in inodes else status.st_blocks * _BLOCK_BYTES
    inodes.add(key)
    found.size_bytes += size
    if kind == "checkpoints" and name.endswith(".pt") and stat.S_ISREG(status.st_mode):
        # `best.pt` is another name of one of them.
        found.checkpoints += name != RunPaths(Path()).best_checkpoint.name
        found.checkpoint_bytes += size
    elif kind == "samples":
        found.samples += 1
    elif kind == "notes" and name.endswith(".json"):
        found.notes += 1


def _is_ours(name: str) -> bool:
    is_output = name.startswith("output.") and name.endswith(".log")
    is_stream = StreamFile.parse(name) is not None or ".jsonl.torn" in name
    is_mirror = name.startswith("events.out.tfevents.")
    return name in _OURS or is_output or is_stream or is_mirror or name.startswith(".")


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise RemovalError(directory, (error.strerror or str(error)).lower()) from error


# ---- removing ----------------------------------------------------------------------------------


def remove(one: Doomed, *, even_unknown: bool = False) -> None:
    """Remove a run.

    Raises:
        RemovalError: it has come alive meanwhile, or cannot be removed, or not wholly: then what is
            left no longer passes for a run.
    """
    aside = one.path if one.is_left else _set_aside(one.path)
    if not one.is_left:
        try:
            _refuse_revived(aside, even_unknown)
        except RemovalError as error:
            aside.rename(one.path)
            raise RemovalError(one.path, error.why) from None
    problems: list[str] = []
    _lose_identity(aside, problems)

    def note(_: Callable[..., object], path: str, error: BaseException) -> None:
        why = error.strerror if isinstance(error, OSError) else None
        problems.append(f"{path}: {(why or str(error)).lower()}")

    _remove_tree(aside, note)
    if os.path.lexists(aside):
        why = problems[0] if problems else "something is still in it"
        raise RemovalError(
            one.path, f"not wholly; what is left is {aside}, which is no run any more ({why})"
        )


def _set_aside(path: Path) -> Path:
    """Give a run's directory a name beside it that is none of a run, durably."""
    for number in range(1000):
        aside = path.with_name(f"{LEFT}{path.name}{f'.{number}' if number else ''}")
        if os.path.lexists(aside):
            continue
        try:
            path.rename(aside)
            sync_directory(path.parent)
        except OSError as error:
            raise RemovalError(path, f"{(error.strerror or str(error)).lower()}") from error
        return aside
    raise RemovalError(path, f"1,000 removals beside it were interrupted; remove {LEFT}* first")


def _refuse_revived(aside: Path, even_unknown: bool) -> None:
    """Refuse a run that was started again since it was looked at: it writes where it is now."""
    reader = open_run(RunRef(str(aside), NATIVE), patient=False)
    reader.glance()
    _refuse_living(reader.state, even_unknown)


def _lose_identity(aside: Path, problems: list[str]) -> None:
    """Remove what makes a directory a run first, so that no half of one is taken for a run."""
    try:
        directory = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        problems.append(f"{aside}: {(error.strerror or str(error)).lower()}")
        return
    try:
        for name in sorted(os.listdir(directory), key=_is_identity, reverse=True):
            if not _is_identity(name):
                break
            try:
                os.unlink(name, dir_fd=directory)
            except OSError as error:
                problems.append(f"{aside / name}: {(error.strerror or str(error)).lower()}")
    finally:
        os.close(directory)


def _is_identity(name: str) -> bool:
    file = StreamFile.parse(name)
    return name == RunPaths(Path()).document.name or (
        file is not None and file.stream in ("events", "exec")
    )


def _remove_tree(
    path: Path, note: Callable[[Callable[..., object], str, BaseException], None]
) -> None:
    """Remove a directory; `shutil.rmtree` enters no link, also when one takes a folder's place."""
    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=note)
    else:
        shutil.rmtree(path, onerror=lambda function, name, error: note(function, name, error[1]))
