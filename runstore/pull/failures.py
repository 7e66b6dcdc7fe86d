"""What went wrong with rsync, in one line: its exit status, and what it and ssh have said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from runstore.errors import RunStoreError
from runstore.hosts.ssh import SSH_FAILED
from runstore.hosts.ssh_words import why_not_in
from runstore.text import printable

VANISHED = 24
"""Files went while they were copied: temporary documents, which are renamed. Nothing is wrong."""
PARTIAL = 23
PROTOCOL, STREAM, FILE_IO, TIMEOUTS = 2, 12, 11, (30, 35)
_ERROR = re.compile(
    r'^rsync: (?:\[(?P<side>\w+)\] )?(?P<what>.+?) "(?P<path>.+?)"(?: \(in .*\))?'
    r"(?: failed)?: (?P<why>.+?) \((?P<number>[0-9]+)\)$"
)
_NOT_FOUND = re.compile(r"rsync.*(?:not found|No such file|Unknown command)|exec.*rsync", re.I)
NO_SUCH_FILE, NO_DIRECTORY = 2, 20


class PullError(RunStoreError):
    """A pull that was not whole."""

    def __init__(self, host: str, why: str, *, is_partial: bool = False) -> None:
        """Say `why` of a `host`.

        Args:
            host: as it was given.
            why: in one line.
            is_partial: everything else has come: what it complains of cannot be read there.
        """
        self.host = host
        self.why = why
        self.is_partial = is_partial
        super().__init__(f"{host}: {why}")


class Complaint(NamedTuple):
    """One of rsync's lines about one file."""

    is_here: bool
    """Of this machine, not of the other one."""
    what: str
    """What failed: `change_dir`, `opendir`, `send_files failed to open`."""
    path: str
    why: str
    number: int


def complaint(line: str) -> Complaint | None:
    """Return what a line of rsync says of a file."""
    match = _ERROR.match(line)
    if match is None:
        return None
    side = (match["side"] or "").lower()
    is_here = side in ("receiver", "generator") or (not side and "mkstemp" in line)
    return Complaint(is_here, match["what"], match["path"], match["why"], int(match["number"]))


def why_failed(host: str, path: str, status: int, lines: Sequence[str]) -> PullError | None:
    """Return what went wrong; None when nothing did.

    Args:
        host: as it was given.
        path: the directory over there.
        status: rsync's.
        lines: what came on its standard error, ssh's included.
    """
    if status in (0, VANISHED):
        return None
    if status < 0:
        return PullError(host, f"rsync was ended by signal {-status}")
    said = [printable(line.strip()) for line in lines if line.strip()]
    of_ssh = [line for line in said if not line.startswith(("rsync:", "rsync error"))]
    if status == SSH_FAILED or (of_ssh and of_ssh[-1].startswith("ssh: ")):
        return PullError(host, why_not_in(of_ssh))
    found = [one for line in said if (one := complaint(line)) is not None]
    if status == PARTIAL:
        return _partial(host, path, found, said)
    if status == FILE_IO and found:
        # The reason first: a narrow screen shows the beginning of it.
        why = f"{found[0].why} here; nothing that was here is lost: {found[0].path}"
        return PullError(host, why)
    if status in (STREAM, 127, 126) and any(_NOT_FOUND.search(line) for line in of_ssh):
        return PullError(host, f"no rsync over there ({of_ssh[-1]}); install it there")
    return PullError(host, _in_words(status, of_ssh, said))


def _partial(host: str, path: str, found: Sequence[Complaint], said: Sequence[str]) -> PullError:
    first = next((one for one in found if one.number != NO_SUCH_FILE), None)
    root = next((one for one in found if one.what == "change_dir" and not one.is_here), None)
    if root is not None and root.number in (NO_SUCH_FILE, NO_DIRECTORY):
        return PullError(host, f"no such directory there: {path}")
    worst = root or first or (found[0] if found else None)
    if worst is None:
        return PullError(host, f"rsync: {said[0] if said else 'not all was copied'}")
    more = f", and {len(found) - 1:,} more" if len(found) > 1 else ""
    where = "here" if worst.is_here else "there"
    why = f"{worst.why} {where}: {worst.path}{more}"
    return PullError(host, why, is_partial=root is None and not worst.is_here)


def _in_words(status: int, of_ssh: Sequence[str], said: Sequence[str]) -> str:
    if status in TIMEOUTS:
        return "nothing came for 30 s; the link is gone, or very slow"
    if status == PROTOCOL:
        return "its login scripts print something, which rsync cannot read; they must be silent"
    if status == STREAM:
        return f"the link was cut{f' ({of_ssh[-1]})' if of_ssh else ''}"
    return f"rsync has failed ({status}): {said[0] if said else 'it does not say why'}"
