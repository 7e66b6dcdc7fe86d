"""One virtual machine: user-mode-linux on the host's file system, read-only, with its own disks.

A guest does one job (a function of `tests.faults.lab.inside`) and powers off, or is killed with all
that its kernel holds in memory: that is the power loss.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TREE = HERE.parents[2]
MEMORY = "320M"
DYING_S = 10


class GuestError(Exception):
    """A guest did not do its job: the lab is at fault, or the library in a way not foreseen."""


class Guest:
    """One boot; `share` is the folder of the host that the guest sees as /mnt/share."""

    _alive: set[Guest] = set()  # noqa: RUF012 - of all guests, so that Ctrl-C ends each
    _lock = threading.Lock()
    _stopping = False

    def __init__(
        self, cache: Path, share: Path, disks: list[Path], job: str, *, synced: bool, **given: Any
    ) -> None:
        """Boot a guest.

        Args:
            cache: what build.sh has made.
            share: a folder of the host for what goes in and comes out.
            disks: images; the guest's /dev/ubda, /dev/ubdb, …
            job: what it is to do.
            synced: without it fdatasync does nothing.
            given: the job's arguments.
        """
        self.share, self._job = share, job
        share.mkdir(parents=True, exist_ok=True)
        self._result = share / "result.json"
        self._result.unlink(missing_ok=True)
        (share / "job.json").write_text(json.dumps({"job": job, "given": given, "synced": synced}))
        self._console = share / f"console-{job}.txt"
        with Guest._lock:
            if Guest._stopping:
                raise GuestError("the lab is being stopped")
            self._process = self._start(_command(cache, share, disks), cache)
            Guest._alive.add(self)

    def _start(self, command: list[str], cache: Path) -> subprocess.Popen[bytes]:
        shim = cache / "xstate.so"
        preload = {"LD_PRELOAD": str(shim)} if shim.exists() else {}
        with self._console.open("wb") as console:
            # A session of its own: the kernel runs as several processes of the host.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], **preload},
                start_new_session=True,
            )

    def kill(self) -> None:
        """Cut the power: what the guest's kernel had not written to its disks is gone."""
        group = self._process.pid
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
            self._process.wait()
            # The kernel's other processes: one of them writes the disks.
            for _ in range(DYING_S * 100):
                os.killpg(group, 0)
                time.sleep(0.01)
        self._process.wait()
        with Guest._lock:
            Guest._alive.discard(self)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until `condition` holds.

        Raises:
            GuestError: the guest ended before, or `timeout_s` have passed.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None:
                self.result()
                raise GuestError(f"{self._job}: the guest ended before {what}; {self.last_words()}")
            if time.monotonic() > deadline:
                raise GuestError(f"{self._job}: not {what} after {timeout_s:.0f} s")
            time.sleep(0.02)

    def result(self, timeout_s: float = 240.0) -> Any:
        """Wait for the guest's end and return what its job returned.

        Raises:
            GuestError: it failed, or took longer than `timeout_s`.
        """
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GuestError(
                f"{self._job}: no end after {timeout_s:.0f} s; {self.last_words()}"
            ) from None
        finally:
            self.kill()
        if not self._result.exists():
            raise GuestError(f"{self._job}: no result; {self.last_words()}")
        found = json.loads(self._result.read_text())
        if "error" in found:
            raise GuestError(f"{self._job}: {found['error']}")
        return found["result"]

    def last_words(self) -> str:
        """Return the end of what the guest printed: tracebacks, runstore's warnings."""
        words = self._console.read_text(errors="replace").strip()[-1500:]
        return f"its console says: {words}" if words else "its console is empty"

    @classmethod
    def kill_all(cls) -> None:
        """End every guest, and let no further one start."""
        with cls._lock:
            cls._stopping = True
            alive = list(cls._alive)
        for guest in alive:
            guest.kill()


def _command(cache: Path, share: Path, disks: list[Path]) -> list[str]:
    paths = {"LAB_TREE": TREE, "LAB_SHARE": share, "LAB_PYTHON": sys.executable, "LAB_CACHE": cache}
    return [
        str(cache / "tools/usr/bin/linux.uml"),
        *(f"mem={MEMORY}", "quiet", "loglevel=1", f"uml_dir={share / 'uml'}"),
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={HERE / 'init.sh'}"),
        *("con=null", "con0=null,fd:1"),
        *(f"ubd{chr(ord('a') + index)}={disk}" for index, disk in enumerate(disks)),
        *(f"{name}={path}" for name, path in paths.items()),
    ]
