"""What `doctor` can find: a code each, how bad it is, and what to do about it.

Programs go by the codes (docs/doctor.md); the words are for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from runstore.files.limits import GAP_TOLD

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first. Notes are no reason for another exit status than 0."""


_Key = tuple[str, str | None, Severity]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is always true of the findings of one code."""

    severity: Severity
    """As it is without a reason to think less of it (a damaged line behind a cut is a note)."""
    advice: str
    """What to do about it."""


_COMPARE = "compare with another copy of the run"
_NOTHING = "nothing: readers leave it out"

KINDS: dict[str, Kind] = {
    # Lines.
    "bad_line": Kind("error", f"{_COMPARE}; readers leave this line out"),
    "nul_run": Kind("error", f"the file system lost what stood there; {_COMPARE}"),
    "torn_tail": Kind("warning", "seal it with --repair, or resume the run"),
    "repeated_rows": Kind("warning", "these rows count twice; leave the second ones out"),
    "steps_back": Kind("warning", "curves go back there; give the steps in order"),
    "time_back": Kind("warning", "rows were moved, or written by two processes"),
    # Files against what the end says of them.
    "bytes_differ": Kind("error", _COMPARE),
    "crc_differs": Kind("error", f"bytes have changed since they were written; {_COMPARE}"),
    "rows_differ": Kind("error", f"the end event itself is damaged; {_COMPARE}"),
    "missing_file": Kind("error", "copy it from where the run was written"),
    "unlisted_file": Kind("warning", "find out who wrote it: its rows count"),
    "missing_part": Kind("error", "copy it from where the run was written"),
    # Attempts.
    "missing_events": Kind("error", "copy the events file from where the run was written"),
    "missing_open": Kind("error", "the attempt's cuts and its process are unknown"),
    "missing_attempt": Kind("error", "copy its files from where the run was written"),
    "no_end": Kind("warning", "resume it: runstore resume RUN"),
    "odd_end": Kind("error", _COMPARE),
    "rows_lost": Kind("error", "they are in no file; make room before the next run"),
    "ranks_lost": Kind("warning", "look at the logs of these processes"),
    "left_out": Kind("note", "the run's warnings say which values, and why"),
    "mount_lacks": Kind("note", "runstore doctor --fs DIR tells what that means"),
    "attempts_overlap": Kind("warning", "two processes wrote, or two machines' clocks differ"),
    "future_time": Kind("warning", "set the clocks (chrony, ntpd)"),
    # Cuts.
    "cut_missing_file": Kind("error", "copy the file from where the run was written"),
    "cut_beyond_end": Kind("error", f"the file has lost rows; {_COMPARE}"),
    "cut_inside_line": Kind("error", f"a row is lost at the cut; {_COMPARE}"),
    "cut_differs": Kind("error", f"other rows count than those of the checkpoint; {_COMPARE}"),
    # Checkpoints.
    "checkpoint_missing": Kind("warning", "a resume goes on from an older one, or starts over"),
    "checkpoint_bytes": Kind("error", "a resume passes it over; delete it"),
    "checkpoint_changed": Kind("error", "a resume passes it over; delete it"),
    "checkpoint_unlisted": Kind("warning", "it was never completed; the next attempt removes it"),
    # Documents.
    "bad_document": Kind("error", _COMPARE),
    "no_document": Kind("note", "nothing: the events tell what is known"),
    "other_id": Kind("warning", "rename the directory back, or ignore the recorded id"),
    "same_id": Kind("warning", "delete or move the copy"),
    "newer_format": Kind("warning", "upgrade with: pip install -U runstore"),
    "stale_progress": Kind("note", _NOTHING),
    "ended_degraded": Kind("warning", "the disk did not take all rows; make room"),
    "empty_run": Kind("note", "delete the directory, unless a job is about to fill it"),
    # The directory.
    "temporary_file": Kind("note", "delete it: its writer is gone"),
    "partial_copy": Kind("warning", "run rsync again, then delete the file"),
    "torn_sidecar": Kind("note", "keep or delete it"),
    "left_reserve": Kind("note", "nothing: the next attempt takes it over"),
    "unreadable": Kind("error", "make it readable: chmod, chown"),
    "not_regular": Kind("error", "put the file itself in its place"),
    "writable_by_all": Kind("warning", "chmod o-w: anybody can change the run"),
    "writable_by_group": Kind("note", "chmod -R g-w, unless that is meant"),
    "other_owner": Kind("warning", "chown it: the run's owner may be unable to go on"),
    "left_removal": Kind("note", "runstore rm removes the rest of it"),
    # The file system.
    "disk_nearly_full": Kind("warning", "make room: rows will be lost"),
    "inodes_nearly_used_up": Kind("warning", "delete files: no new run can be made"),
}
"""Every code. The page docs/doctor.md says what each of them means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, or several of one kind in one file."""

    code: str
    severity: Severity
    run: str | None
    """The run's directory; None when it is about the root."""
    file: str | None
    """From the run's directory, or from the root."""
    line: int | None
    """The first one's, from 1."""
    byte: int | None
    """Where the first one begins, from 0."""
    count: int
    """How many of this kind there are in the file."""
    found: str
    """What was found, in words."""

    @property
    def advice(self) -> str:
        """What to do about it, in words."""
        return KINDS[self.code].advice

    @property
    def place(self) -> str:
        """`metrics-0001.jsonl:812`, or what of that is known."""
        name = self.file or ""
        if self.line is not None:
            return f"{name}:{self.line}"
        return name if self.byte is None else f"{name}@{self.byte}"

    def to_record(self) -> dict[str, Any]:
        """Return the fields as --json prints them."""
        return {**asdict(self), "advice": self.advice}


class Findings:
    """Those of one run, or of the root: one for each code and file, the first with its place."""

    def __init__(self, run: str | None) -> None:
        """Collect what is found in `run`."""
        self.run = run
        self._first: dict[_Key, Finding] = {}
        self._counts: Counter[_Key] = Counter()

    def add(
        self,
        code: str,
        found: str,
        *,
        file: str | None = None,
        line: int | None = None,
        byte: int | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Note one more; of several of a kind in a file only the first keeps its place."""
        severity = severity or KINDS[code].severity
        key = code, file, severity
        self._counts[key] += 1
        if key not in self._first:
            self._first[key] = Finding(code, severity, self.run, file, line, byte, 1, found)

    def take(self, others: Findings) -> None:
        """Note what `others` have too."""
        for key, first in others._first.items():
            self._first.setdefault(key, first)
        self._counts += others._counts

    def __iter__(self) -> Iterator[Finding]:
        """Yield them, the worst first, otherwise as they were found."""
        found = [replace(one, count=self._counts[key]) for key, one in self._first.items()]
        return iter(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))


def missing_numbers(present: Iterable[int], first: int) -> Iterator[int]:
    """Yield the numbers from `first` on that are missing below one that is there.

    Of a long gap the first ones.
    """
    expected = first
    for number in sorted(present):
        yield from range(expected, min(number, expected + GAP_TOLD))
        expected = number + 1


def has_failed(findings: Iterable[Finding]) -> bool:
    """Tell whether there is anything but notes."""
    return any(one.severity != "note" for one in findings)
