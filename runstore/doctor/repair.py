"""`--repair`: torn tails of dead runs, moved aside; nothing else is ever touched.

The sidecar beside the file is the only record: the events belong to the processes that wrote them.
A resume that starts at the same moment seals the same files. Each seal holds the lock of the file
that it cuts, so whoever comes second finds nothing to do; and a new attempt appends to a shared
file (the manifest) only behind its own look, which waits for that lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from runstore.files.seal import Sealed, torn_tail
from runstore.launch.leftovers import seal_left_files, torn_files
from runstore.sources import NATIVE, RunRef
from runstore.state.status import Status


@dataclass(frozen=True, slots=True)
class Refused:
    """A torn file that stays as it is."""

    file: str
    """From the run's directory."""
    reason: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done to one run."""

    sealed: list[Sealed] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def repair(ref: RunRef, status: Status) -> Repaired:
    """Seal the torn files of a run whose writers are proven to be gone.

    Args:
        ref: the run.
        status: what it was found to be, for the words of a refusal.
    """
    if ref.source is not NATIVE:
        return Repaired(refused=_refuse_plain(ref.path))
    torn = _torn_in(ref.path)
    if not torn:
        return Repaired()
    sealed, problems = seal_left_files(ref.path)
    why = f"its writer may be alive ({status.word}: {status.reason})"
    left = [path for path in _torn_in(ref.path) if path in torn]
    reasons = {path: _reason(path, problems, ref.path) or why for path in left}
    return Repaired(
        sealed, [Refused(str(path.relative_to(ref.path)), reasons[path]) for path in left]
    )


def _torn_in(run_dir: Path) -> list[Path]:
    try:
        return torn_files(run_dir)
    except OSError:
        # Told among the findings.
        return []


def _reason(path: Path, problems: list[str], run_dir: Path) -> str | None:
    """Return what went wrong with a file whose writer is gone."""
    name = str(path.relative_to(run_dir))
    return next((problem for problem in problems if f" of {name} stays" in problem), None)


def _refuse_plain(directory: Path) -> list[Refused]:
    reason = "plain JSON lines: no process is on record that could be proven gone"
    return [
        Refused(path.name, reason) for path in sorted(directory.glob("*.jsonl")) if _is_torn(path)
    ]


def _is_torn(path: Path) -> bool:
    try:
        return torn_tail(path) is not None
    except OSError:
        return False
