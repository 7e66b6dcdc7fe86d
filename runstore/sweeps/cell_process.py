"""The process of a cell on this machine: started, asked to save, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Self

from runstore.files.records import integer
from runstore.sweeps.cells import CellWatch
from runstore.sweeps.devices import VISIBLE, Slot
from runstore.sweeps.document import Sweep
from runstore.sweeps.execute import cell_command

COMPLAINT_CHARS = 500


@dataclass(slots=True)
class CellProcess:
    """A process of ours, until it is reaped: nobody else can have its number before that."""

    watch: CellWatch
    slot: Slot
    attempt: int
    """The newest one before it."""
    _process: subprocess.Popen[bytes]
    _complaints: IO[bytes]

    @classmethod
    def start(cls, sweep: Sweep, watch: CellWatch, slot: Slot, threads: Mapping[str, str]) -> Self:
        """Start a cell in a place for it.

        Raises:
            OSError: there is no process for it, or no file for what it complains of.
        """
        environment = {**os.environ, **threads}
        if slot.gpus:
            environment[VISIBLE] = slot.devices
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        try:
            process = subprocess.Popen(
                cell_command(sweep, watch.cell, quiet=True),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=environment,
                # The terminal's Ctrl-C is for us: we ask each once, and not a loader's workers.
                start_new_session=True,
            )
        except OSError:
            complaints.close()
            raise
        return cls(watch, slot, watch.state.attempt, process, complaints)

    def has_ended(self) -> bool:
        """Tell whether it has ended, without taking it: its number is its group's till then."""
        if sys.platform == "darwin":
            return self._process.poll() is not None
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:
            return True

    def reap(self, *, with_rest: bool) -> tuple[int, str]:
        """Take the process, which has ended; return its status, and what it complained of.

        Args:
            with_rest: end what a shell had started and did not take with it.
        """
        if with_rest:
            self._signal_group(signal.SIGTERM)
        status = self._process.wait()
        with self._complaints as said:
            said.seek(0)
            return status, said.read(COMPLAINT_CHARS).decode(errors="replace").strip()

    def ask(self) -> None:
        """Ask it to save and end; what watches its command passes it on."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the command, so that what watches it tells that; without one, all of it."""
        self.watch.look()
        newest = self.watch.state.newest
        execution = newest.execution if newest and newest.number > self.attempt else None
        started: Mapping[str, object] = (execution.started if execution else None) or {}
        command = integer(dict(started), "pid")
        if command is None:
            self._signal_group(signal.SIGKILL)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(command, signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
