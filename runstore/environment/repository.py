"""A git repository, asked and given worktrees; nothing here writes into anybody's working tree."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runstore.errors import RunStoreError

ASKED_S = 20.0
"""A question that takes longer is given up; a checkout may take its time."""
COMMITS_TOLD = 20
# No hook of the repository runs for what is done here, and no lock is taken to answer. A question
# starts no program that its settings name: the repository is one that a run's file has named.
_SETTINGS = (f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "log.showSignature=false")
_SAFE_DIRECTORY = re.compile(r"safe\.directory (.+)")
_GIT = ("git", "--no-optional-locks", *(part for one in _SETTINGS for part in ("-c", one)))


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit, as a list of them shows it."""

    id: str
    """Abbreviated, in hexadecimal digits."""
    subject: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, by the top of one of its working trees, or by itself where it is bare."""

    top: Path

    @classmethod
    def around(cls, directory: Path) -> Repository | None:
        """Return the repository that a directory lies in; None where there is none, or no git."""
        if not directory.is_dir():
            return None
        told = _ask(directory, "rev-parse", "--show-toplevel") or _ask(
            directory, "rev-parse", "--absolute-git-dir"
        )
        return cls(Path(told)) if told else None

    def has(self, commit: str) -> bool:
        """Tell whether a commit is in it."""
        return _ask(self.top, "cat-file", "-t", commit) == "commit"

    def commits(self, since: str, until: str) -> list[Commit]:
        """Return the commits of `until` that `since` does not have, the newest first; at most 20.

        None where one of them is not there.
        """
        told = _ask(
            self.top,
            *("log", f"--max-count={COMMITS_TOLD}", "--format=%h %s", f"{since}..{until}", "--"),
        )
        pairs = (line.partition(" ") for line in (told or "").splitlines())
        return [Commit(commit, subject) for commit, _, subject in pairs]

    def add_worktree(self, into: Path, commit: str) -> None:
        """Check a commit out into a new directory, on no branch.

        Raises:
            RunStoreError: git refuses, or is not there.
        """
        _do(self.top, "worktree", "add", "--quiet", "--detach", str(into), commit)

    def remove_worktree(self, into: Path) -> None:
        """Remove one that `add_worktree` made, with what is in it.

        Raises:
            RunStoreError: git refuses.
        """
        _do(self.top, "worktree", "remove", "--force", str(into))


def distrust(directory: Path) -> str:
    """Return why git opens no repository around a directory although there is one, in words.

    Since git 2.35.2 that is so where it belongs to another user, as a checkout does that is mounted
    into a container. Empty where git opens it, is not there, or has none to open.
    """
    try:
        done = subprocess.run(
            (*_GIT, "-C", str(directory), "rev-parse", "--git-dir"),
            capture_output=True,
            timeout=ASKED_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # Its words are the user's language; the command that it proposes is not.
    proposed = _SAFE_DIRECTORY.search(done.stderr.decode("utf-8", "replace"))
    if done.returncode == 0 or proposed is None:
        return ""
    # It stands there as the shell takes it.
    words = shlex.split(proposed[1])
    return (
        f"git does not trust {' '.join(words)}, which belongs to another user; to let it: "
        f"git config --global --add safe.directory {proposed[1]}"
    )


def apply_patch(worktree: Path, patch: bytes) -> None:
    """Apply a patch in a worktree; all of it or nothing. Git writes nowhere else.

    Raises:
        RunStoreError: it does not apply.
    """
    _do(worktree, "apply", "--whitespace=nowarn", "-", data=patch)


def _ask(directory: Path, *arguments: str) -> str | None:
    told = output_of((*_GIT, "-C", str(directory), *arguments), ASKED_S)
    return None if told is None else told.removesuffix("\n")


def output_of(command: Sequence[str], limit_s: float) -> str | None:
    """Return what a call of git prints; None where it fails, is not there, or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limit_s, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return done.stdout.decode("utf-8", "surrogateescape")


def _do(directory: Path, *arguments: str, data: bytes = b"") -> None:
    command: Sequence[str] = (*_GIT, "-C", str(directory), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, input=data)
    except OSError as error:
        raise RunStoreError(f"git: cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = next((line for line in said if line.startswith(("fatal:", "error:"))), "")
        raise RunStoreError(f"git {arguments[0]}: {why or f'exit status {done.returncode}'}")
