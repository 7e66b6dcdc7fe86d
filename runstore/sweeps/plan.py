"""From a call to its sweep: the same command, or function, and cells are the same sweep again.

It is known by its command, the directory that is started in, and its cells.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from runstore.environment.facts import user_name
from runstore.errors import SweepError
from runstore.files.paths import SweepPaths, slugify
from runstore.files.records import without_surrogates
from runstore.redaction.redact import redact_command, redact_params
from runstore.sweeps.document import DIGEST_CHARS, Sweep, key_of, load
from runstore.sweeps.placeholders import check
from runstore.text import command_line, printable

_RUNNERS = re.compile(r"(?:python[0-9.]*|torchrun|accelerate|sh|bash|srun|uv|env)")


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
    return f"{_stem(sweep)}-{hashlib.sha256(whole).hexdigest()[:DIGEST_CHARS]}"


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
