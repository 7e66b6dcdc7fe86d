"""The regular files below a directory, listed anew only where something came or went.

For formats that keep each metric or parameter in a file of its own: a look costs a call per folder.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from runstore.files.regular import why_unreadable

DEEPEST = 16
MOST_ENTRIES = 100_000
"""Entries of one folder that are looked at."""
MOST_FOLDERS = 4096
COARSE_S = 2.0
"""A folder that was changed so lately is listed once more: with coarse times, what comes within the
same tick of the clock leaves no trace."""
LISTED_EACH = 16
"""At each so many looks all is listed: a file server's client may answer from its memory."""


Signature = tuple[int, int, int]
"""What is another one when a file was changed or replaced."""


def signature_of(status: os.stat_result) -> Signature:
    """Return inode, size and time of the last change."""
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(slots=True)
class _Folder:
    signature: Signature | None = None
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    problem: str = ""


class FileTree:
    """Follows which files there are; links, devices and names with a dot in front are none."""

    def __init__(self, root: Path, *, most: int) -> None:
        """Follow `root`, which need not be there; know at most so many files."""
        self.names: list[str] = []
        """Relative paths in the order in which they came, those of one look sorted."""
        self.left_out = 0
        """How many files there were beyond `most`."""
        self.problem = ""
        """Why a folder could not be listed, with its name: `metrics/train/: permission denied`."""
        self._root, self._name, self._most = str(root), root.name, most
        self._folders: dict[str, _Folder] = {}
        self._looks = 0

    def look(self) -> bool:
        """Look again; tell whether files came or went."""
        old, self._folders = self._folders, {}
        again = self._looks % LISTED_EACH == 0
        self._looks += 1
        waiting, is_same = [""], True
        while waiting and len(self._folders) < MOST_FOLDERS:
            place = waiting.pop()
            known = old.get(place)
            found = self._folders[place] = self._listed(place, None if again else known)
            is_same = is_same and found is known
            if place.count("/") < DEEPEST:
                waiting += [f"{place}{name}/" for name in found.folders]
        return False if is_same else self._take_names()

    def _listed(self, place: str, known: _Folder | None) -> _Folder:
        path = f"{self._root}/{place}" if place else self._root
        now = time.time()
        try:
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                return _Folder()
            signature = signature_of(status)
            if known is not None and known.signature == signature:
                return known
            is_settled = now - status.st_mtime > COARSE_S
            return _entries(path, signature if is_settled else None)
        except FileNotFoundError:
            return _Folder()
        except OSError as error:
            return _Folder(problem=why_unreadable(error))

    def _take_names(self) -> bool:
        found = [
            f"{place}{name}" for place, folder in self._folders.items() for name in folder.files
        ]
        problems = [f"{self._name}/{p}: {f.problem}" for p, f in self._folders.items() if f.problem]
        self.problem = problems[0] if problems else ""
        there, known = set(found), set(self.names)
        kept = [name for name in self.names if name in there]
        fresh = sorted(there - known)[: self._most - len(kept)]
        self.left_out = len(there) - len(kept) - len(fresh)
        is_news = bool(fresh) or len(kept) < len(self.names)
        self.names = kept + fresh
        return is_news


def _entries(path: str, signature: Signature | None) -> _Folder:
    folder = _Folder(signature)
    with os.scandir(path) as listing:
        for entry in islice(listing, MOST_ENTRIES):
            if entry.name.startswith("."):
                continue
            if entry.is_file(follow_symlinks=False):
                folder.files.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folder.folders.append(entry.name)
    return folder
