"""What the events say of each attempt, and what does not fit together in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runstore.doctor.findings import Findings, Severity, missing_numbers
from runstore.doctor.rows import CheckedFile, Times
from runstore.files.paths import LIFECYCLE, Stream, StreamFile
from runstore.files.records import JsonObject, integer, number
from runstore.numbers import duration
from runstore.state.endings import ENDINGS
from runstore.state.status import Status

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
class Told:
    """What one process tells of an attempt: the training, or the launcher that watches it."""

    file: str
    opened: JsonObject | None = None
    ended: JsonObject | None = None
    end_line: int = 0
    lines: int = 0


@dataclass(slots=True)
class AttemptFacts:
    """One attempt, from its events, and from those of `runstore exec`."""

    number: int
    told: dict[Stream, Told] = field(default_factory=dict)
    """By the stream of the events: `events`, `exec`."""
    cuts: list[Cut] = field(default_factory=list)
    times: Times = field(default_factory=Times)

    @property
    def is_over(self) -> bool:
        """Whether all who write to the attempt have said that they are done."""
        return bool(self.told) and all(told.ended is not None for told in self.told.values())

    @property
    def tallies(self) -> Mapping[str, JsonObject] | None:
        """What each file should hold, by name; None when nobody has said so."""
        ends = [told.ended.get("files") for told in self.told.values() if told.ended is not None]
        files = [one for one in ends if isinstance(one, dict)]
        if not files:
            return None
        pairs = (pair for one in files for pair in one.items())
        return {name: tally for name, tally in pairs if isinstance(tally, dict)}

    @property
    def resumed(self) -> JsonObject:
        """The training's own `open` event; empty where there is none."""
        own = self.told.get("events")
        return (own.opened if own else None) or {}

    @property
    def opened(self) -> JsonObject:
        """The `open` event of whoever came first; empty where there is none."""
        launched = self.told.get("exec")
        return (launched.opened if launched else None) or self.resumed

    def take(self, file: StreamFile, line: int, byte: int, event: JsonObject) -> None:
        """Note what one event says."""
        told = self.told[file.stream]
        told.lines += 1
        moment = number(event, "time")
        if moment is not None:
            self.times.take(moment, file.name, line)
        match event.get("event"):
            case "open" if told.lines == 1:
                told.opened = event
                cuts = event.get("cuts")
                for of, size in cuts.items() if isinstance(cuts, dict) else ():
                    self._cut(of, size, file, line, byte)
            case "cut":
                self._cut(event.get("file"), event.get("bytes"), file, line, byte)
            case "end" | "exit":
                told.ended, told.end_line = event, line

    def _cut(self, of: object, size: object, file: StreamFile, line: int, byte: int) -> None:
        if not isinstance(of, str) or not isinstance(size, int):
            return
        # The next part has some events again.
        if not any((one.of, one.bytes) == (of, size) for one in self.cuts):
            self.cuts.append(Cut(of, size, file.name, line, byte))


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
    for file in sorted(file for file in files if file.stream in LIFECYCLE):
        facts = found.setdefault(file.attempt, AttemptFacts(file.attempt))
        facts.told.setdefault(file.stream, Told(file.name))
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
    if kind not in ("end", "exit"):
        return
    if rows := integer(event, "dropped_rows"):
        yield "rows_lost", f"{rows:,} rows were lost: the disk took no more"
    values, images = integer(event, "dropped_values"), integer(event, "dropped_images")
    left_out = [f"{values:,} values were not logged"] if values else []
    left_out += [f"images of {images:,} calls were not written"] if images else []
    if left_out:
        yield "left_out", ", ".join(left_out)
    if ranks := event.get("lost_ranks"):
        yield "ranks_lost", f"processes were gone at the end: ranks {ranks}"


def check_attempts(
    attempts: Mapping[int, AttemptFacts],
    files: Sequence[StreamFile],
    status: Status,
    findings: Findings,
) -> None:
    """Note attempts without a beginning, without an end, and missing ones."""
    with_files = {file.attempt for file in files}
    with_rows = {file.attempt for file in files if file.stream not in LIFECYCLE}
    for number_ in sorted(attempts):
        # Claimed a moment ago, it may be about to open.
        may_open = number_ == max(attempts) and status.alive and number_ not in with_rows
        for told in attempts[number_].told.values():
            _check_opening(told, may_open, findings)
    for number_ in sorted(with_rows - set(attempts)):
        name = StreamFile(number_, 0, "events").name
        findings.add("missing_events", f"attempt {number_} has rows and no events", file=name)
    for number_ in missing_numbers(with_files, 1):
        name = StreamFile(number_, 0, "events").name
        findings.add("missing_attempt", f"nothing of attempt {number_} is there", file=name)
    if attempts:
        _check_end(attempts[max(attempts)], status, findings)


def _check_opening(told: Told, may_open: bool, findings: Findings) -> None:
    if told.opened is not None:
        return
    if told.lines:
        findings.add("missing_open", "does not begin with the open event", file=told.file, line=1)
    elif not may_open:
        findings.add("missing_open", "no whole line, so no open event", file=told.file)


def _check_end(attempt: AttemptFacts, status: Status, findings: Findings) -> None:
    for told in attempt.told.values():
        word = told.ended.get("status") if told.ended else "finished"
        if not isinstance(word, str) or word not in (*ENDINGS, "crashed"):
            found = f"ended as {word!r}, expected one of {', '.join(sorted(ENDINGS))}"
            findings.add("odd_end", found, file=told.file, line=told.end_line)
    # A launcher's word of how the training ended is as good as its own.
    has_end = any(told.ended is not None for told in attempt.told.values())
    if not has_end and attempt.opened and not status.is_proven_alive:
        waits = status.word in ("unknown", "pending")
        severity: Severity | None = "note" if waits else None
        name = next(iter(attempt.told.values())).file
        found = f"{status.word}: {status.reason}"
        findings.add("no_end", found, file=name, severity=severity)


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
    last, opened = before.times.last, number(after.opened, "time")
    same_host = before.opened.get("host") == after.opened.get("host")
    allowed_s = 1.0 if same_host else FUTURE_S
    if last is None or opened is None or last <= opened + allowed_s:
        return
    findings.add(
        "attempts_overlap",
        f"attempt {before.number} wrote for {duration(last - opened)} after attempt "
        f"{after.number} began",
        file=before.times.last_file,
        line=before.times.last_line,
    )
