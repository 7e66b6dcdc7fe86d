"""What lies in a run's directory besides its rows: left files, owners, permissions, room."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from pathlib import Path

from runstore.doctor.findings import Findings
from runstore.files.paths import RunPaths
from runstore.writer import reserve

LEAST_FREE_BYTES = 256 << 20
LEAST_FREE_INODES = 1000

_TEMPORARY = re.compile(r"\.(.+\.tmp|probe-.+)", re.DOTALL)
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}", re.DOTALL)
_TORN = re.compile(r".+\.jsonl\.torn(\.[0-9]+)?", re.DOTALL)


def check_directory(run_dir: Path, findings: Findings, *, alive: bool, proven: bool) -> None:
    """Note left files, owners and permissions of a run's directory and its checkpoints.

    Args:
        run_dir: the run's directory.
        findings: where to note what is wrong.
        alive: the run may be using its temporary files now.
        proven: it is known whether it is alive.
    """
    try:
        owner = run_dir.stat()
    except OSError:
        return
    _check_mode(owner, findings)
    for directory in (run_dir, RunPaths(run_dir).checkpoints):
        prefix = "" if directory == run_dir else f"{directory.name}/"
        try:
            entries = _entries(directory)
        except OSError as error:
            # Of the run's own directory this is told where its files are looked for.
            if prefix and not isinstance(error, FileNotFoundError):
                why = (error.strerror or str(error)).lower()
                findings.add("unreadable", f"cannot be listed: {why}", file=directory.name)
            continue
        for entry in entries:
            name = prefix + entry.name
            _check_name(name, entry.name, findings, alive=alive, proven=proven)
            _check_owner(name, entry, owner.st_uid, findings)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as listing:
        return sorted(listing, key=lambda entry: entry.name)


def _check_name(name: str, base: str, findings: Findings, *, alive: bool, proven: bool) -> None:
    if _TORN.fullmatch(base):
        findings.add(
            "torn_sidecar", "bytes that stood behind the last newline of the file", file=name
        )
    elif alive:
        return
    elif _TEMPORARY.fullmatch(base):
        # Nobody is told to delete what a process out of sight may be writing.
        if proven:
            findings.add("temporary_file", "a document that was being written", file=name)
    elif base == reserve.NAME:
        if proven:
            findings.add("left_reserve", "left by a process that is gone", file=name)
    elif _RSYNC.fullmatch(base):
        findings.add("partial_copy", "left by an rsync that was stopped", file=name)


def _check_mode(directory: os.stat_result, findings: Findings) -> None:
    mode = directory.st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        findings.add("writable_by_all", f"mode {stat.filemode(mode)}")
    elif mode & stat.S_IWGRP and not _is_private(directory.st_uid, directory.st_gid):
        findings.add("writable_by_group", f"mode {stat.filemode(mode)}")


def _is_private(user: int, group: int) -> bool:
    """Tell whether a group is the user's own, as most systems give each user one of that name."""
    try:
        return pwd.getpwuid(user).pw_name == grp.getgrgid(group).gr_name
    except KeyError:
        return False


def _check_owner(name: str, entry: os.DirEntry[str], owner: int, findings: Findings) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        # Gone since.
        return
    if status.st_uid != owner:
        found = f"owned by user {status.st_uid}, the directory by {owner}"
        findings.add("other_owner", found, file=name)
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IWOTH:
        findings.add("writable_by_all", f"mode {stat.filemode(status.st_mode)}", file=name)


def check_room(path: Path, room: os.statvfs_result, findings: Findings) -> None:
    """Note a file system that will soon take no more.

    Args:
        path: what was asked about, for the words.
        room: what `os.statvfs` says.
        findings: where to note it.
    """
    free = room.f_bavail * room.f_frsize
    if free < LEAST_FREE_BYTES:
        findings.add("disk_nearly_full", f"{free >> 20:,} MiB are free on the disk of {path}")
    # Some file systems (btrfs) have no fixed number of them and say 0.
    if room.f_files and room.f_favail < LEAST_FREE_INODES:
        found = f"{room.f_favail:,} of {room.f_files:,} inodes are free on the disk of {path}"
        findings.add("inodes_nearly_used_up", found)
