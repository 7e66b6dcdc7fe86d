"""What a directory's file system can do, tried out from this host: `doctor --fs`.

Everything is made in a directory of its own, which is removed afterwards.
"""

from __future__ import annotations

import fcntl
import itertools
import math
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runstore.doctor.findings import Severity
from runstore.environment.mounts import file_system_type, is_network
from runstore.files.paths import slugify
from runstore.watching import Watch, unwatched

PREFIX = ".runstore-doctor-"
"""Begins the name of the directory that a probe makes; no reader of runs looks into it."""
TIMED_SYNCS = 20
SPARSE_BYTES = 64 << 20
SLOW_SYNC_S = 1.0
CLOCK_APART_S = 60.0
TICK_S = 0.01
"""Kernels give files the time of their last tick."""
MTIME_WAIT_S = 2.2
"""Enough to see a step where a file system keeps whole seconds (FAT: two)."""

# macOS has no fdatasync.
sync_data = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    """For programs; people see it with blanks."""
    severity: Severity | None
    """None when all is well."""
    found: str
    """In words."""
    values: Mapping[str, float | str | bool | None] = field(default_factory=dict)
    """For programs; seconds and bytes."""


@contextmanager
def workplace(directory: Path) -> Iterator[Path]:
    """Make a directory to try things out in, and remove it in the end, also after Ctrl-C.

    Raises:
        OSError: it cannot be made.
    """
    host = slugify(socket.gethostname()) or "host"
    path = directory / f"{PREFIX}{host}-{os.getpid()}-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def probe(directory: Path, place: Path, watch: Watch = unwatched) -> list[Check]:
    """Try out what runstore relies on, and what it would like to know.

    Args:
        directory: what was asked about.
        place: a directory in it, made by `workplace`.
        watch: who sees how far that is.
    """
    tries: dict[str, Callable[[Path], Check]] = {
        "append": _append,
        "exclusive_create": _exclusive,
        "rename": _rename,
        "flock": _flock,
        "fcntl_lock": _fcntl_lock,
        "fdatasync": _sync_time,
        "hard_link": _hard_link,
        "sparse": _sparse,
        "mtime": _mtime,
        "clock": clock,
    }
    trying = watch(tries.items(), "trying", len(tries))
    return [_kind(directory), *(_tried(name, one, place) for name, one in trying)]


def _tried(name: str, one: Callable[[Path], Check], place: Path) -> Check:
    try:
        return one(place)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        severity: Severity = "note" if name in ("hard_link", "sparse") else "error"
        return Check(name, severity, f"does not work: {reason}", {"works": False})


def _kind(directory: Path) -> Check:
    kind, network = file_system_type(directory), is_network(directory)
    mode = "queued" if network else "direct"
    how = "a thread writes, training never waits" if network else "a row is in the kernel at once"
    words = f"{kind}{', a network mount' if network else ''}; runstore writes {mode} here ({how})"
    return Check("type", None, words, {"type": kind, "network": network, "mode": mode})


def _append(place: Path) -> Check:
    """Two descriptors, as two processes would have: each line goes to the end."""
    path, flags = place / "append", os.O_WRONLY | os.O_APPEND | os.O_CREAT
    both = [os.open(path, flags, 0o600) for _ in range(2)]
    try:
        lines = [b"%d\n" % number for number in range(100)]
        for number, line in enumerate(lines):
            os.write(both[number % 2], line)
    finally:
        for descriptor in both:
            os.close(descriptor)
    if path.read_bytes() == b"".join(lines):
        return Check("append", None, "ok, with two descriptors", {"works": True})
    found = "lines of two descriptors overwrite each other: no run can be written here"
    return Check("append", "error", found, {"works": False})


def _exclusive(place: Path) -> Check:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(place / "exclusive", flags, 0o600))
    try:
        os.close(os.open(place / "exclusive", flags, 0o600))
    except FileExistsError:
        return Check("exclusive_create", None, "ok: one process claims an attempt", {"works": True})
    found = "a second one succeeds: two processes could claim the same attempt"
    return Check("exclusive_create", "error", found, {"works": False})


def _rename(place: Path) -> Check:
    new, old = place / "new", place / "old"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    with old.open("rb") as held:
        new.rename(old)
        kept = _held(held.read)
    if old.read_bytes() != b"new":
        found = "a file that was replaced has its old content"
        return Check("rename", "error", found, {"works": False})
    readers = "" if kept else "; who reads the old one meanwhile loses it"
    return Check("rename", None, f"ok, over a file that is there{readers}", {"works": True})


def _held(read: Callable[[], bytes]) -> bool:
    try:
        return read() == b"old"
    except OSError:
        return False


def _flock(place: Path) -> Check:
    with (place / "flock").open("wb") as first, (place / "flock").open("rb+") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            found = f"none ({reason}): whether a run of another host is dead cannot be told"
            return Check("flock", "warning", found, {"works": False})
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Check("flock", None, "ok on this host", {"works": True})
    found = "two hold it at a time: it says nothing about who is alive"
    return Check("flock", "warning", found, {"works": False})


_TAKE_LOCK = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""


def _fcntl_lock(place: Path) -> Check:
    """For other programs (HDF5, SQLite): runstore takes none."""
    path = place / "fcntl"
    with path.open("wb") as first:
        try:
            fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return Check("fcntl_lock", "note", f"none ({reason})", {"works": False})
        # Of one process all descriptors share it, so it takes another one to see it.
        other = subprocess.run([sys.executable, "-c", _TAKE_LOCK, str(path)], check=False)
    if other.returncode == 3:
        return Check("fcntl_lock", None, "ok on this host", {"works": True})
    return Check("fcntl_lock", "note", "two processes hold it at a time", {"works": False})


def _sync_time(place: Path) -> Check:
    took: list[float] = []
    with (place / "sync").open("ab", buffering=0) as file:
        for _ in range(TIMED_SYNCS):
            file.write(b"x" * 200 + b"\n")
            began = time.perf_counter()
            sync_data(file.fileno())
            took.append(time.perf_counter() - began)
    middle, most = statistics.median(took), max(took)
    severity: Severity | None = "note" if middle > SLOW_SYNC_S else None
    found = f"{span_ms(middle)} in the middle, {span_ms(most)} at most, of {TIMED_SYNCS}"
    return Check("fdatasync", severity, found, {"p50_s": middle, "max_s": most})


def _hard_link(place: Path) -> Check:
    (place / "linked").write_bytes(b"x")
    os.link(place / "linked", place / "link")
    if (place / "link").stat().st_nlink == 2:
        return Check("hard_link", None, "ok", {"works": True})
    return Check("hard_link", "note", "a copy: best.pt takes room twice", {"works": False})


def _sparse(place: Path) -> Check:
    with (place / "sparse").open("wb") as file:
        file.truncate(SPARSE_BYTES)
        taken = os.fstat(file.fileno()).st_blocks * 512
    sparse = taken < SPARSE_BYTES // 2
    found = "ok" if sparse else f"a hole of {SPARSE_BYTES >> 20} MiB takes room"
    return Check("sparse", None if sparse else "note", found, {"works": sparse})


def _mtime(place: Path) -> Check:
    """The smallest step between the times of writes that follow each other."""
    seen: list[int] = []
    deadline = time.monotonic() + MTIME_WAIT_S
    with (place / "mtime").open("ab", buffering=0) as file:
        while len(seen) < 6 and time.monotonic() < deadline:
            file.write(b"x")
            os.fsync(file.fileno())
            modified = os.fstat(file.fileno()).st_mtime_ns
            if not seen or modified != seen[-1]:
                seen.append(modified)
    steps = [after - before for before, after in itertools.pairwise(seen)]
    if not steps:
        found = f"no step within {MTIME_WAIT_S:g} s"
        return Check("mtime", "note", found, {"step_s": None})
    step_s = min(map(abs, steps)) / 1e9
    return Check("mtime", None, f"goes in steps of {span_ms(step_s)}", {"step_s": step_s})


def clock(place: Path) -> Check:
    """Compare this host's clock with the file server's."""
    ahead_s, within_s = clock_difference(place)
    severity: Severity | None = "warning" if abs(ahead_s) > CLOCK_APART_S else None
    found = f"files get times {apart(ahead_s)} this host's clock (within {span_ms(within_s)})"
    return Check("clock", severity, found, {"server_ahead_s": ahead_s, "within_s": within_s})


def clock_difference(place: Path) -> tuple[float, float]:
    """Return how far the file server's clock is ahead of this host's, and how exact that is.

    By the time of files that are made now. Of some the one is taken that took the shortest.
    """
    best = math.inf, 0.0
    for number in range(5):
        path = place / f"clock-{number}"
        before = time.time()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"x")
            sync_data(descriptor)
            after = time.time()
            # Over NFS the client may have guessed it until the file was sent.
            modified = os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        best = min(best, ((after - before) / 2, modified - (before + after) / 2))
    return best[1], best[0] + TICK_S


def span_ms(seconds: float) -> str:
    """Return a short time in words: 0.42 ms, 12 ms, 3.0 s."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2f} ms"


def apart(seconds: float) -> str:
    """Return how one clock stands to another in words: `3.0 s ahead of`."""
    return f"{span_ms(abs(seconds))} {'ahead of' if seconds >= 0 else 'behind'}"
