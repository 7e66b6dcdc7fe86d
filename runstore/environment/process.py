"""Who a process is, so that another program can tell later whether it is still there.

A pid alone lies: it is used again after the process is gone, and it means nothing on another
host, after a reboot, or in another container. The identity is (boot id, pid namespace, pid, start
time of the process); only when the first two are the viewer's own can a pid be looked up at all.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, named so that it cannot be taken for another one."""

    host: str
    boot_id: str
    """Changes with every boot of the machine."""
    pid: int
    pid_start: int
    """Clock ticks since boot at which the process started; tells a reused pid apart."""
    pid_ns: str
    """The pid namespace: inside a container, pids are other numbers."""

    def to_record(self) -> dict[str, Any]:
        """Return the fields as they stand in an `open` event."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ProcessIdentity | None:
        """Return the identity in an `open` event, or None when it is incomplete."""
        pid, start = record.get("pid"), record.get("pid_start")
        texts = [record.get(key) for key in ("host", "boot_id", "pid_ns")]
        if not isinstance(pid, int) or not isinstance(start, int):
            return None
        if not all(isinstance(text, str) for text in texts):
            return None
        host, boot_id, pid_ns = (str(text) for text in texts)
        return cls(host, boot_id, pid, start, pid_ns)

    def is_local(self) -> bool:
        """Tell whether this process, alive, would be visible from here."""
        here = boot_id(), pid_namespace()
        return bool(self.boot_id) and (self.boot_id, self.pid_ns) == here

    def is_alive(self) -> bool:
        """Tell whether the process still runs; only meaningful when `is_local()`."""
        return start_time(self.pid) == self.pid_start

    def is_gone(self) -> bool:
        """Tell whether it is proven, from here, that the process will never run again."""
        if self.is_local():
            return not self.is_alive()
        booted_since = bool(self.boot_id and boot_id()) and self.boot_id != boot_id()
        return booted_since and self.host == os.uname().nodename


def current_process() -> ProcessIdentity:
    """Return the identity of the process that calls."""
    pid = os.getpid()
    return ProcessIdentity(
        socket.gethostname(), boot_id(), pid, start_time(pid) or 0, pid_namespace()
    )


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what identifies this boot of this machine; empty when that cannot be known."""
    if _LINUX:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
    import psutil

    return f"{socket.gethostname()}@{int(psutil.boot_time())}"


@lru_cache(maxsize=1)
def pid_namespace() -> str:
    """Return the pid namespace's name (`pid:[4026531836]`); empty outside Linux."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Return when process `pid` started (ticks; microseconds outside Linux), or None when gone.

    A zombie counts as gone: it will never write again.
    """
    if not _LINUX:
        return _psutil_start_time(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # proc(5): the command name, in parentheses, may hold spaces and parentheses itself. After it
    # come field 3 (state) and, as field 22, the start time.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Tell whether process `pid` is stopped (Ctrl-Z, SIGSTOP) rather than running."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :][:1] in (b"T", b"t")


def descendants(pid: int) -> list[int] | None:
    """Return the processes below `pid`; None where the kernel does not list a process's children.

    One that ends or starts meanwhile may be missing (proc(5), `/proc/PID/task/TID/children`).
    """
    below = _children(pid)
    if below is None:
        return None
    found = []
    while below:
        child = below.pop()
        found.append(child)
        below += _children(child) or []
    return found


def _children(pid: int) -> list[int] | None:
    """Return the children of all threads of `pid`; None when none of these says."""
    found: list[int] | None = None
    for thread in _threads(pid):
        try:
            text = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
        except OSError:
            # This thread has ended since.
            continue
        found = (found or []) + [int(child) for child in text.split()]
    return found


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _psutil_start_time(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.create_time() * 1e6)
    except psutil.Error:
        return None
