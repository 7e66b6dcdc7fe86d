"""What the events say of each attempt, and what does not fit together in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runstore.doctor.findings import Findings, Severity
from runstore.doctor.rows import CheckedFile, Times
from runstore.liveness import ENDINGS
from runstore.numbers import duration
from runstore.paths import StreamFile
from runstore.records import JsonObject, integer, number
from runstore.status import Status

ROW_STREAMS = ("metrics", "epochs", "reports", "system")
"""Streams of rows; the end event of their attempt names their files. What else there is (`exec`)
has a process of its own, and only its lines are looked at."""
FUTURE_S = 60.0
"""So far the clocks of a cluster's machines may be apart without a word."""
_LOST = re.compile(r"\brows\b.* lost\b")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an event says that an earlier file ends."""

    of: str
    bytes: int
    file: str
    """The events file that says so."""
    line: int
    byte: int


@dataclass(slots=True)
class AttemptFacts:
    """One attempt, from its events file."""

    number: int
    opened: JsonObject | None = None
    ended: JsonObject | None = None
    end_line: int = 0
    cuts: list[Cut] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    lines: int = 0

    @property
    def tallies(self) -> Mapping[str, JsonObject] | None:
        """What each file should hold, by name; None when the attempt has not said so."""
        files = (self.ended or {}).get("files")
        if not isinstance(files, dict):
            return None
        return {name: tally for name, tally in files.items() if isinstance(tally, dict)}

    @property
    def opened_at(self) -> float | None:
        """Unix seconds."""
        return number(self.opened or {}, "time")

    @property
    def host(self) -> object:
        """The machine on which it ran."""
        return (self.opened or {}).get("host")

    def take(self, file: StreamFile, line: int, byte: int, event: JsonObject) -> None:
        """Note what one event says."""
        self.lines += 1
        moment = number(event, "time")
        if moment is not None:
            self.times.take(moment, file.name, line)
        match event.get("event"):
            case "open" if self.lines == 1:
                self.opened = event
                cuts = event.get("cuts")
                for of, size in cuts.items() if isinstance(cuts, dict) else ():
                    self._cut(Cut(of, size, file.name, line, byte))
            case "cut":
                of, size = event.get("file"), event.get("bytes")
                if isinstance(of, str) and isinstance(size, int):
                    self._cut(Cut(of, size, file.name, line, byte))
            case "end":
                self.ended, self.end_line = event, line

    def _cut(self, cut: Cut) -> None:
        # The next part has some events again.
        if not any((one.of, one.bytes) == (cut.of, cut.bytes) for one in self.cuts):
            self.cuts.append(cut)


def smallest_cuts(attempts: Iterable[AttemptFacts]) -> dict[str, int]:
    """Return where the rows end that count, for each file that has a cut."""
    cuts: dict[str, int] = {}
    for attempt in attempts:
        for cut in attempt.cuts:
            cuts[cut.of] = max(0, min(cut.bytes, cuts.get(cut.of, cut.bytes)))
    return cuts


Opener = Callable[[StreamFile], CheckedFile]


def read_attempts(
    files: Sequence[StreamFile], findings: Findings, checked: Opener
) -> dict[int, AttemptFacts]:
    """Return what the events files say, by attempt; note damaged lines and lost rows."""
    found: dict[int, AttemptFacts] = {}
    for file in sorted(file for file in files if file.stream == "events"):
        facts = found.setdefault(file.attempt, AttemptFacts(file.attempt))
        for line, byte, _, event in checked(file).records():
            facts.take(file, line, byte, event)
            _look_for_lost_rows(findings, file.name, line, byte, event)
    return found


def _look_for_lost_rows(
    findings: Findings, file: str, line: int, byte: int, event: JsonObject
) -> None:
    for code, found in _losses(event):
        findings.add(code, found, file=file, line=line, byte=byte)


def _losses(event: JsonObject) -> Iterator[tuple[str, str]]:
    kind = event.get("event")
    if kind == "warning" and _LOST.search(str(event.get("message"))):
        yield "rows_lost", str(event.get("message"))
    if kind == "open" and (without := event.get("without")):
        yield "mount_lacks", f"the run found none of these here: {without}"
    if "unwritable" in event:
        yield "left_out", f"an event is not as it was: {event['unwritable']}"
    if kind != "end":
        return
    if rows := integer(event, "dropped_rows"):
        yield "rows_lost", f"{rows:,} rows were lost: the disk took no more"
    if values := integer(event, "dropped_values"):
        yield "left_out", f"{values:,} values were not logged"
    if ranks := event.get("lost_ranks"):
        yield "ranks_lost", f"processes were gone at the end: ranks {ranks}"


def check_attempts(
    attempts: Mapping[int, AttemptFacts],
    files: Sequence[StreamFile],
    status: Status,
    findings: Findings,
) -> None:
    """Note attempts without a beginning, without an end, and missing ones."""
    with_rows = {file.attempt for file in files if file.stream in ROW_STREAMS}
    for number_ in sorted(attempts):
        # Claimed a moment ago, it may be about to open.
        may_open = number_ == max(attempts) and status.alive and number_ not in with_rows
        _check_opening(attempts[number_], may_open, findings)
    with_files = {file.attempt for file in files}
    for number_ in sorted(with_rows - set(attempts) - written_by_others(files)):
        name = StreamFile(number_, 0, "events").name
        findings.add("missing_events", f"attempt {number_} has rows and no events", file=name)
    for number_ in set(range(1, max(with_files, default=0))) - with_files:
        name = StreamFile(number_, 0, "events").name
        findings.add("missing_attempt", f"nothing of attempt {number_} is there", file=name)
    if attempts:
        _check_end(attempts[max(attempts)], status, findings)


def written_by_others(files: Iterable[StreamFile]) -> set[int]:
    """Return the attempts that another process than the training's has written to."""
    own = (*ROW_STREAMS, "events")
    return {file.attempt for file in files if file.stream not in own}


def _check_opening(attempt: AttemptFacts, may_open: bool, findings: Findings) -> None:
    if attempt.opened is not None:
        return
    name = StreamFile(attempt.number, 0, "events").name
    if attempt.lines:
        findings.add("missing_open", "does not begin with the open event", file=name, line=1)
    elif not may_open:
        findings.add("missing_open", "no whole line, so no open event", file=name)


def _check_end(attempt: AttemptFacts, status: Status, findings: Findings) -> None:
    name = StreamFile(attempt.number, 0, "events").name
    if attempt.ended is not None:
        word = attempt.ended.get("status")
        if not isinstance(word, str) or word not in ENDINGS:
            found = f"ended as {word!r}, expected one of {', '.join(sorted(ENDINGS))}"
            findings.add("odd_end", found, file=name, line=attempt.end_line)
    elif attempt.opened is not None and not status.is_proven_alive:
        waits = status.word in ("unknown", "pending")
        severity: Severity | None = "note" if waits else None
        findings.add("no_end", f"{status.word}: {status.reason}", file=name, severity=severity)


def check_times(attempts: Mapping[int, AttemptFacts], now: float, findings: Findings) -> None:
    """Note moments that lie in the future, and attempts that were open side by side."""
    for number_ in sorted(attempts):
        times = attempts[number_].times
        if times.last is not None and times.last > now + FUTURE_S:
            ahead = duration(times.last - now)
            found = f"a time {ahead} ahead of this machine's clock"
            findings.add("future_time", found, file=times.last_file, line=times.last_line)
        after = attempts.get(number_ + 1)
        if after is not None:
            _check_overlap(attempts[number_], after, findings)


def _check_overlap(before: AttemptFacts, after: AttemptFacts, findings: Findings) -> None:
    last, opened = before.times.last, after.opened_at
    allowed_s = 1.0 if before.host == after.host else FUTURE_S
    if last is None or opened is None or last <= opened + allowed_s:
        return
    findings.add(
        "attempts_overlap",
        f"attempt {before.number} wrote for {duration(last - opened)} after attempt "
        f"{after.number} began",
        file=before.times.last_file,
        line=before.times.last_line,
    )
