"""The exceptions that runstore raises on purpose.

    RunStoreError
    ├── RootNotFoundError      a root of runs that is not there, or no directory to list
    ├── RunNotFoundError       no run by that name
    │   └── AmbiguousRunError  several runs by that prefix
    │       └── FolderOfRunsError  a directory that is no run, and holds some
    ├── UnusableDirectoryError a directory in which no run can be written
    ├── NotWritableError       a directory of a run that takes no file of a viewer's
    ├── UnreadableFileError    a file of a run that is there, and cannot be read
    ├── AttemptError           a run directory that may not be started now
    ├── RequestError           a run that cannot be asked to stop, or for a checkpoint
    ├── RemovalError           a run that is not to be removed, or could not be
    ├── StageError             a stage call in an order that makes no sense
    ├── CheckpointError        a checkpoint that cannot be written, read or resumed from
    ├── FormatError            a file that this version cannot read
    ├── ColumnMapError         a --map that names no column
    ├── NoSamplesError         a run that has no images
    ├── UnknownNameError       a stream, table or metric that is not there
    ├── MissingPackageError    an optional package that is not installed
    ├── SweepError             a sweep that cannot be planned
    │   └── UnfinishedCellsError   a sweep of which some cells have not finished
    └── BadValueError          a value that cannot be logged (raised only with strict=True)

Each message says what was asked, what was found and what to do; the facts are attributes.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path


class RunStoreError(Exception):
    """Anything that runstore refuses, with one line that a user can act on."""


class RootNotFoundError(RunStoreError):
    """The directory that should hold runs is not there, or cannot be listed."""

    def __init__(self, root: Path, problem: str, wanted: str = "") -> None:
        """Refuse `root`, in which the run `wanted` was to be found, if any."""
        self.root = root
        self.problem = problem
        asked = f", so there is no run {wanted!r} in it" if wanted else ""
        super().__init__(
            f"{root}: {problem}{asked}; name a directory of runs, or set $RUNSTORE_ROOT"
        )


class UnusableDirectoryError(RunStoreError, OSError):
    """A run cannot be written in the directory: no permission, read-only, or no appending."""

    def __init__(self, directory: Path, error: OSError | None = None) -> None:
        """Refuse `directory` because of an `error`, or because files there cannot grow."""
        self.directory = directory
        problem = "files there cannot be appended to, as on object stores"
        if error is not None:
            self.errno, self.strerror = error.errno, error.strerror
            problem = f"no file can be made there ({error.strerror})"
        self.problem = problem
        super().__init__(f"{directory}: {problem}; give the run another root, on a disk or a share")

    def __str__(self) -> str:
        """Return the line; OSError would put its own together."""
        return str(self.args[0])


_NOT_WRITABLE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or ask for more",
    errno.EROFS: "it can be read only there: go to a machine that may write it",
}
"""What to do where asking the owner would not help."""


class NotWritableError(RunStoreError, OSError):
    """What somebody wants to put into a directory, mostly a run's, cannot be written there."""

    def __init__(
        self,
        directory: Path,
        what: str,
        error: OSError,
        owner: str = "ask who owns the run, or make the directory writable",
    ) -> None:
        """Refuse `what` (`a note`) because of an `error` in `directory`; `owner` is what to do."""
        self.directory = directory
        self.what = what
        super().__init__(
            f"{directory}: {what} cannot be written there ({error.strerror or error}); "
            f"{_NOT_WRITABLE.get(error.errno or 0, owner)}"
        )
        # Behind it: OSError clears them when it gets its message.
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        """Return the line; OSError would put its own together."""
        return str(self.args[0])


class UnreadableFileError(RunStoreError):
    """A file of a run cannot be read: what is in it is not known, and is not nothing."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: cannot be read: {problem}")


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


class FolderOfRunsError(AmbiguousRunError):
    """A directory was asked for that is no run and has runs below."""

    def __init__(self, wanted: str, below: Sequence[str], *, is_all: bool) -> None:
        """Name the paths of the runs `below`; not `is_all` where there may be more."""
        runs = "1 run" if len(below) == 1 else f"{len(below):,} runs"
        RunStoreError.__init__(
            self,
            f"{wanted!r} is no run; {'' if is_all else 'at least '}{runs} below it: "
            f"{', '.join(below[:3])}{', …' if len(below) > 3 else ''}; "
            f"name one, or list them: runstore ls {shlex.quote(wanted)}",
        )
        self.wanted = wanted
        self.near = tuple(below)


class AttemptError(RunStoreError):
    """The run directory has an attempt that is alive, or that somebody else claimed first."""


class RequestError(RunStoreError):
    """A run cannot be asked to stop, or for a checkpoint."""

    def __init__(self, run: str, kind: str, why: str) -> None:
        """Refuse to ask the run of that name for a `kind` of thing."""
        self.kind = kind
        self.why = why
        super().__init__(f"{run}: cannot be asked for a {kind}; {why}")


class RemovalError(RunStoreError):
    """A run is not to be removed, or could not be."""

    def __init__(self, run_dir: Path, why: str) -> None:
        """Refuse to remove the run in a directory."""
        self.run_dir = run_dir
        self.why = why
        super().__init__(f"{run_dir}: not removed: {why}")


class StageError(RunStoreError):
    """A stage call (begin_epoch, end_split, …) came when another one was expected."""


class CheckpointError(RunStoreError):
    """A checkpoint cannot be written, read, or resumed from."""


class FormatError(RunStoreError):
    """A file says that it was written by a format newer than this version reads."""


class ColumnMapError(RunStoreError):
    """What `--map` says of a log's columns cannot be understood."""

    def __init__(self, part: str, earlier: str = "") -> None:
        """Refuse a `part` of it; `earlier` is the column that it has for the same already."""
        self.part = part
        problem = "expected step, epoch, time or split, =, and the name of a column"
        if earlier:
            problem = f"it is {earlier!r} already, and can be one column only"
        super().__init__(f"{part!r}: {problem}, such as --map step=iter,split=mode")


class NoSamplesError(RunStoreError):
    """A run has no image samples."""

    def __init__(self, run_id: str, run_dir: Path) -> None:
        """Refuse the run in `run_dir`."""
        self.run_id, self.run_dir = run_id, run_dir
        super().__init__(
            f"{run_id} has no image samples; run.log_images(…) writes them, or a script its own "
            f"into {run_dir}/samples/NAME/step-00000001.png"
        )


class UnknownNameError(RunStoreError, ValueError):
    """A stream, a table or a metric was asked for that is not there."""

    def __init__(self, kind: str, name: str, there: Sequence[str]) -> None:
        """Refuse a `name`; the names that are `there`, or the nearest of them, are told."""
        self.name = name
        self.there = tuple(there)
        found = f"there are {', '.join(there)}" if there else "there are no others"
        super().__init__(f"there is no {kind} {name!r}; {found}")


class MissingPackageError(RunStoreError, ModuleNotFoundError):
    """What was asked for needs a package that is not installed."""

    def __init__(self, package: str, asked: str, install: str = "") -> None:
        """Refuse what was `asked` for, a name of a function or an option; tell how to `install`."""
        install = install or f"pip install {package}"
        RunStoreError.__init__(self, f"{asked} needs {package}: {install}")
        self.name = package


class BadValueError(RunStoreError):
    """A logged value is not a number; raised only when the run was opened with strict=True."""


class SweepError(RunStoreError):
    """A sweep cannot be planned, or not all of its cells have finished."""


class UnfinishedCellsError(SweepError):
    """Some cells of `runstore.sweep` have not finished; the others have."""

    def __init__(
        self,
        sweep_dir: Path,
        results: Sequence[object],
        reasons: Mapping[str, str],
        errors: Mapping[str, BaseException],
    ) -> None:
        """Tell of cells by their ids: why they have not finished, and what they have raised.

        Args:
            sweep_dir: the directory of the sweep.
            results: what the function returned, in the order of the cells; None for those others.
            reasons: for each cell that has not finished, why.
            errors: the exceptions, of those that raised one in this call.
        """
        self.results = list(results)
        self.reasons = dict(reasons)
        self.errors = dict(errors)
        told = ", ".join(f"{cell} ({why})" for cell, why in list(reasons.items())[:3])
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        super().__init__(
            f"{sweep_dir}: {len(reasons)} of {len(results)} cells have not finished: {told}{more}; "
            "the same call runs them again, those that have failed with retry=True"
        )
