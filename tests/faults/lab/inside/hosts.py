"""Children that are on a host of their own, as far as a program can tell."""

from __future__ import annotations

import ctypes
import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from runstore.environment import process
from tests.faults.lab.inside.children import start
from tests.faults.lab.inside.machine import tool

_CLONE_NEWNS, _CLONE_NEWUTS = 0x00020000, 0x04000000
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def start_on(name: str, action: Callable[[], object]) -> int:
    """Do `action` in a child that sees another host name and another boot; return its pid."""

    def elsewhere() -> object:
        _move_to(name)
        return action()

    return start(elsewhere)


def _move_to(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(name)
    tool("mount", "--make-rprivate", "/")
    other = Path(f"/run/boot-{name}-{os.getpid()}")
    other.write_text(f"{uuid.uuid4()}\n")
    tool("mount", "--bind", str(other), _BOOT_ID)
    process.boot_id.cache_clear()
