"""Where a copy lies: one directory for each directory over there, and nothing else in it."""

from __future__ import annotations

import fcntl
import os
import posixpath
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from runstore.errors import NotWritableError, RunStoreError
from runstore.hosts.pulled import NAME, Pulled, read, write
from runstore.hosts.remote import Remote
from runstore.text import shell_word

LOCK = ".pulled.lock"
FOLDER = "pulled"
LONGEST_NAME = 200
"""File systems take 255 bytes, and some fewer."""


class BusyError(RunStoreError):
    """Another process fills the same directory."""


def default_place(source: Remote) -> Path:
    """Return `pulled/hpc1/scratch/me/runs`: the host and the path, below the current directory."""
    return below(Path(FOLDER), source)


def below(folder: Path, source: Remote) -> Path:
    """Return where a copy lies in a folder of copies."""
    host = source.host.replace("[", "").replace("]", "")
    path = posixpath.normpath(source.path)
    return folder.joinpath(host, *(part for part in path.split("/") if part not in ("", ".", "..")))


def cached(folder: Path, source: Remote) -> Path:
    """Return where the monitor's copy lies in its folder of copies.

    The path is one name, so that a run, and the directory that it is in, may both be watched: no
    copy lies in another one.
    """
    name = quote(os.fsencode(source.path), safe="")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 65]}-{sha256(name.encode()).hexdigest()}"
    return folder / source.host.replace("[", "").replace("]", "") / name


def claim(place: Path, source: Remote) -> int:
    """Make the directory of a copy, or take the one that is there; return its lock.

    Returns:
        A descriptor: nobody else fills the directory until it is closed.

    Raises:
        RunStoreError: it holds something else, or another pull is at work in it.
        NotWritableError: it cannot be made, or takes no file.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        names = [name for name in os.listdir(place) if name != LOCK]
        _refuse_another(place, source, names)
        lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if isinstance(error, RunStoreError):
            raise
        raise _not_writable(place, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BusyError(f"{place}: another pull is at work there; it brings the same") from None
    except OSError:
        pass  # a file system without locks: two pulls at once are then the user's to avoid
    if NAME not in names:
        # Before anything else: a pull that is cut short can be gone on with.
        try:
            write(place, Pulled(source))
        except OSError as error:
            os.close(lock)
            raise _not_writable(place, error) from error
    return lock


def _not_writable(place: Path, error: OSError) -> NotWritableError:
    return NotWritableError(place, "a copy", error, "take another directory, or make it writable")


def _refuse_another(place: Path, source: Remote, names: list[str]) -> None:
    known = read(place)
    if known is not None and known.source != source:
        raise RunStoreError(f"{place}: a copy of {known.source}; {_another(place, source)}")
    if known is None and names:
        raise RunStoreError(
            f"{place}: not empty, and no pull has filled it; {_another(place, source)}"
        )


def _another(place: Path, source: Remote) -> str:
    own = below(Path(), source).parts
    if place.absolute().parts[-len(own) :] == own:
        # As the default is: in another copy, or above one.
        return "give each copy a directory of its own, as DEST"
    return f"give each copy a directory of its own, such as {shell_word(below(place, source))}"
