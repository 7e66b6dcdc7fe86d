"""`slurm.json`: the Slurm job that was submitted for a run and is to begin its next attempt.

Until the job has started nothing else in the run's directory knows of it. Whoever submits writes
the document; the run itself never does (docs/format.md, "slurm.json").
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from runstore.files.atomic import write_document
from runstore.files.limits import DOCUMENT_BYTES, TEXT_CHARS
from runstore.files.paths import RunPaths
from runstore.files.records import RecordError, decode_document, encode, integer, number
from runstore.files.regular import read_regular

OWN_JOB_VARIABLE = "RUNSTORE_SLURM_JOB"
"""Set for a run that has a Slurm job for itself: who cancels the run may cancel the job."""
_JOB = re.compile(r"[0-9]{1,10}(?:_[0-9]{1,10})?")
"""Slurm counts in 32 bits; `123_4` is a task of an array."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What `slurm.json` says."""

    job: str
    """As Slurm's programs take it: `123`, or `123_4` for a task of an array."""
    attempts: int
    """How many the run had when the job was submitted: the job begins the next one."""
    inode: int | None = None
    """Of the run's directory; a copy has another one, and knows nothing of the job."""
    time: float | None = None
    """When it was submitted, Unix seconds of the submitting machine."""
    log: str = ""
    """What the job prints before the run's own output begins."""
    cancelled: float | None = None
    """When `runstore cancel` has cancelled the job, Unix seconds; Slurm may forget that."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Submission | None:
        """Read the document; None where it names no job."""
        job, log = record.get("job"), record.get("log")
        if not is_job(job):
            return None
        return cls(
            job=job,
            attempts=integer(record, "attempts") or 0,
            inode=integer(record, "inode"),
            time=number(record, "time"),
            log=log[:TEXT_CHARS] if isinstance(log, str) else "",
            cancelled=number(record, "cancelled"),
        )

    def is_of(self, run_dir: Path) -> bool:
        """Tell whether the job is of this directory, and not of one that it is a copy of."""
        try:
            return self.inode is None or run_dir.stat().st_ino == self.inode
        except OSError:
            return False


def is_job(text: object) -> TypeGuard[str]:
    """Tell whether `text` is the number of a job, or of an array's task."""
    return isinstance(text, str) and _JOB.fullmatch(text) is not None


def write_submission(run_dir: Path, job: str, *, attempts: int, log: Path | None) -> None:
    """Put on record that a job was submitted which begins the run's next attempt.

    Args:
        run_dir: the run's directory.
        job: the job.
        attempts: how many the run has.
        log: what the job prints goes there; None where that is not known.

    Raises:
        OSError: the directory takes no file.
    """
    document = {
        "job": job,
        "attempts": attempts,
        "inode": run_dir.stat().st_ino,
        "time": time.time(),
        **({"log": str(log)} if log else {}),
    }
    write_document(RunPaths(run_dir).submission, encode(document))


def submission_of(run_dir: Path) -> Submission | None:
    """Return what the `slurm.json` of a run says; None without one, or without a job in it.

    Raises:
        OSError: it cannot be read.
    """
    return Submission.from_record(_document(run_dir))


def _document(run_dir: Path) -> dict[str, Any]:
    try:
        data = read_regular(RunPaths(run_dir).submission, DOCUMENT_BYTES)
        return decode_document(data, DOCUMENT_BYTES)
    except (FileNotFoundError, RecordError):
        return {}


def note_cancelled(run_dir: Path, job: str, *, attempts: int) -> None:
    """Put on record that a job of a run was cancelled, unless another one was submitted since.

    Args:
        run_dir: the run's directory.
        job: what was cancelled.
        attempts: how many the run had before the one that the job was to begin, or has begun.

    Raises:
        OSError: the directory takes no file.
    """
    document = _document(run_dir)
    before = Submission.from_record(document)
    if before is None or (before.job != job and before.attempts < attempts):
        # Of a script that somebody has submitted: nothing is on record yet.
        document = {"job": job, "attempts": attempts, "inode": run_dir.stat().st_ino}
    elif before.job != job:
        return
    cancelled = {**document, "cancelled": time.time()}
    write_document(RunPaths(run_dir).submission, encode(cancelled))
