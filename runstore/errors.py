"""The exceptions that runstore raises on purpose.

    RunStoreError
    ├── RootNotFoundError      a root of runs that is not there, or no directory to list
    ├── RunNotFoundError       no run by that name
    │   └── AmbiguousRunError  several runs by that prefix
    ├── AttemptError           a run directory that may not be started now
    ├── StageError             a stage call in an order that makes no sense
    ├── CheckpointError        a checkpoint that cannot be written, read or resumed from
    ├── FormatError            a file that this version cannot read
    └── BadValueError          a value that cannot be logged (raised only with strict=True)

Each message says what was asked, what was found and what to do; the facts are attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class RunStoreError(Exception):
    """Anything that runstore refuses, with one line that a user can act on."""


class RootNotFoundError(RunStoreError):
    """The directory that should hold runs is not there, or cannot be listed."""

    def __init__(self, root: Path, problem: str) -> None:
        self.root = root
        self.problem = problem
        super().__init__(f"{root}: {problem}; name a directory of runs, or set $RUNSTORE_ROOT")


class RunNotFoundError(RunStoreError):
    """No run has the id, prefix or path that was asked for."""

    def __init__(self, wanted: str, searched: str, near: Sequence[str] = ()) -> None:
        self.wanted = wanted
        self.near = tuple(near)
        hint = f"; near: {', '.join(near)}" if near else "; `runstore ls` lists what is there"
        super().__init__(f"no run {wanted!r} in {searched}{hint}")


class AmbiguousRunError(RunNotFoundError):
    """More than one run has the id, or begins with the prefix, that was asked for."""

    def __init__(self, wanted: str, searched: str, matches: Sequence[str]) -> None:
        RunStoreError.__init__(
            self,
            f"{wanted!r} names {len(matches)} runs in {searched}: {', '.join(matches[:5])}"
            f"{', …' if len(matches) > 5 else ''}; give more of the id, or a path",
        )
        self.wanted = wanted
        self.near = tuple(matches)


class AttemptError(RunStoreError):
    """The run directory has an attempt that is alive, or that somebody else claimed first."""


class StageError(RunStoreError):
    """A stage call (begin_epoch, end_split, …) came when another one was expected."""


class CheckpointError(RunStoreError):
    """A checkpoint cannot be written, read, or resumed from."""


class FormatError(RunStoreError):
    """A file says that it was written by a format newer than this version reads."""


class BadValueError(RunStoreError):
    """A logged value is not a number; raised only when the run was opened with strict=True."""
