"""One cell as a job of Slurm: what submitit pickles, and runs on the node.

Two processes and the command itself: submitit's, which Slurm's signal reaches and which requeues
the job; a child that watches the cell's command (`runstore.sweeps.cell`); and the command, which
saves when it is asked to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.files.checkpoints import read_manifest
from runstore.files.paths import SweepPaths
from runstore.slurm.jobs import is_being_preempted
from runstore.slurm.submission import OWN_JOB_VARIABLE
from runstore.slurm.variables import job_of
from runstore.sources.native import NativeReader
from runstore.sweeps.document import load
from runstore.sweeps.execute import cell_command
from runstore.sweeps.preemption import number_of_submitit

STARTS_WITHOUT_PROGRESS = 3
LOOK_S = 0.2
TERMINATED = 128 + signal.SIGTERM
_KEPT = ("sweep_dir", "cell_id", "grace_s", "full_start_s", "mark", "idle_starts")


@dataclass(slots=True)
class CellJob:
    """A call that runs one cell; submitit pickles it again whenever it requeues the job."""

    sweep_dir: str
    cell_id: str
    grace_s: float
    """What the cell has to save and end when it is asked to, in seconds."""
    full_start_s: float = 0.0
    """A start that took so long came to its time limit, and was not cut short by a preemption."""
    mark: int = -1
    """How far the cell was when it was started last; -1 nowhere."""
    idle_starts: int = 0
    """How many full starts in a row have come no further."""
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _status: int | None = None
    _begun: float = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what a later start has to know."""
        return {name: getattr(self, name) for name in _KEPT}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self._child, self._status, self._begun = None, None, 0.0
        for name, value in kept.items():
            setattr(self, name, value)

    def __call__(self) -> None:
        """Run the cell to its end; leave with its exit status, so that Slurm knows it too."""
        _remove_torn_pickles()
        self._begun = time.monotonic()
        self.mark = self._position()
        environment = {**os.environ, OWN_JOB_VARIABLE: job_of(os.environ) or ""}
        sweep = load(Path(self.sweep_dir))
        self._child = subprocess.Popen(
            cell_command(sweep, sweep.cell(self.cell_id)), env=environment
        )
        threading.Thread(target=self._await, args=(self._child,), daemon=True).start()
        # Not Popen.wait(): it holds a lock that the handler of a signal would wait for in vain.
        while self._status is None:
            time.sleep(LOOK_S)
        self._go_on_later()
        if self._status:
            raise SystemExit(self._status)

    def _go_on_later(self) -> None:
        """Have the job requeued where its command has ended at Slurm's notice of a preemption.

        The tasks of an srun get it, and we do not.
        """
        if not self._is_over() and is_being_preempted(os.environ.get("SLURM_JOB_ID", "")):
            signal.raise_signal(number_of_submitit())

    def checkpoint(self) -> Any:
        """Have the cell save and end, before its time limit or a preemption; called by submitit.

        Returns:
            What the requeued job is to call.

        Raises:
            SystemExit: the cell has come to its own end, or gets on no more: the job ends.
        """
        from submitit.helpers import DelayedSubmission

        has_ended = self._end()
        if has_ended and self._is_over():
            raise SystemExit(self._status)
        position = self._position()
        is_full = time.monotonic() - self._begun >= self.full_start_s
        idle_starts = 0 if position > self.mark else self.idle_starts + is_full
        if idle_starts >= STARTS_WITHOUT_PROGRESS:
            say(
                f"runstore: {self.cell_id}: {idle_starts} starts in a row came no further than "
                f"step {max(position, 0)}; not requeued: give it more time, or save more often"
            )
            raise SystemExit(self._status or 1)
        return DelayedSubmission(replace(self, mark=position, idle_starts=idle_starts))

    def _await(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        self._status = code if code >= 0 else 128 - code

    def _end(self) -> bool:
        """Ask the cell's command to end, and wait until it has saved; tell whether it has ended."""
        if self._child is None:
            return False
        say(f"runstore: {self.cell_id}: asked to save and end")
        if self._status is None:
            self._ask()
        deadline = time.monotonic() + self.grace_s
        while self._status is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        if self._status is None:
            say(
                f"runstore: {self.cell_id}: did not end in {self.grace_s:.0f} s, and goes on from "
                "an earlier checkpoint"
            )
        return self._status is not None

    def _ask(self) -> None:
        """SIGTERM to the command, by who watches it; to the tasks of a step not through srun."""
        sweep = load(Path(self.sweep_dir))
        job = job_of(os.environ)
        if Path(sweep.command[0]).name == "srun" and job is not None:
            # On SIGTERM srun kills its tasks; those of the batch step are not signalled.
            subprocess.run(["scancel", "--signal=TERM", job], check=False)
        elif self._child is not None:
            with suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGTERM)

    def _is_over(self) -> bool:
        """Tell whether the cell has come to its own end just then."""
        word = self._reader().state.status.word
        # A program that SIGTERM has ended behind srun is a failure to who watches srun.
        return word == "finished" or (word == "failed" and self._status != TERMINATED)

    def _position(self) -> int:
        """Return the step of the newest checkpoint; without any, the newest step."""
        rows = read_manifest(self._run_dir)
        if rows:
            return max(row.step for row in rows)
        step = self._reader().state.step
        return -1 if step is None else step

    def _reader(self) -> NativeReader:
        reader = NativeReader(self._run_dir, patient=False)
        reader.glance()
        return reader

    @property
    def _run_dir(self) -> Path:
        return SweepPaths(Path(self.sweep_dir)).cell(self.cell_id)


def _remove_torn_pickles() -> None:
    """Remove what a start left that was killed while submitit wrote: it would not write again."""
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.with_name(f"{path.name}.save_tmp").unlink(missing_ok=True)
