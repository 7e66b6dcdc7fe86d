"""Disks that take no more for a while: full, over quota, failing once; then they work again."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runstore import Run
from tests.faults.lab.acks import AckFile
from tests.faults.lab.inside import machine
from tests.faults.lab.inside.children import ACKS
from tests.faults.lab.inside.outcome import outcome
from tests.faults.lab.inside.rows import log_rows, start_run

ROOM_BYTES = 256 << 10
"""What a run finds on the disk; its rows take more than that."""
BALLAST = "ballast"
QUOTA_KIB = 512
SOME_ROWS = 300
WARNED_S = 60.0
TROUBLE_S = 4.0
"""How long a disk fails; a sync falls into it."""

USER = 1000
CAP_SYS_RESOURCE = 24
Q_SETQUOTA_OF_USER = 0x800008 << 8
QIF_BLIMITS = 1


def full_disk(kind: str) -> dict[str, Any]:
    """ENOSPC, until somebody removes what filled the disk."""
    disk = machine.mount("/dev/ubda", kind, "disk")
    run = start_run(disk / "runs")
    return log_through(
        run,
        errno.ENOSPC,
        break_it=lambda: fill(disk, ROOM_BYTES),
        heal=lambda: (disk / BALLAST).unlink(),
    )


def over_quota(kind: str) -> dict[str, Any]:
    """EDQUOT, until the quota is raised."""
    if kind == "ext4":
        machine.load_modules("quota_v2")
    disk = machine.mount("/dev/ubda", kind, "disk", "usrquota")
    _obey_quota()
    run = start_run(disk / "runs")
    return log_through(
        run,
        errno.EDQUOT,
        break_it=lambda: _set_quota(QUOTA_KIB),
        heal=lambda: _set_quota(0),
    )


def error_once(kind: str) -> dict[str, Any]:
    """EIO from fdatasync, for a few seconds.

    The journal is on a disk of its own, which does not fail: otherwise the file system stops, and
    no program can write to it until it is mounted again.
    """
    flaky = _flaky_disk()
    if kind == "ext4":
        machine.tool("mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", "/dev/ubdb")
        machine.tool("mkfs.ext4", "-q", "-b", "4096", "-J", "device=/dev/ubdb", flaky)
        disk = machine.mount(flaky, kind, "disk")
    else:
        machine.tool("mkfs.xfs", "-q", "-l", "logdev=/dev/ubdb", flaky)
        disk = machine.mount(flaky, kind, "disk", "logdev=/dev/ubdb")
    return log_through(
        start_run(disk / "runs"),
        errno.EIO,
        break_it=lambda: _reload(failing=True),
        heal=lambda: _reload(failing=False),
    )


def fill(disk: Path, leave: int) -> None:
    """Fill `disk` but for `leave` bytes with a file named BALLAST."""
    descriptor = os.open(disk / BALLAST, os.O_WRONLY | os.O_CREAT)
    size = 0
    try:
        while True:
            size += os.write(descriptor, bytes(1 << 20))
    except OSError:
        os.fsync(descriptor)
        os.ftruncate(descriptor, size - leave)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def log_through(
    run: Run, error: int, *, break_it: Callable[[], object], heal: Callable[[], object]
) -> dict[str, Any]:
    """Log before, while and after the disk fails with `error`; end the run, and judge it."""
    acks, warnings = AckFile(ACKS), Warnings()
    step = log_rows(run, acks, until=lambda step: step >= SOME_ROWS)
    break_it()
    step = log_rows(run, acks, first=step, until=warnings.have(os.strerror(error)))
    step = log_rows(run, acks, first=step, until=after(TROUBLE_S))
    heal()
    log_rows(run, acks, first=step, until=lambda now: now >= step + SOME_ROWS)
    run.finish()
    return outcome(run.path, ACKS, "finished", [])


class Warnings(logging.Handler):
    """What runstore warns of, as it does: its events may not be on the disk yet."""

    def __init__(self) -> None:
        """Listen from now on."""
        super().__init__()
        self._told = ""
        logging.getLogger("runstore").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a warning."""
        self._told += record.getMessage() + "\n"

    def have(self, words: str) -> Callable[[int], bool]:
        """Return what tells whether `words` were warned of, and raises when that takes too long."""
        deadline = time.monotonic() + WARNED_S

        def told(step: int) -> bool:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no warning of {words!r} in {WARNED_S:.0f} s: nothing failed")
            return words in self._told

        return told


def after(seconds: float) -> Callable[[int], bool]:
    """Return what tells whether `seconds` have passed."""
    deadline = time.monotonic() + seconds
    return lambda step: time.monotonic() >= deadline


def _flaky_disk() -> str:
    """Make a disk, on the guest's first one, that can be told to fail each write."""
    machine.load_modules("dm-mod", "dm-flakey")
    machine.tool("dmsetup", "create", "flaky", "--table", _table(failing=False))
    machine.tool("dmsetup", "mknodes")
    return "/dev/mapper/flaky"


def _reload(*, failing: bool) -> None:
    for command in ("suspend --noflush --nolockfs flaky", "load flaky", "resume flaky"):
        table = ["--table", _table(failing=failing)] if command.startswith("load") else []
        machine.tool("dmsetup", *command.split(), *table)


def _table(*, failing: bool) -> str:
    """Return a table of dm-flakey: so many seconds up, so many down, and what happens then."""
    sectors = Path("/sys/block/ubda/size").read_text().strip()
    return f"0 {sectors} flakey /dev/ubda 0 " + ("0 3600 1 error_writes" if failing else "3600 0")


def _obey_quota() -> None:
    """Make the files of this thread, and of those that it starts, count for USER.

    And give up the right to exceed a quota. The rest of root's rights stays, to read the library.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.setfsuid(USER)
    header = struct.pack("Ii", 0x20080522, 0)
    words = ctypes.create_string_buffer(24)
    _check(libc.capget(header, words))
    sets = list(struct.unpack("6I", words.raw))
    # Effective, permitted, inheritable, of the first 32; setfsuid took some of the effective ones.
    sets[0] = sets[1] = sets[1] & ~(1 << CAP_SYS_RESOURCE)
    _check(libc.capset(header, struct.pack("6I", *sets)))


def _set_quota(blocks_kib: int, device: str = "/dev/ubda") -> None:
    """Limit what the files of USER take on `device`, see quotactl(2); 0 is no limit."""
    limits = struct.pack("8QI4x", blocks_kib, blocks_kib, 0, 0, 0, 0, 0, 0, QIF_BLIMITS)
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.quotactl(Q_SETQUOTA_OF_USER, device.encode(), USER, limits))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
