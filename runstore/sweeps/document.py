"""What is known of a sweep: `sweep.json`, read and written. How far it is, its runs tell."""

from __future__ import annotations

import hashlib
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from runstore.environment.facts import code
from runstore.errors import SweepError, UnusableDirectoryError
from runstore.files.atomic import write_document
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.paths import RunPaths, SweepPaths
from runstore.files.records import FORMAT, RecordError, check_format, decode_document
from runstore.files.regular import read_regular
from runstore.launch.run_document import document_bytes
from runstore.metrics.values import as_json
from runstore.sweeps.grids import Params
from runstore.sweeps.lock import lock
from runstore.sweeps.placeholders import as_text, filled

ID_CHARS = 80
"""The most of a cell's id: screens are narrow, and file names have at most 255 bytes."""
DIGEST_CHARS = 6


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


# ---- read ----------------------------------------------------------------------------------------


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


# ---- written -------------------------------------------------------------------------------------


def write(sweep: Sweep) -> Sweep:
    """Write `sweep.json`, and the `run.json` of cells that have none: these are planned runs.

    Another process may have added cells meanwhile; those stay.

    Returns:
        The sweep as it is on disk now.

    Raises:
        UnusableDirectoryError: it cannot be written there.
        SweepError: it is too large for a document, or another call does not come to its end.
    """
    try:
        sweep.path.mkdir(parents=True, exist_ok=True)
        with lock(sweep.path):
            return _write(sweep)
    except OSError as error:
        raise UnusableDirectoryError(sweep.path, error) from error


def extended(sweep: Sweep, choose: Callable[[Sweep], Params | None]) -> tuple[Sweep, Cell | None]:
    """Add a cell to a sweep on disk, which `choose` chooses when it is told what there is.

    Returns:
        The sweep as it is on disk now, and the new cell; None where `choose` had none.

    Raises:
        UnusableDirectoryError: it cannot be written there.
        SweepError: what is there is damaged, or too large; or another call does not come to its
            end.
    """
    try:
        with lock(sweep.path):
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
