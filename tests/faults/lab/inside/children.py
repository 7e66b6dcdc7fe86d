"""Processes of a guest that log, and are killed."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runstore
from runstore.exec.endings import OUT_OF_MEMORY
from tests.faults.lab.acks import AckFile, read_acks
from tests.faults.lab.inside import machine
from tests.faults.lab.inside.outcome import outcome
from tests.faults.lab.inside.power_loss import go_on
from tests.faults.lab.inside.rows import log_rows, start_run

ACKS = machine.SHARE / "acks"
OOM_BYTES = 96 << 20
CGROUPS = "/sys/fs/cgroup"
"""Where they are looked for."""


def start(action: Callable[[], object]) -> int:
    """Do `action` in a child process and return its pid; it exits with 0, or 1 when it raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        action()
        status = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait until `condition` holds, or raise TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {what} after {timeout_s:.0f} s")
        time.sleep(0.01)


def kill_while_logging(kind: str) -> dict[str, Any]:
    """SIGKILL at a random moment; the kernel goes on."""
    root = machine.mount("/dev/ubda", kind, "disk") / "runs"
    child = start(lambda: log_for_ever(root))
    wait_until(lambda: read_acks(ACKS), "logging")
    time.sleep(random.uniform(0.2, 3.0))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _after_death(root, [])


def out_of_memory_while_logging(kind: str) -> dict[str, Any]:
    """The kernel kills a process whose control group has no memory left."""
    root = machine.mount("/dev/ubda", kind, "disk") / "runs"
    return _after_death(root, _kill_for_memory(lambda group: _grow_in(group, root)))


def out_of_memory_under_exec(kind: str) -> dict[str, Any]:
    """The same of a command of `runstore exec`, which lives on and says what it was."""
    root = machine.mount("/dev/ubda", kind, "disk") / "runs"
    grow = f"from {__name__} import *; grow(Path({str(root)!r}))"
    problems = _kill_for_memory(lambda group: _exec_in(group, root, [sys.executable, "-c", grow]))
    reason = runstore.load(next(root.iterdir())).reason
    problems += [] if OUT_OF_MEMORY in reason else [f"the reason is {reason!r}"]
    return _after_death(root, problems)


def _kill_for_memory(action: Callable[[Path], object]) -> list[str]:
    """Do `action` with a control group of little memory; return what is wrong with its end."""
    group = machine.mount("none", "cgroup2", CGROUPS) / "training"
    (group.parent / "cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    (group / "memory.max").write_text(str(OOM_BYTES))
    child = start(lambda: action(group))
    _, status = os.waitpid(child, 0)
    killed = "oom_kill 1" in (group / "memory.events").read_text()
    return [] if killed else [f"the child ended with {status}, not for want of memory"]


def _exec_in(group: Path, root: Path, command: list[str]) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    execute = [sys.executable, "-m", "runstore.cli", "exec", "--root", str(root), "--"]
    os.execv(sys.executable, [*execute, *command])


def _after_death(root: Path, problems: list[str]) -> dict[str, Any]:
    run_dir = next(root.iterdir())
    found = outcome(run_dir, ACKS, "crashed", problems, strict=False)
    found["problems"] += go_on(run_dir)
    return found


def log_for_ever(root: Path) -> None:
    """Log and acknowledge until somebody ends this process."""
    log_rows(start_run(root), AckFile(ACKS), until=lambda step: False)


def _grow_in(group: Path, root: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    grow(root)


def grow(root: Path) -> None:
    """Log, and take memory until the kernel has no more."""
    hoard: list[bytes] = []

    def take_a_little(step: int) -> bool:
        hoard.append(os.urandom(64 << 10))
        return False

    log_rows(start_run(root), AckFile(ACKS), until=take_a_little)
