"""What the user finds again: a session for each set of roots, in one small file of the user's own.

Two monitors may write it at the same time: each reads it anew, changes its own set, and puts the
whole in place of the old one, while it holds a lock. Nothing of it is ever worth a failure: what
cannot be read or written is told in one note.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from runstore.files.atomic import write_document
from runstore.files.regular import why_unreadable

from .session import Session
from .views import NAMES

VERSION = 1
MOST_SETS = 100
"""Sets of roots that are remembered; the one that was used longest ago goes first."""
MOST_ITEMS = 200
"""Of a list, such as the marks: the first ones."""
LONGEST_TEXT = 4096
MOST_BYTES = 8 << 20
LOCK_S = 0.5
"""How long a save waits for that of another monitor."""

Document = dict[str, Any]
_DAMAGED = "is damaged, and begun anew"


class Memory:
    """The sessions of one user."""

    def __init__(self, path: Path | None, roots: Sequence[Path]) -> None:
        """Remember the session of `roots` in the file at `path`; with None, nothing."""
        self.path = path
        self.note = ""
        """What is wrong with the file, in a few words."""
        self._paths = _RealPaths(roots)
        self._may_write = path is not None
        self._written: Session | None = None

    def load(self) -> Session:
        """Return what was chosen for these roots the last time; defaults where nothing is known."""
        found = self._find(self._read(told=True))
        session = _session(found, self._paths)
        self._written = _copy(session)
        return session

    def save(self, session: Session) -> None:
        """Write what is chosen now, unless that is what was written last; never raises."""
        if not self._may_write or session == self._written:
            return
        assert self.path is not None
        wanted = _copy(session)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path.with_name(f".{self.path.name}.lock")):
                data = self._with(self._read(told=False), wanted)
                if data is not None:
                    write_document(self.path, data, durable=False)
        except OSError as error:
            self._may_write = False
            self.note = f"what you choose is not kept: {why_unreadable(error)}: {self.path}"
        self._written = wanted

    def _read(self, *, told: bool) -> Document:
        """Return the document; an empty one where there is none, or none that can be used."""
        if self.path is None:
            return {}
        document: Any = None
        try:
            with self.path.open("rb") as file:
                document = json.loads(file.read(MOST_BYTES + 1))
            problem = _problem(document)
        except FileNotFoundError:
            return {}
        except OSError as error:
            problem = f"cannot be read: {why_unreadable(error)}"
        except (ValueError, RecursionError):
            problem = _DAMAGED
        if problem and told:
            self.note = f"{self.path}: {problem}"
        # What may not be read, or is of a newer version, is not replaced either.
        self._may_write = self._may_write and problem in ("", _DAMAGED)
        return {} if problem else document

    def _find(self, document: Document) -> Mapping[str, Any]:
        sets = (one for one in document.get("sets", ()) if isinstance(one, dict))
        return next((one for one in sets if one.get("roots") == self._paths.real), {})

    def _with(self, document: Document, session: Session) -> bytes | None:
        """Return the document with this session in its place; None when it may not be replaced."""
        if not self._may_write:
            return None
        others = [
            one
            for one in document.get("sets", ())
            if isinstance(one, dict) and one.get("roots") != self._paths.real
        ]
        others.sort(key=_used, reverse=True)
        own = {"roots": self._paths.real, "used": time.time(), **_saved(session, self._paths)}
        sets = [own, *others[: MOST_SETS - 1]]
        while True:
            # ASCII: names of directories need not be UTF-8.
            data = json.dumps({"version": VERSION, "sets": sets}, indent=1)
            if len(data) <= MOST_BYTES or len(sets) == 1:
                return data.encode() + b"\n"
            del sets[len(sets) // 2 :]


def _problem(document: object) -> str:
    """Return why a document cannot be used; empty when it can."""
    version = document.get("version", VERSION) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(version, int):
        return _DAMAGED
    if version > VERSION:
        return "is of a newer version, and left alone"
    return "" if isinstance(document.get("sets", []), list) else _DAMAGED


def _used(one: Mapping[str, Any]) -> float:
    used = one.get("used")
    is_time = isinstance(used, (int, float)) and math.isfinite(used)
    return float(used) if is_time else 0.0  # type: ignore[arg-type]


def _copy(session: Session) -> Session:
    """Return a copy that does not change with the session."""
    lists: dict[str, Any] = {
        field.name: list(value)
        for field in fields(Session)
        if isinstance(value := getattr(session, field.name), list)
    }
    return replace(session, **lists)


def _saved(session: Session, paths: _RealPaths) -> Document:
    """Return a session as JSON; marks by real paths, because roots have several names."""
    saved = {field.name: getattr(session, field.name) for field in fields(Session)}
    saved["marks"] = [paths.of_key(key) for key in session.marks]
    return {
        key: value[:MOST_ITEMS] if isinstance(value, list) else value
        for key, value in saved.items()
    }


def _session(found: Mapping[str, Any], paths: _RealPaths) -> Session:
    """Return the session that a set describes; what is of another type is passed over."""
    session = Session()
    for field in fields(Session):
        value = _taken(found.get(field.name), getattr(session, field.name))
        setattr(session, field.name, value)
    if session.view not in NAMES:
        session.view = Session().view
    session.marks = [paths.as_key(real) for real in session.marks]
    return session


def _taken(value: object, default: object) -> object:
    """Return a value of the file, or the default where that is of another type."""
    if isinstance(default, list):
        items = value if isinstance(value, list) else default
        return [one for one in items if isinstance(one, str) and len(one) <= LONGEST_TEXT][
            :MOST_ITEMS
        ]
    if type(value) is not type(default):
        return default
    return default if isinstance(value, str) and len(value) > LONGEST_TEXT else value


class _RealPaths:
    """The roots as the user has named them, and where they really are."""

    def __init__(self, roots: Sequence[Path]) -> None:
        named = {str(root): os.path.realpath(root) for root in roots}
        self.real = sorted(set(named.values()))
        # The longest one first: a root may lie in another one.
        self._pairs = sorted(named.items(), key=lambda pair: len(pair[1]), reverse=True)

    def of_key(self, key: str) -> str:
        """Return the real path of a run's key, which is its place below a root as it was named."""
        for named, real in sorted(self._pairs, key=lambda pair: len(pair[0]), reverse=True):
            if key == named:
                return real
            below = "" if named == "." else f"{named.rstrip('/')}/"
            if key.startswith(below):
                return f"{real.rstrip('/')}/{key[len(below) :]}"
        return key

    def as_key(self, real_key: str) -> str:
        """Return the key of a run below these roots whose real path was remembered."""
        for named, real in self._pairs:
            if real_key == real:
                return named
            below = f"{real.rstrip('/')}/"
            if real_key.startswith(below):
                rest = real_key[len(below) :]
                return rest if named == "." else f"{named.rstrip('/')}/{rest}"
        return real_key


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other monitors from writing meanwhile; without a lock where there are none to be had."""
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            descriptor = -1
        if descriptor >= 0:
            stack.callback(os.close, descriptor)
            end = time.monotonic() + LOCK_S
            while time.monotonic() < end:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
                except OSError:  # a file system without locks
                    break
        yield
