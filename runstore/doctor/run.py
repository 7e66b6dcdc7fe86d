"""One run, looked at as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runstore.doctor.attempts import (
    FUTURE_S,
    AttemptFacts,
    check_attempts,
    check_times,
    read_attempts,
    smallest_cuts,
)
from runstore.doctor.checkpoints import check_files, check_manifest
from runstore.doctor.findings import Findings
from runstore.doctor.rows import CheckedFile, RowCheck, Times
from runstore.doctor.streams import check_cuts, check_numbering, check_resumes, check_streams
from runstore.doctor.surroundings import check_directory
from runstore.files.paths import RunPaths, StreamFile
from runstore.files.records import number
from runstore.numbers import duration
from runstore.sources import NATIVE, RunRef, open_run
from runstore.sources.glances import ask_scheduler
from runstore.sources.reading import RunReader
from runstore.state.status import Status

MOST_LOOKS = 3
"""At a live run's rows: those that it writes again meanwhile are told by a cut that comes first."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One run, and what was found in it."""

    ref: RunRef
    id: str
    """As `run.json` has it; empty where nothing is recorded."""
    created: float | None
    """Unix seconds UTC, by which a copy is told from another run of the same id."""
    status: Status
    findings: Findings


def examine_run(ref: RunRef, *, now: float | None = None, hashed: bool = False) -> Examined:
    """Look at one run; nothing is changed.

    Args:
        ref: the run.
        now: Unix seconds; default: this machine's clock.
        hashed: compare the checksums of the checkpoints too, which reads them whole.
    """
    findings = Findings(str(ref.path))
    # Before the look at its processes: an attempt that begins in between is not taken for dead.
    names = _names_in(ref.path, findings)
    reader = open_run(ref, patient=False)
    reader.glance()
    ask_scheduler([reader])
    if reader.refused is not None:
        findings.add("newer_format", str(reader.refused))
    else:
        now = time.time() if now is None else now
        if ref.source is not NATIVE:
            _check_plain(reader, findings, now)
        elif names:
            _Native(ref.path, reader, names, findings).check(now, hashed=hashed)
    status = reader.state.status
    proven = status.word != "unknown"
    check_directory(ref.path, findings, alive=status.is_proven_alive, proven=proven)
    recorded = reader.state.info.get("id")
    run_id = recorded if isinstance(recorded, str) else ""
    return Examined(ref, run_id, reader.state.created, status, findings)


def _names_in(run_dir: Path, findings: Findings) -> list[str]:
    try:
        names = os.listdir(run_dir)
    except OSError as error:
        findings.add("unreadable", f"cannot be listed: {(error.strerror or '').lower()}")
        return []
    if not names:
        findings.add("empty_run", "an empty directory")
    return names


def _check_plain(reader: RunReader, findings: Findings, now: float) -> None:
    """Lines of anybody: no attempts, no process, and rows that may repeat."""
    times = Times()
    for path in (*reader.files("metrics"), *reader.files("epochs")):
        check = RowCheck(findings, times, strict=False)
        check.read(CheckedFile(findings, path, path.name, growing=True, proven=False))
    _check_future(times, now, findings)


def _check_future(times: Times, now: float, findings: Findings) -> None:
    check_times({1: AttemptFacts(1, times=times)}, now, findings)


class _Native:
    """A run in runstore's own format."""

    def __init__(
        self, run_dir: Path, reader: RunReader, names: Sequence[str], findings: Findings
    ) -> None:
        self._run_dir = run_dir
        self._names = names
        self._findings = findings
        self._state = reader.state
        self._status = reader.state.status
        self._files = [file for name in names if (file := StreamFile.parse(name))]
        self._newest = max((file.attempt for file in self._files), default=0)
        self._attempts: dict[int, AttemptFacts] = {}

    def check(self, now: float, *, hashed: bool) -> None:
        self._attempts = self._read_attempts(self._findings)
        check_attempts(self._attempts, self._files, self._status, self._findings)
        self._check_rows()
        cuts = smallest_cuts(self._attempts.values())
        check_numbering(self._run_dir, self._files, self._attempts, cuts, self._findings)
        check_cuts(self._run_dir, self._names, self._attempts, self._findings)
        self._check_checkpoints(hashed)
        check_times(self._attempts, now, self._findings)
        self._check_documents(now)

    def _read_attempts(self, findings: Findings) -> dict[int, AttemptFacts]:
        return read_attempts(
            self._files, findings, lambda file: self._checked(file, findings, None)
        )

    def _check_rows(self) -> None:
        """Read all rows; again when a live run has cut one of its files meanwhile."""
        for _ in range(MOST_LOOKS):
            cuts = smallest_cuts(self._attempts.values())
            found = Findings(self._findings.run)
            times = self._read_rows(cuts, found)
            if not self._status.is_proven_alive:
                break
            self._attempts = self._read_attempts(Findings(None))
            if smallest_cuts(self._attempts.values()) == cuts:
                break
        self._findings.take(found)
        for number_, attempt in self._attempts.items():
            if number_ in times:
                attempt.times.join(times[number_])

    def _read_rows(self, cuts: dict[str, int], findings: Findings) -> dict[int, Times]:
        def checked(file: StreamFile) -> CheckedFile:
            return self._checked(file, findings, cuts.get(file.name))

        return check_streams(self._run_dir, self._files, self._attempts, cuts, findings, checked)

    def _checked(self, file: StreamFile, findings: Findings, cut: int | None) -> CheckedFile:
        attempt = self._attempts.get(file.attempt)
        # Of the events themselves only the status tells whether they go on.
        ended = attempt is not None and attempt.is_over
        last = file.attempt == self._newest and not ended
        growing = last and (self._status.is_proven_alive or self._status.word == "unknown")
        proven = not last or self._status.word != "unknown"
        path = self._run_dir / file.name
        return CheckedFile(findings, path, file.name, growing, proven, visible_bytes=cut)

    def _check_checkpoints(self, hashed: bool) -> None:
        alive = self._status.is_proven_alive
        proven = self._status.word != "unknown"
        growing = alive or not proven
        rows = check_manifest(self._run_dir, self._findings, growing=growing, proven=proven)
        check_files(self._run_dir, rows, self._findings, alive=growing, hashed=hashed)
        check_resumes(self._attempts, rows, self._findings)

    def _check_documents(self, now: float) -> None:
        document = RunPaths(self._run_dir).document
        state, findings = self._state, self._findings
        if document.name not in self._names:
            findings.add("no_document", f"no {document.name}", file=document.name)
        elif not state.info:
            why = state.problems.get(document.name, "cannot be read, or is empty")
            findings.add("bad_document", why, file=document.name)
        elif state.id != self._run_dir.resolve().name:
            findings.add("other_id", f"has the id {state.id}", file=document.name)
        created = number(state.info, "created")
        if created is not None and created > now + FUTURE_S:
            ahead = duration(created - now)
            found = f"a time {ahead} ahead of this machine's clock"
            findings.add("future_time", found, file=document.name)
        self._check_progress()

    def _check_progress(self) -> None:
        name = RunPaths(self._run_dir).progress.name
        progress = self._state.progress
        if name not in self._names or self._status.alive:
            return
        if progress is None or progress.attempt < self._newest:
            of = "not readable" if progress is None else f"of attempt {progress.attempt}"
            self._findings.add("stale_progress", of, file=name)
        elif progress.degraded:
            found = "rows waited in memory for the disk at the last heartbeat"
            self._findings.add("ended_degraded", found, file=name)
