"""A sweep: one command, or function, and its cells, each a set of parameters and a run directory.

It is known by its command, the directory that is started in, and its cells, so that the same call
finds it again. What is known of it stands in `sweep.json`; how far its cells are, in their runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from runstore.console import say
from runstore.environment.facts import code, user_name
from runstore.errors import SweepError, UnusableDirectoryError
from runstore.files.atomic import write_document
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.paths import RunPaths, SweepPaths, slugify
from runstore.files.records import (
    FORMAT,
    RecordError,
    check_format,
    decode_document,
    without_surrogates,
)
from runstore.files.regular import read_regular
from runstore.launch.run_document import document_bytes
from runstore.metrics.values import as_json
from runstore.redaction.redact import redact_command, redact_params
from runstore.sweeps.grids import Params
from runstore.sweeps.placeholders import as_text, check, filled
from runstore.text import command_line, printable

ID_CHARS = 80
"""The most of a cell's id: screens are narrow, and file names have at most 255 bytes."""
DIGEST_CHARS = 6
LOCK_WAIT_S = 10.0
SUBMIT_WAIT_S = 600.0
"""So long may another call need for its jobs: Slurm takes some seconds for each array."""
_RUNNERS = re.compile(r"(?:python[0-9.]*|torchrun|accelerate|sh|bash|srun|uv|env)")


@dataclass(frozen=True, slots=True)
class Cell:
    """One set of parameters, and its run."""

    id: str
    """Readable, and no other cell's: the name of its run directory."""
    params: Params
    """As JSON has them; what the cell is known by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What `sweep.json` says."""

    path: Path
    """The directory of the sweep, as the user names it; it may not be there yet."""
    name: str
    """The user's words; empty where there are none."""
    created: float
    """Unix seconds, UTC."""
    cells: tuple[Cell, ...]
    command: tuple[str, ...] = ()
    """With placeholders; empty for a function."""
    function: str = ""
    """`module:name`, for the sweep of a function."""
    cwd: str = ""
    """Where the command is started."""
    user: str = ""
    host: str = ""
    search: Mapping[str, Any] | None = None
    """What is searched, and for what, where the cells are not all known beforehand."""
    slurm: Mapping[str, Any] | None = None
    """What Slurm was asked for, and the jobs."""

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.name

    def cell(self, cell_id: str) -> Cell:
        """Return the cell of that id.

        Raises:
            SweepError: there is none.
        """
        for cell in self.cells:
            if cell.id == cell_id:
                return cell
        raise SweepError(f"{self.path}: the sweep has no cell {cell_id!r}")

    def run_dir(self, cell: Cell) -> Path:
        """Return a cell's run directory."""
        return SweepPaths(self.path).cell(cell.id)

    def command_of(self, cell: Cell) -> list[str]:
        """Return a cell's command: the placeholders filled."""
        return filled(self.command, cell.params)

    def with_cells(self, params: Iterable[Mapping[str, Any]]) -> Sweep:
        """Return the sweep with cells for these sets, too, where it has none."""
        cells = {key_of(cell.params): cell for cell in self.cells}
        taken = {cell.id.casefold() for cell in self.cells}
        for one in params:
            plain: Params = as_json(one)
            key = key_of(plain)
            if key not in cells:
                cells[key] = Cell(_cell_id(plain, taken), plain)
                taken.add(cells[key].id.casefold())
        return replace(self, cells=tuple(cells.values()))


def key_of(params: Mapping[str, Any]) -> str:
    """Return what two equal sets of parameters have in common, whatever their order."""
    return orjson.dumps(params, option=orjson.OPT_SORT_KEYS).decode()


def plan(
    command: Sequence[str],
    cells: Sequence[Mapping[str, Any]],
    *,
    root: Path,
    name: str | None = None,
    function: str = "",
    search: Mapping[str, Any] | None = None,
) -> Sweep:
    """Return the sweep of a command, or a function, over cells; nothing is written.

    Where there is one of that name already, or of the same command and cells, it is that one, with
    the cells that it has not yet.

    Args:
        command: with placeholders; started in the current directory.
        cells: the sets of parameters.
        root: the directory of runs.
        name: a few words for people, and the name of the sweep's directory.
        function: `module:name`, instead of a command.
        search: what is searched, instead of cells.

    Raises:
        SweepError: the command has an unknown placeholder, holds a secret, or bytes that JSON has
            not; the name is that of a sweep of another command, or of something else.
    """
    cwd = str(Path.cwd())
    if command:
        _refuse_bytes(command, cells, cwd)
    new = Sweep(
        path=root,
        name=name or "",
        created=time.time(),
        cells=(),
        command=tuple(command),
        function=function,
        cwd=without_surrogates(cwd),
        user=user_name(),
        host=socket.gethostname(),
        search=search,
    ).with_cells(cells)
    _refuse_secrets(new)
    new = replace(new, path=root / _directory(new))
    for names in [search["space"]] if search else [cell.params for cell in new.cells]:
        check(command, names)
    if not os.path.lexists(new.path):
        return new
    found = _found(new)
    return new if found is None else found.with_cells(cell.params for cell in new.cells)


def _directory(sweep: Sweep) -> str:
    if sweep.name:
        slug = slugify(sweep.name)
        if not slug:
            raise SweepError(f"--name {sweep.name!r} has no letter or digit for a directory's name")
        return slug
    identity = [sweep.command, sweep.function, sweep.cwd]
    # A search is known by its space: its cells come as it goes.
    cells = [] if sweep.search else sorted(key_of(cell.params) for cell in sweep.cells)
    whole = orjson.dumps([identity, cells, sweep.search], option=orjson.OPT_SORT_KEYS)
    return f"{_stem(sweep)}-{_digest(whole)}"


def _stem(sweep: Sweep) -> str:
    """Return what the sweep runs, in a word: `train` of `python train.py --lr {lr}`."""
    if sweep.function:
        return slugify(sweep.function.rpartition(":")[2], limit=30) or "sweep"
    words = [Path(word).name for word in sweep.command]
    script = next((word for word in words if word.endswith(".py")), None)
    script = script or next((word for word in words if _is_telling(word)), words[0])
    return slugify(script.removesuffix(".py"), limit=30) or "sweep"


def _is_telling(word: str) -> bool:
    """Tell whether a word of a command says what it is about: no runner, option or code."""
    return not (_RUNNERS.fullmatch(word) or word.startswith("-") or re.search(r"[\s{]", word))


def _found(new: Sweep) -> Sweep | None:
    """Return the sweep that is there, if it is the same one; None where there is nothing yet."""
    if not SweepPaths(new.path).document.exists():
        names = [name for name in _names(new.path) if not name.startswith(".")]
        if not names:
            return None
        raise SweepError(
            f"{new.path} is there, and is no sweep ({names[0]} is in it); give another --name"
        )
    found = load(new.path)
    for what, before, now in (
        ("command", found.command, new.command),
        ("function", found.function, new.function),
        ("directory", found.cwd, new.cwd),
        ("search", found.search, new.search),
    ):
        if before != now:
            raise SweepError(
                f"{new.path} is the sweep of another {what} ({_shown(before)}, not "
                f"{_shown(now)}); give another --name"
            )
    return found


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except NotADirectoryError:
        raise SweepError(f"{directory} is there, and is a file; give another --name") from None


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return command_line(value) or "none"
    return str(value or "none")


def _refuse_bytes(command: Sequence[str], cells: Iterable[Mapping[str, Any]], cwd: str) -> None:
    """What is no UTF-8 would be another command, or directory, when it is read from JSON."""
    values = (value for cell in cells for value in cell.values() if isinstance(value, str))
    for what, text in (
        ("directory", cwd),
        *(("command", word) for word in command),
        *(("value", value) for value in values),
    ):
        if without_surrogates(text) != text:
            raise SweepError(
                f"the {what} {printable(text)} is no UTF-8, and a sweep is kept in a file of JSON; "
                "give it another name"
            )


def _refuse_secrets(sweep: Sweep) -> None:
    """A sweep's command and cells are kept in files, and started from them."""
    for cell in sweep.cells:
        if redact_params(cell.params) != cell.params:
            secret = next(k for k, v in cell.params.items() if redact_params({k: v}) != {k: v})
            raise _holds_secret(f"the parameter {secret}")
    if redact_command(sweep.command) != list(sweep.command):
        raise _holds_secret("the command")


def _holds_secret(what: str) -> SweepError:
    return SweepError(
        f"{what} looks like a secret, and a sweep is kept in a file; have the script read it from "
        "an environment variable"
    )


def _cell_id(params: Params, taken: set[str]) -> str:
    """Return `lr=0.001,epochs=10`; with a digest where that is long, was changed, or is taken."""
    whole = ",".join(f"{name}={as_text(value)}" for name, value in params.items())
    ascii_text = unicodedata.normalize("NFKD", whole).encode("ascii", "ignore").decode()
    # As `_safe` has it: Hydra's `+lr` begins with a sign.
    name = re.sub(r"[^A-Za-z0-9_.+=,-]+", "-", ascii_text).lstrip("-.+=,")
    # A case-insensitive file system takes `Adam` for `adam`.
    if name == whole and 0 < len(name) <= ID_CHARS and name.casefold() not in taken:
        return name
    digest = hashlib.sha256(key_of(params).encode()).hexdigest()
    # Of ten thousand cells with one long beginning, two are likely to have the same first digits.
    longer = (_shortened(name, digest[:count]) for count in range(DIGEST_CHARS, len(digest) + 1))
    return next(cell_id for cell_id in longer if cell_id.casefold() not in taken)


def _shortened(name: str, digest: str) -> str:
    return f"{name[: ID_CHARS - len(digest) - 1].rstrip('-.,=+') or 'cell'}-{digest}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_CHARS]


# ---- sweep.json ----------------------------------------------------------------------------------


def load(sweep_dir: Path) -> Sweep:
    """Return the sweep in a directory.

    Raises:
        SweepError: there is none, or its `sweep.json` cannot be read.
        FormatError: a newer version wrote it.
    """
    path = SweepPaths(sweep_dir).document
    try:
        document = decode_document(read_regular(path, DOCUMENT_BYTES), DOCUMENT_BYTES)
    except FileNotFoundError:
        raise SweepError(f"{sweep_dir} is no sweep: it has no {path.name}") from None
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}") from None
    except RecordError as error:
        raise SweepError(f"{path} is damaged: {error}") from None
    check_format(path, document)
    try:
        return _sweep(sweep_dir, document)
    except (KeyError, TypeError, ValueError) as error:
        raise SweepError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _sweep(path: Path, document: Mapping[str, Any]) -> Sweep:
    cells = tuple(Cell(_safe(cell["id"]), dict(cell["params"])) for cell in document["cells"])
    return Sweep(
        path=path,
        name=str(document.get("name", "")),
        created=float(document["created"]),
        cells=cells,
        command=tuple(str(word) for word in document.get("command", ())),
        function=str(document.get("function", "")),
        cwd=str(document.get("cwd", "")),
        user=str(document.get("user", "")),
        host=str(document.get("host", "")),
        search=document.get("search"),
        slurm=document.get("slurm"),
    )


def _safe(cell_id: object) -> str:
    """A `sweep.json` may come from anywhere, and an id is made into a path."""
    if not isinstance(cell_id, str) or not re.fullmatch(r"[A-Za-z0-9_][\w.+=,-]*", cell_id):
        raise ValueError(f"{cell_id!r} is no id of a cell")
    return cell_id


def write(sweep: Sweep) -> Sweep:
    """Write `sweep.json`, and the `run.json` of cells that have none: these are planned runs.

    Another process may have added cells meanwhile; those stay.

    Returns:
        The sweep as it is on disk now.

    Raises:
        UnusableDirectoryError: it cannot be written there.
        SweepError: it is too large for a document.
    """
    try:
        sweep.path.mkdir(parents=True, exist_ok=True)
        with lock(sweep):
            return _write(sweep)
    except OSError as error:
        raise UnusableDirectoryError(sweep.path, error) from error


def extended(sweep: Sweep, choose: Callable[[Sweep], Params | None]) -> tuple[Sweep, Cell | None]:
    """Add a cell to a sweep on disk, which `choose` chooses when it is told what there is.

    Returns:
        The sweep as it is on disk now, and the new cell; None where `choose` had none.

    Raises:
        UnusableDirectoryError: it cannot be written there.
        SweepError: what is there is damaged, or too large.
    """
    try:
        with lock(sweep):
            found = load(sweep.path)
            params = choose(found)
            if params is None:
                return found, None
            longer = _write(found.with_cells([params]))
            return longer, longer.cells[-1]
    except OSError as error:
        raise UnusableDirectoryError(sweep.path, error) from error


def _write(sweep: Sweep) -> Sweep:
    path = SweepPaths(sweep.path).document
    if path.exists():
        before = load(sweep.path)
        merged = before.with_cells(cell.params for cell in sweep.cells)
        sweep = replace(merged, slurm=sweep.slurm or before.slurm)
        is_new = sweep != before
    else:
        is_new = True
    if is_new:
        data = document_bytes(_document(sweep))
        if len(data) > DOCUMENT_BYTES:
            raise SweepError(f"{path} would have {len(data):,} bytes; {DOCUMENT_BYTES:,} at most")
        write_document(path, data)
    for cell in sweep.cells:
        _plan_run(sweep, cell)
    return sweep


def _document(sweep: Sweep) -> dict[str, Any]:
    known = {
        "format": FORMAT,
        "name": sweep.name,
        "created": sweep.created,
        "command": list(sweep.command),
        "function": sweep.function,
        "cwd": sweep.cwd,
        "user": sweep.user,
        "host": sweep.host,
        "search": sweep.search,
        "slurm": sweep.slurm,
        "cells": [{"id": cell.id, "params": cell.params} for cell in sweep.cells],
    }
    always = ("format", "name", "created", "cells")
    document: dict[str, Any] = as_json({k: v for k, v in known.items() if v or k in always})
    return document


def _plan_run(sweep: Sweep, cell: Cell) -> None:
    """Write a cell's `run.json`, so that it is listed from now on, with its parameters."""
    run_dir = sweep.run_dir(cell)
    path = RunPaths(run_dir).document
    if path.exists():
        return
    run_dir.mkdir(exist_ok=True)
    document = {
        "format": FORMAT,
        "id": cell.id,
        "name": "",
        "created": time.time(),
        "params": cell.params,
        "tags": [],
        "user": sweep.user,
        "git": code(Path(sweep.cwd)).facts or None if sweep.cwd else None,
    }
    if sweep.command:
        command = sweep.command_of(cell)
        document |= {"command": command, "command_redacted": False, "cwd": sweep.cwd}
    write_document(path, document_bytes(as_json(document)), durable=False)


@contextmanager
def lock(sweep: Sweep) -> Iterator[None]:
    """Keep others from changing `sweep.json`, as far as the file system has locks."""
    descriptor = _open_lock(sweep)
    try:
        _has_locked(descriptor, LOCK_WAIT_S)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


@contextmanager
def submitting(sweep: Sweep) -> Iterator[None]:
    """Keep others from submitting cells of a sweep too, as far as the file system has locks.

    Raises:
        SweepError: another call has been at it for so long that it may be stuck.
        OSError: the directory takes no file.
    """
    descriptor = _open_lock(sweep)
    try:
        if not _has_locked(descriptor, LOCK_WAIT_S):
            say(f"runstore: another call is submitting cells of {sweep.path}: waiting for it")
            if not _has_locked(descriptor, SUBMIT_WAIT_S):
                raise SweepError(
                    f"another call is submitting cells of {sweep.path}, and does not come to its "
                    "end; nothing was submitted"
                )
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _open_lock(sweep: Sweep) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(SweepPaths(sweep.path).lock, flags, 0o666)


def _has_locked(descriptor: int, wait_s: float) -> bool:
    """Wait for the lock; tell whether it is ours now, or the file system has none."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return True
    return False
