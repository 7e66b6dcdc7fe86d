"""The fold of a run's records. Pure: no file is opened and no clock is read here.

Everything learnt from one file is one piece. Folding is order-independent between files, so a
viewer may read them in any order and at any pace and ends with the same state; and when a file's
rows turn out to be superseded, or the file was replaced, its piece is dropped and read again.

Rows are superseded in two ways. A later attempt's `open` event, or a `cut` event, names the byte
at which an earlier file ends (exact: rows behind a checkpoint can share its step). An attempt that
resumed without saying so supersedes the earlier rows from its own first step on, and the state
says `inferred`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from runstore.files.limits import (
    BAD_LINES_KEPT,
    EVENTS_KEPT,
    EVENTS_PER_RUN,
    FILES_PER_RUN,
    MAX_LINE_BYTES,
    METRICS_PER_RUN,
    OPEN_BYTES_KEPT,
    TEXT_CHARS,
)
from runstore.files.paths import StreamFile
from runstore.files.records import BadLine, JsonObject, flat, integer
from runstore.slurm.submission import Submission
from runstore.state.attempt_facts import Attempt, Execution, rank_hosts
from runstore.state.inferred import InferredCuts
from runstore.state.pieces import PARSED_PER_BYTE, VALUES, Best, Block, Piece
from runstore.state.progress import Progress
from runstore.state.retention import SMALL_BYTES, Retention, without_nesting
from runstore.state.status import Status
from runstore.state.tags import NO_CHANGES

DEFAULT_BEST = "val/loss:min"
EVENT_BYTES = 1000
"""What an event that is kept takes in memory, about; and an attempt as much again."""

Told = TypeVar("Told")


class Fold:
    """What was learnt of a run, record by record; `RunState` tells what follows from it."""

    def __init__(self, path: Path, *, source: str = "native") -> None:
        """Start with nothing known about the run at `path`."""
        self.path = path
        self.source = source
        self.called = ""
        """Its id in lists, where that is not the directory's name."""
        self.info: JsonObject = {}
        """`run.json`."""
        self.info_bytes = 0
        """How long the document is, as far as it is kept; 0 where the source has none."""
        self.tag_changes = NO_CHANGES
        """`tags/`."""
        self.progress: Progress | None = None
        self.submission: Submission | None = None
        """The Slurm job that is to begin the next attempt, or has begun the newest."""
        self.status = Status("unknown", "not read yet")
        """Set by the reader from what liveness says; the fold itself cannot know."""
        self.attempts: dict[int, Attempt] = {}
        self.bad_lines: deque[BadLine] = deque(maxlen=BAD_LINES_KEPT)
        self.problems: dict[str, str] = {}
        """File name to why it cannot be read."""
        self.cuts: dict[str, int] = {}
        """File name to the byte where its valid rows end."""
        self.rank_hosts: dict[int, str] = {}
        """The host of each rank of the newest attempt of several processes."""
        self._rank_hosts_of = 0
        """Which attempt that is."""
        self.version = 0
        """Grows whenever something changed."""
        self._bad_counts: Counter[str] = Counter()
        self._pieces: dict[str, Piece] = {}
        self._retention = Retention(self._pieces)
        self._events_kept = 0
        self._open_bytes = 0
        self.left_out: dict[str, str] = {}
        """What the reader left out, by what it is about, in words."""
        self._inferred = InferredCuts()
        self._inferred_version = 0
        self._stale: set[str] = set()
        self.best_read: Best | None = None
        """The best epoch in the state of a reader that passed over none."""
        self._half_lines: dict[str, BadLine] = {}
        """File name to its last line, while that has no newline."""

    # ---- folding -------------------------------------------------------------------------------

    def apply(
        self,
        file: StreamFile,
        record: JsonObject,
        *,
        partial: bool = False,
        size_bytes: int = MAX_LINE_BYTES,
        offset: int | None = None,
    ) -> None:
        """Fold one record in.

        Args:
            file: the file it came from.
            record: what `records.decode` returned.
            partial: rows of the same file were passed over before this one, so it tells the
                latest values but is no part of a curve.
            size_bytes: the length of its line, which bounds what it takes in memory.
            offset: where its line begins in the file, if it is a line.
        """
        self.version += 1
        if file.stream == "events":
            self._apply_event(file, record, size_bytes)
        elif file.stream == "exec":
            self._apply_execution(file, record, size_bytes)
        elif file.rank == 0 and file.stream != "system":
            self._apply_row(file, record, partial, size_bytes, offset)

    def _apply_event(self, file: StreamFile, event: JsonObject, size_bytes: int) -> None:
        attempt = self.attempts.get(file.attempt)
        if attempt is None:
            attempt = self.attempts[file.attempt] = Attempt(file.attempt)
        kept = event if size_bytes <= SMALL_BYTES else flat(event)
        if attempt.is_repeat(kept) and file.part:
            # After a failed fdatasync of the events, the next part has some of them again.
            return
        self._keep_event(attempt, kept)
        match event.get("event"):
            case "open":
                self._keep_opened(file.attempt, attempt, event, size_bytes)
                self._apply_cuts(event.get("cuts"))
                silent = "cuts" not in event and file.attempt > 1
                self._inferred.note_open(file.attempt, is_silent=silent)
            case "cut":
                self._apply_cut(event.get("file"), event.get("bytes"))
            case "warning":
                attempt.warnings.append(str(kept.get("message")))
            case "ranks" if file.attempt >= self._rank_hosts_of:
                self._rank_hosts_of, self.rank_hosts = file.attempt, rank_hosts(event)
            case "epoch_start":
                attempt.epoch = integer(event, "epoch")
                attempt.total_epochs = integer(event, "epochs") or attempt.total_epochs
            case "split_start":
                split = event.get("split")
                attempt.split = split[:TEXT_CHARS] if isinstance(split, str) else None
            case "end":
                attempt.ended = kept
                if isinstance(best := event.get("best"), dict):
                    attempt.ended = {**kept, "best": flat(best)}
                lost = integer(event, "dropped_rows")
                if lost:
                    attempt.warnings.append(f"{lost:,} rows were lost: the disk took no more")

    def _apply_execution(self, file: StreamFile, event: JsonObject, size_bytes: int) -> None:
        attempt = self.attempts.setdefault(file.attempt, Attempt(file.attempt))
        execution = attempt.execution = attempt.execution or Execution()
        kept = event if size_bytes <= SMALL_BYTES else flat(event)
        if file.part and kept in execution.events:
            return
        execution.events.append(kept)
        match event.get("event"):
            case "open":
                self._keep_opened(file.attempt, execution, event, size_bytes)
                if attempt.opened is None:
                    silent = "cuts" not in event and file.attempt > 1
                    self._inferred.note_open(file.attempt, is_silent=silent)
            case "start":
                execution.started = kept
            case "cut":
                self._apply_cut(event.get("file"), event.get("bytes"))
            case "warning":
                execution.warnings.append(str(kept.get("message")))
            case "exit":
                execution.ended = kept
                lost = integer(event, "dropped_rows")
                if lost:
                    execution.warnings.append(f"{lost:,} rows were lost: the disk took no more")

    def _keep_event(self, attempt: Attempt, event: JsonObject) -> None:
        self._events_kept += len(attempt.events) < EVENTS_KEPT
        attempt.events.append(event)
        attempt.event_count += 1
        while self._events_kept > EVENTS_PER_RUN:
            oldest = min(number for number, found in self.attempts.items() if found.events)
            self._events_kept -= len(self.attempts[oldest].events)
            self.attempts[oldest].events.clear()

    def _keep_opened(
        self, number: int, holder: Attempt | Execution, event: JsonObject, size_bytes: int
    ) -> None:
        """Keep the newest attempts' `open` events whole, of earlier ones what is no list."""
        cuts: JsonObject = {"cuts": {}} if "cuts" in event else {}
        self._open_bytes += size_bytes - holder.opened_bytes
        holder.opened, holder.opened_bytes = {**event, **cuts}, size_bytes
        for earlier in sorted(self.attempts)[:-1] if self._open_bytes > OPEN_BYTES_KEPT else ():
            older = self.attempts[earlier]
            for one in (older, older.execution):
                if one is not None and one.opened is not None and one.opened_bytes:
                    cuts = {"cuts": {}} if "cuts" in one.opened else {}
                    self._open_bytes -= one.opened_bytes
                    one.opened, one.opened_bytes = flat(one.opened) | cuts, 0

    def _apply_cuts(self, cuts: object) -> None:
        for name, size in cuts.items() if isinstance(cuts, dict) else ():
            self._apply_cut(name, size)

    def _apply_cut(self, name: object, size: object) -> None:
        if not isinstance(name, str) or type(size) is not int or StreamFile.parse(name) is None:
            return
        known = self.cuts.get(name)
        if known is None and len(self.cuts) >= 4 * FILES_PER_RUN:
            self.left_out["cuts"] = f"cuts of more than {len(self.cuts):,} files are left out"
        elif known is None or size < known:
            self.cuts[name] = max(0, size)

    def _apply_row(
        self,
        file: StreamFile,
        row: JsonObject,
        partial: bool,
        size_bytes: int,
        offset: int | None,
    ) -> None:
        step = integer(row, "step")
        piece = self._piece(file)
        if piece.first_step is None and step is not None and not partial:
            piece.first_step = step
            if file.attempt > 1 and file.stream == "metrics":
                self._inferred.note_first_step(file, step)
        hidden_from = self.hidden_from(file.attempt)
        if hidden_from != piece.hidden_from:
            # Earlier rows of this file were judged by another step.
            self._stale.add(file.name)
        if step is not None and hidden_from is not None and step >= hidden_from:
            return
        piece.rows += 1
        if file.stream == "reports":
            self._retention.add_report(piece, row, size_bytes, offset)
            return
        kept = without_nesting(row, size_bytes)
        if file.stream == "epochs":
            self._retention.add_epoch(piece, kept, self.best_rule, partial=partial)
        self._retention.add_values(piece, kept, step, partial=partial)
        beyond = len(row) - METRICS_PER_RUN
        if beyond > 0 and len(kept) < len(row):
            piece.left_out[VALUES] += beyond

    def apply_block(self, file: StreamFile, block: Block) -> None:
        """Fold in rows of a log that names no attempts: the same as one after the other."""
        self.version += 1
        piece = self._piece(file)
        if piece.first_step is None:
            piece.first_step = block.steps[0]
        self._retention.add_block(piece, block)

    def forgo_best(self, file: StreamFile) -> None:
        """Have no best epoch by a file of which rows were passed over, until it is read anew."""
        if piece := self._pieces.get(file.name):
            piece.is_judged = False

    def _piece(self, file: StreamFile) -> Piece:
        piece = self._pieces.get(file.name)
        if piece is None:
            piece = self._pieces[file.name] = Piece(file)
            piece.hidden_from = self.hidden_from(file.attempt)
        return piece

    def hidden_from(self, attempt: int) -> int | None:
        """Return the step from which an attempt's rows are hidden, where that was inferred."""
        return self._inferred.hidden_from(attempt)

    def forget(self, file: StreamFile, *, is_unchanged: bool = False) -> None:
        """Drop what was folded from one file; it will be read again from its beginning.

        Where it `is_unchanged`, what its first row hides stays hidden meanwhile.
        """
        self.version += 1
        piece = self._pieces.pop(file.name, None)
        if piece is not None:
            self._retention.forget(piece)
        if file.part == 0:
            self._forget_attempt(file)
        if file.stream == "metrics" and not is_unchanged:
            self._inferred.forget(file)
        self.problems.pop(file.name, None)
        self._half_lines.pop(file.name, None)
        if self._bad_counts.pop(file.name, 0):
            kept = [bad for bad in self.bad_lines if bad.file != file.name]
            self.bad_lines = deque(kept, maxlen=BAD_LINES_KEPT)

    def cut_curve(self, file: StreamFile, key: str, x: float) -> bool:
        """Drop a metric's values from `x` on in one file; return False where only reading anew can.

        For logs that do not name cuts, and whose metrics go back one by one.
        """
        self.version += 1
        piece = self._pieces.get(file.name)
        return piece is None or piece.cut(key, x)

    def _forget_attempt(self, file: StreamFile) -> None:
        """Drop what one of the two files that tell of an attempt has told."""
        attempt = self.attempts.get(file.attempt)
        if attempt is None or file.stream not in ("events", "exec"):
            return
        if file.stream == "exec":
            self._open_bytes -= attempt.execution.opened_bytes if attempt.execution else 0
            kept, attempt.execution = attempt, None
        else:
            self._events_kept -= len(attempt.events)
            self._open_bytes -= attempt.opened_bytes
            kept = Attempt(file.attempt, execution=attempt.execution)
            self._inferred.note_open(file.attempt, is_silent=False)
        self.attempts[file.attempt] = kept
        if kept.execution is None and not kept.event_count:
            del self.attempts[file.attempt]

    def take_stale(self) -> set[str]:
        """Return the files to read again: an inferred cut hides or shows other rows of theirs."""
        stale, self._stale = self._stale, set()
        if self._inferred.version != self._inferred_version:
            self._inferred_version = self._inferred.version
            for name, piece in self._pieces.items():
                if piece.hidden_from != self.hidden_from(piece.file.attempt):
                    stale.add(name)
        return stale

    def add_bad_line(self, bad: BadLine) -> None:
        """Count a damaged line and keep its place."""
        self.version += 1
        self._bad_counts[bad.file] += 1
        self.bad_lines.append(bad)

    def note_last_line(self, file_name: str, half: BadLine | None) -> bool:
        """Note whether a file ends in the middle of a line; return whether that is news."""
        if self._half_lines.get(file_name) == half:
            return False
        self.version += 1
        if half is None:
            del self._half_lines[file_name]
        else:
            self._half_lines[file_name] = half
        return True

    # ---- what the fold itself asks for -----------------------------------------------------------

    @property
    def best_rule(self) -> str:
        """What makes an epoch the best one, as `metric:min` or `metric:max`."""
        return self._text("best") or self._told_by_script("best", str) or DEFAULT_BEST

    def _told_by_script(self, key: str, kind: type[Told]) -> Told | None:
        """Return what the script in a command of `runstore exec` says, which run.json cannot."""
        for attempt in self._attempts():
            told = attempt.opened.get(key) if attempt.opened and attempt.execution else None
            if isinstance(told, kind):
                return told
        return None

    def _text(self, key: str) -> str:
        value = self.info.get(key)
        return value if isinstance(value, str) else ""

    def _attempts(self) -> Iterator[Attempt]:
        return (self.attempts[number] for number in sorted(self.attempts))

    @property
    def held_bytes(self) -> int:
        """About how much memory the fold takes: enough to tell large ones from small ones."""
        parsed = PARSED_PER_BYTE * (self.info_bytes + self._open_bytes)
        events = EVENT_BYTES * (self._events_kept + len(self.attempts))
        return parsed + events + sum(piece.held_bytes for piece in self._pieces.values())
