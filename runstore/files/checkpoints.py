"""The checkpoints of a run, as files: which are there, whole, and where they leave the streams.

`checkpoints/manifest.jsonl` has one row per checkpoint that was completed. A file without a row
was never completed; a row without its file was pruned. Nothing here needs PyTorch: a viewer lists
checkpoints, and a resume must know the cuts before the training code loads anything.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstore.errors import CheckpointError
from runstore.files.atomic import sync_directory
from runstore.files.limits import MANIFEST_BYTES
from runstore.files.paths import RunPaths, StreamFile, is_checkpoint_name
from runstore.files.records import JsonObject, RecordError, decode, encode, integer
from runstore.files.regular import NotRegularError, open_regular, read_regular, why_unreadable

HASHED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One row of the manifest."""

    file: str
    """The file's name inside `checkpoints/`."""
    step: int
    attempt: int
    bytes: int
    sha256: str
    cuts: dict[str, int]
    """Stream file to its size when the checkpoint was taken."""
    epoch: int | None = None
    batch: int | None = None
    """Batches done of the open train split; None between epochs."""
    best: bool = False
    facts: JsonObject = field(default_factory=dict)
    """The row's other keys: `time`, `reason`, `duration_s`, …"""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CheckpointRow | None:
        """Return the row, or None when it lacks what a resume needs."""
        file, sha256, cuts = record.get("file"), record.get("sha256"), record.get("cuts")
        step, attempt, size = (integer(record, key) for key in ("step", "attempt", "bytes"))
        if not isinstance(file, str) or not _is_plain(file) or not isinstance(sha256, str):
            return None
        if step is None or attempt is None or size is None or not isinstance(cuts, dict):
            return None
        known = {name: size for name, size in cuts.items() if isinstance(size, int)}
        return cls(
            file,
            step,
            attempt,
            size,
            sha256,
            known,
            integer(record, "epoch"),
            integer(record, "batch"),
            record.get("best") is True,
            dict(record),
        )

    def problem(self, directory: Path) -> str | None:
        """Say what is wrong with the file; None when it has the bytes it should have.

        Raises:
            OSError: it cannot be read.
        """
        try:
            with open_checkpoint(directory / self.file) as file:
                size = os.fstat(file.fileno()).st_size
                if size != self.bytes:
                    return f"it has {size:,} bytes, expected {self.bytes:,}"
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except NotRegularError as error:
            return why_unreadable(error)
        return None if found == self.sha256 else "its bytes have changed (sha256 differs)"


def _is_plain(name: str) -> bool:
    """Tell whether a name is that of a file in `checkpoints/`, and leads nowhere else."""
    return os.sep not in name and "\0" not in name and not name.startswith(".") and name != ""


def open_checkpoint(path: Path) -> io.BufferedReader:
    """Open a checkpoint to read it: a regular file, no link to one.

    Raises:
        OSError: it is missing, or something else.
    """
    return os.fdopen(open_regular(path), "rb")


def hash_file(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal digits."""
    with open_checkpoint(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(run_dir: Path) -> list[CheckpointRow]:
    """Return the run's completed checkpoints, oldest first; damaged lines are passed over.

    Raises:
        OSError: the manifest is there, and cannot be read. That is not the same as no checkpoints.
    """
    try:
        return list(_rows(_manifest_lines(run_dir)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _manifest_lines(run_dir: Path) -> list[bytes]:
    """Return the manifest's lines.

    Raises:
        OSError: it is missing, no regular file, or longer than any manifest.
    """
    return read_regular(RunPaths(run_dir).manifest, MANIFEST_BYTES).split(b"\n")


def _rows(lines: list[bytes]) -> Iterator[CheckpointRow]:
    for line in lines:
        try:
            row = CheckpointRow.from_record(decode(line)) if line.strip() else None
        except RecordError:
            continue
        if row is not None:
            yield row


def append_to_manifest(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Add a row and make it durable.

    One attempt writes at a time, each `write` is a whole line; a row that the disk takes only the
    beginning of is taken back. A torn last line that nobody could seal, because its writer may be
    alive, is closed first.

    Raises:
        OSError: the disk does not take it.
        RecordError: it is longer than a line may be.
    """
    line = encode(record)
    path = RunPaths(run_dir).manifest
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" + line if torn else line
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a resumed run goes on."""

    row: CheckpointRow
    cuts: dict[str, int]
    """For the attempt's `open` event: the byte where each earlier file's rows end."""
    passed_over: list[str]
    """Newer checkpoints that cannot be used, in words."""


def find_resume_point(
    run_dir: Path, *, exact: bool = False
) -> tuple[ResumePoint | None, list[str]]:
    """Return the newest checkpoint that is whole, and what is wrong with the newer ones.

    With `exact` those are passed over whose epoch would begin again.

    Raises:
        CheckpointError: there is one that cannot be read, and no other. A file server that is away
            for a moment must not have the training start over.
        OSError: the manifest cannot be read.
    """
    directory = RunPaths(run_dir).checkpoints
    problems: list[str] = []
    unreadable = False
    for row in reversed(read_manifest(run_dir)):
        if not os.path.lexists(directory / row.file):
            # Pruned, as most are.
            continue
        try:
            problem = row.problem(directory)
        except OSError as error:
            problem, unreadable = f"{error.strerror}", True
        if exact and row.facts.get("kind") == "step":
            problem = "its epoch would begin again, and exact=True"
        if problem is None:
            return ResumePoint(row, cuts_behind(run_dir, row), problems), problems
        problems.append(f"checkpoints/{row.file} cannot be used: {problem}")
    if unreadable:
        raise CheckpointError(
            f"{run_dir}: no checkpoint to go on from: {'; '.join(problems)}; "
            "try again, or move checkpoints/ away to start over"
        )
    return None, problems


def cuts_behind(run_dir: Path, row: CheckpointRow) -> dict[str, int]:
    """Return where the rows end of each file that was written to after the checkpoint.

    What began later, a further part or attempt, ends at its first byte. Events, `exec`'s too, and
    system rows tell what happened, also behind a checkpoint: they are not cut.
    """
    cuts = dict(row.cuts)
    open_parts = {
        (file.stream, file.rank): file.part
        for file in map(StreamFile.parse, row.cuts)
        if file is not None and file.attempt == row.attempt
    }
    for name in os.listdir(run_dir):
        file = StreamFile.parse(name)
        if file is None or name in row.cuts or file.attempt < row.attempt:
            continue
        began_later = file.part > open_parts.get((file.stream, file.rank), -1)
        if file.attempt > row.attempt or began_later:
            cuts[name] = 0
    return {
        name: size
        for name, size in sorted(cuts.items())
        if (file := StreamFile.parse(name)) and file.stream not in ("events", "exec", "system")
    }


def files_to_prune(rows: list[CheckpointRow], keep_last: int) -> list[str]:
    """Return the files that neither are among the last ones nor the newest best one."""
    newest: dict[str, CheckpointRow] = {row.file: row for row in rows}
    kept = [row.file for row in newest.values()][-keep_last:]
    best = [row.file for row in newest.values() if row.best][-1:]
    return [file for file in newest if file not in kept and file not in best]


def files_without_row(run_dir: Path) -> list[str]:
    """Return the checkpoints' files that were renamed, but never listed: their writer was killed.

    Empty when the manifest cannot be read: without it, every file looks like one of them.
    """
    paths = RunPaths(run_dir)
    try:
        lines = _manifest_lines(run_dir)
        names = os.listdir(paths.checkpoints)
    except OSError:
        return []
    listed = {row.file for row in _rows(lines)}
    return sorted(name for name in names if is_checkpoint_name(name) and name not in listed)
