"""An array's cells on record before `sbatch` runs: its caller may be killed behind it.

Between Slurm's taking an array and the `slurm.json` of its cells nobody else knows what it is for.
So its cells stand in `array.json` from before `sbatch` until all have their `slurm.json`. The next
call asks Slurm for the jobs of such an array, by the path of its batch script, which is no other
array's, and puts them on record.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.errors import NotWritableError, SweepError
from runstore.files.atomic import write_document
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.paths import SweepPaths
from runstore.files.records import RecordError, decode_document
from runstore.files.regular import read_regular
from runstore.launch.run_document import document_bytes
from runstore.slurm.jobs import SlurmSilentError, jobs_of_scripts
from runstore.slurm.submission import submission_of, write_submission
from runstore.sweeps.document import Sweep

SBATCH_S = 30.0
"""So long behind the end of its caller an `sbatch` that was under way may reach Slurm."""
ASK_EVERY_S = 2.0
_NAME = "array.json"


@dataclass(frozen=True, slots=True)
class Announced:
    """An array that is to be submitted, or was, as its `array.json` says."""

    path: Path
    """The `array.json`, in a folder of its own."""
    scripts: Path
    """The folder in which submitit writes the batch script."""
    before: frozenset[str]
    """The scripts that were in it before."""
    cells: tuple[tuple[str, int], ...]
    """The id of each task's cell, and how many attempts its run had."""
    time: float
    """Unix seconds, UTC."""

    @property
    def new_scripts(self) -> list[Path]:
        """Those that have come since; none where the caller did not get as far as `sbatch`."""
        return [self.scripts / name for name in sorted(_scripts(self.scripts) - self.before)]

    def jobs(self) -> dict[int, str]:
        """Return what Slurm has of the array: the job of each task.

        Raises:
            SlurmSilentError: it gives no answer.
        """
        deadline = time.monotonic() + SBATCH_S
        while new := self.new_scripts:
            found = jobs_of_scripts(new, self.path.stat().st_uid)
            # submitit renames a script, and leaves a link, when sbatch has returned.
            is_settled = any(path.is_symlink() for path in new)
            is_old = time.time() > self.time + SBATCH_S or time.monotonic() > deadline
            if found or is_settled or is_old:
                return found
            time.sleep(ASK_EVERY_S)
        return {}

    def with_jobs(self, jobs: Mapping[int, str]) -> list[tuple[tuple[str, int], str]]:
        """Return the cells of these tasks, each with its job."""
        return [(cell, jobs[task]) for task, cell in enumerate(self.cells) if task in jobs]

    def done(self) -> None:
        """Take it off the record: each job has its `slurm.json`, or there is none."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        # Of a function the folder has nothing else: its executor has one of its own.
        with suppress(OSError):
            self.path.parent.rmdir()
            self.path.parent.parent.rmdir()

    def refused(self) -> None:
        """Remove what was prepared for an array that Slurm has not taken."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        with suppress(OSError):
            self.path.parent.parent.rmdir()


def announce(
    sweep: Sweep, cells: Sequence[tuple[str, int]], scripts: Path | None = None
) -> Announced:
    """Put on record that an array is about to be submitted.

    Args:
        sweep: the sweep; it is locked.
        cells: the id of each task's cell, and how many attempts its run has.
        scripts: where submitit will write the batch script; default the folder of the `array.json`.

    Raises:
        NotWritableError: the sweep's directory takes no file.
    """
    above = SweepPaths(sweep.path).slurm
    try:
        above.mkdir(exist_ok=True)
        number = 1 + max(
            (int(name.name) for name in above.iterdir() if name.name.isdecimal()), default=0
        )
        folder = above.absolute() / f"{number:04d}"
        folder.mkdir()
        announced = Announced(
            path=folder / _NAME,
            scripts=scripts or folder,
            before=_scripts(scripts or folder),
            cells=tuple(cells),
            time=time.time(),
        )
        document = {
            "scripts": str(announced.scripts),
            "before": sorted(announced.before),
            "cells": [list(cell) for cell in cells],
            "time": announced.time,
        }
        write_document(announced.path, document_bytes(document))
    except OSError as error:
        raise NotWritableError(above, "submitit's files", error) from error
    return announced


def adopt(
    sweep: Sweep, log: Callable[[Path, str], Path], hand_over: Callable[[str, Path, str], None]
) -> int:
    """Put on record what Slurm has of arrays whose callers were killed; return how many cells.

    Args:
        sweep: the sweep; it is locked.
        log: tells where a job prints, given the folder of its script.
        hand_over: writes what a cell's job is to call, if that caller had not come to it.

    Raises:
        SweepError: Slurm gives no answer, so it is not known what it has; or the `array.json` names
            a cell that the sweep has not.
        NotWritableError: what it has cannot be put on record.
    """
    count = 0
    for path in sorted(SweepPaths(sweep.path).slurm.glob(f"*/{_NAME}")):
        announced = _read(path)
        if announced is None:
            continue
        if not announced.new_scripts:
            announced.refused()
            continue
        try:
            jobs = announced.jobs()
        except SlurmSilentError as error:
            raise not_known(sweep, error) from None
        try:
            for (cell_id, attempts), job in announced.with_jobs(jobs):
                # It is in a file, and is made into a path.
                run_dir = sweep.run_dir(sweep.cell(cell_id))
                hand_over(cell_id, announced.scripts, job)
                before = submission_of(run_dir)
                # It may say by now that the job was cancelled.
                if before is None or before.job != job:
                    printed = log(announced.scripts, job)
                    write_submission(run_dir, job, attempts=attempts, log=printed)
        except OSError as error:
            what = "the numbers of Slurm's jobs"
            raise NotWritableError(sweep.path, what, error) from error
        announced.done()
        count += len(jobs)
    return count


def not_known(sweep: Sweep, error: SlurmSilentError) -> SweepError:
    """Return why nothing is submitted while Slurm gives no answer."""
    return SweepError(
        f"{error}, so it is not known which cells of {sweep.path} it has; nothing was submitted: "
        "try again later"
    )


def _scripts(folder: Path) -> frozenset[str]:
    # glob() passes over none that begin with a dot, unlike a shell.
    return frozenset(path.name for path in folder.glob("*submission_file_*.sh"))


def _read(path: Path) -> Announced | None:
    try:
        document = decode_document(read_regular(path, DOCUMENT_BYTES), DOCUMENT_BYTES)
        return _announced(path, document)
    except (OSError, RecordError, KeyError, TypeError, ValueError):
        # Nobody else's file has this name here; one that is torn was never written to its end.
        return None


def _announced(path: Path, document: Mapping[str, Any]) -> Announced:
    return Announced(
        path=path.absolute(),
        scripts=Path(document["scripts"]),
        before=frozenset(map(str, document["before"])),
        cells=tuple((str(cell), int(attempts)) for cell, attempts in document["cells"]),
        time=float(document["time"]),
    )
