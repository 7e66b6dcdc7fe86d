"""The checkpoints of a run: what their manifest says against what is there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runstore.doctor.findings import Findings, Severity
from runstore.doctor.rows import CheckedFile
from runstore.files.checkpoints import CheckpointRow, hash_file
from runstore.files.paths import RunPaths, is_checkpoint_name


def check_manifest(
    run_dir: Path, findings: Findings, *, growing: bool, proven: bool
) -> dict[str, CheckpointRow]:
    """Return the manifest's rows by the name of their file; note damaged ones."""
    path = RunPaths(run_dir).manifest
    rows: dict[str, CheckpointRow] = {}
    if not os.path.lexists(path):
        return rows
    name = str(path.relative_to(run_dir))
    checked = CheckedFile(findings, path, name, growing=growing, proven=proven)
    for line, byte, _, record in checked.records():
        row = CheckpointRow.from_record(record)
        if row is None:
            findings.add("bad_line", "no checkpoint's row", file=name, line=line, byte=byte)
        else:
            # A later row of the same name holds.
            rows.pop(row.file, None)
            rows[row.file] = row
    return rows


def check_files(
    run_dir: Path,
    rows: dict[str, CheckpointRow],
    findings: Findings,
    *,
    alive: bool,
    hashed: bool,
) -> None:
    """Compare the checkpoints' files with their rows.

    Args:
        run_dir: the run's directory.
        rows: the manifest's, oldest first.
        findings: where to note what is wrong.
        alive: the run may be writing a checkpoint now, or removing one.
        hashed: read each file whole and compare its checksum.
    """
    directory = RunPaths(run_dir).checkpoints
    try:
        names = set(os.listdir(directory))
    except OSError:
        return
    for row in rows.values():
        if row.file in names:
            _compare(directory / row.file, row, findings, hashed=hashed)
    if alive:
        return
    newest = next(reversed(rows.values()), None)
    kept = {name for name in names if is_checkpoint_name(name)}
    if newest is not None and newest.file not in names:
        found = "the newest checkpoint is not there" if kept else "no checkpoint is there any more"
        severity: Severity | None = None if kept else "note"
        file = f"{directory.name}/{newest.file}"
        findings.add("checkpoint_missing", found, file=file, severity=severity)
    for name in sorted(kept - rows.keys()):
        found = "the manifest has no row of it"
        findings.add("checkpoint_unlisted", found, file=f"{directory.name}/{name}")


def _compare(path: Path, row: CheckpointRow, findings: Findings, *, hashed: bool) -> None:
    name = f"{path.parent.name}/{path.name}"
    try:
        status = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            findings.add("not_regular", "no regular file: it is not read", file=name)
        elif status.st_size != row.bytes:
            found = f"{status.st_size:,} bytes, expected {row.bytes:,} from the manifest"
            findings.add("checkpoint_bytes", found, file=name)
        elif hashed and hash_file(path) != row.sha256:
            found = "its checksum is not the manifest's"
            findings.add("checkpoint_changed", found, file=name)
    except FileNotFoundError:
        # Pruned since.
        return
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        findings.add("unreadable", f"cannot be read: {why}", file=name)
