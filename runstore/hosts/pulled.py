"""Where a copy of runs comes from: `pulled.json` in the directory that `runstore pull` fills.

    {"format":1,"source":"me@hpc1:/scratch/me/runs","host":"me@hpc1","path":"/scratch/me/runs",
     "time":1795206504.85,"problem":null}

`time` is when the last whole pull began, in Unix seconds UTC of this machine's clock: everything
that was over there by then is here.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runstore.errors import FormatError, RunStoreError
from runstore.files.atomic import write_document
from runstore.files.limits import PULLED_BYTES
from runstore.files.records import JsonObject, RecordError, decode_document, encode, integer, number
from runstore.files.regular import read_regular, why_unreadable
from runstore.hosts.remote import Remote, RemoteError, checked_host, checked_path
from runstore.numbers import age
from runstore.text import printable

NAME = "pulled.json"
FORMAT = 1
KNOWN_S = 2.0
"""For so long what was found in a folder is taken as it was."""
_known: dict[Path, tuple[float, Pulled | None]] = {}
"""Of folders: when each was looked at, and what was found in it or above."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What is known of a copy."""

    source: Remote
    time: float | None = None
    """When the last whole pull began, in Unix seconds; None before the first one."""
    problem: str = ""
    """Why the newest pull has failed, safe to print; empty when it has not."""

    @property
    def host(self) -> str:
        """Whose runs they are, as ssh names the host, without the user."""
        return self.source.host.rpartition("@")[2]

    def told(self, now: float | None = None) -> str:
        """Return `hpc1, 3m ago`."""
        if self.time is None:
            return f"{self.host}, never whole"
        return f"{self.host}, {age((time.time() if now is None else now) - self.time)}"


def read(directory: Path) -> Pulled | None:
    """Return where the copy in a directory comes from; None when no pull has filled it.

    Raises:
        FormatError: a newer runstore wrote it.
        RunStoreError: it cannot be read, or is not what a pull writes.
    """
    path = directory / NAME
    try:
        document = decode_document(read_regular(path, PULLED_BYTES), PULLED_BYTES)
        source = Remote(
            checked_host(_text(document, "host")), checked_path(_text(document, "path"))
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RecordError, RemoteError) as error:
        why = why_unreadable(error) if isinstance(error, OSError) else str(error)
        raise RunStoreError(f"{path}: not what runstore pull writes: {why}") from None
    written = integer(document, "format")
    if written is not None and written > FORMAT:
        raise FormatError(
            f"{path}: format {written}, this runstore reads up to {FORMAT}; "
            "upgrade with pip install -U runstore"
        )
    problem = document.get("problem")
    return Pulled(
        source,
        number(document, "time"),
        printable(problem, limit=500) if isinstance(problem, str) else "",
    )


def _text(document: JsonObject, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def write(directory: Path, pulled: Pulled, *, durable: bool = True) -> None:
    """Write it anew.

    Raises:
        OSError: the directory takes no file.
    """
    facts = {
        "format": FORMAT,
        "source": str(pulled.source),
        "host": pulled.source.host,
        "path": pulled.source.path,
        "time": pulled.time,
        "problem": pulled.problem or None,
    }
    write_document(directory / NAME, encode(facts), durable=durable)


def origin_of(run_dir: Path, *, answers: bool = True) -> Pulled | None:
    """Return where a run was pulled from, as far as a look of some seconds ago knows.

    Asked of a thousand runs, it looks into each folder above them once.

    Args:
        run_dir: the run's directory.
        answers: False for one whose file system does not answer: it is not asked again.
    """
    place = run_dir.absolute()
    return _above(place.parent) or (_read_quietly(place) if answers else None)


def _above(directory: Path) -> Pulled | None:
    looked_at, found = _known.get(directory, (-KNOWN_S, None))
    if time.monotonic() - looked_at >= KNOWN_S:
        found = _read_quietly(directory)
        if found is None and directory.parent != directory:
            found = _above(directory.parent)
        _known[directory] = time.monotonic(), found
    return found


def _read_quietly(directory: Path) -> Pulled | None:
    """Return the same as `read`; nothing where it cannot be told."""
    with suppress(RunStoreError):
        return read(directory)
    return None
