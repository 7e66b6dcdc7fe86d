"""Follows a run that another tool wrote, whatever its format: one reader for all such sources.

A source only says which files a run has (`Layout`) and what is in them (`log_files`). What has to
hold for each of them is done here: files that come, grow, are replaced and go; a status from what
can be seen; rows that are void because the run went on from an earlier step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from runstore.errors import FormatError
from runstore.files.cursor import READ_BYTES
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, integer, number
from runstore.files.regular import why_unreadable
from runstore.sources.alike import Alike, alike
from runstore.sources.followed import Followed, NamedFile
from runstore.sources.growth import Growth
from runstore.sources.joined import joined, read_ahead
from runstore.sources.layout import Layout
from runstore.sources.log_files import Batch, ForeignRow, LogFile, merged_info
from runstore.sources.reading import RowLine, damaged, row_line, unreadable
from runstore.sources.rewinds import Rewinds
from runstore.state.liveness import STALL_S
from runstore.state.pieces import Block
from runstore.state.run_state import RunState
from runstore.state.status import Status

ROWS: tuple[Stream, ...] = ("metrics", "epochs")
"""The streams whose values a run may write anew."""
READ_AGAIN = 8
"""So often a file is read again because its run went back into the middle of a curve. After that
the one point of a long curve that holds values from before and behind that step stays."""
NEWEST = sys.maxsize
"""Stands for the numbers of rows at the end of a file whose beginning was not read."""
LATE_S = 5.0
"""Rows may be that much later than the end of a run: a thread writes them."""
HIDDEN = "values behind a step to which the run went back are hidden; inferred from the steps"


class ForeignReader:
    """Follows one run of another tool."""

    def __init__(
        self,
        directory: Path,
        layout: Layout,
        *,
        patient: bool = True,
        pause_s: float = STALL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Follow `directory`.

        Args:
            directory: the run.
            layout: which files it has, and what is in them.
            patient: see `Cursor`.
            pause_s: how long a running tool may write nothing before it was seen to pause.
            monotonic: the clock, in seconds.
        """
        self.state = RunState(directory, source=layout.NAME)
        self.refused: FormatError | None = None
        self.unlisted = ""
        self._layout = layout
        self._patient = patient
        self._files: dict[str, Followed] = {}
        self._rewinds: dict[Stream, Rewinds] = {
            stream: Rewinds(is_one_series=layout.IS_ONE_SERIES) for stream in ROWS
        }
        self._stale: set[str] = set()
        self._growth = Growth(pause_s, monotonic)
        self._has_learnt = False

    # ---- reading -------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Whether the last poll stopped at its budget."""
        return any(file.more for file in self._files.values())

    @property
    def size_bytes(self) -> int:
        """How long all files are, as of the last look at each."""
        return sum(file.size for file in self._files.values())

    def glance(self) -> bool:
        """Read the first and the newest rows of each file."""
        changed = self._find_files()
        batches = {name: file.log.glance() for name, file in self._files.items()}
        for name in self._note_purges(batches):
            self._begin_again(self._files[name])
            batches[name] = self._files[name].log.glance()
        for name, batch in batches.items():
            file = self._files[name]
            file.complete = file.complete and not (batch.more or _jumped(batch))
            changed |= self._fold(file, batch, partial=not file.complete)
        return self.judge() or changed

    def _note_purges(self, batches: Mapping[str, Batch]) -> set[str]:
        """Note where writers say that a session began; return the files to look at once more."""
        for name, batch in batches.items():
            for found in batch.rows:
                step = _step(found)
                if found.row.get("event") == "purge" and found.number and step is not None:
                    self._note_purge(self._files[name].place, found.number, step)
        again, self._stale = self._stale & self._files.keys(), set()
        return again

    def _note_purge(self, place: int, number: int, step: float) -> None:
        if self._rewinds["metrics"].has_noted(place, number):
            return
        self._purge(place, number, step)
        # Of what was only glanced at no steps were noted.
        earlier = (file for file in self._files.values() if file.place < place)
        self._stale |= {file.name for file in earlier if not file.complete}

    def poll(self, budget: int = READ_BYTES) -> bool:
        """Read what is new, in full, about `budget` bytes at most."""
        changed = self._find_files()
        left = budget
        for file in self._files.values():
            if left <= 0:
                file.more = True
                continue
            if not file.complete:
                self._begin_again(file)
            batch = file.log.poll(left)
            left -= batch.size_bytes
            changed |= self._fold(file, batch, partial=False)
        for name in self._stale & self._files.keys():
            self._begin_again(self._files[name])
        self._stale.clear()
        return self.judge() or changed

    def files(self, stream: Stream) -> list[Path]:
        """Return the files that are there now; which of them hold a stream, only reading tells."""
        self._find_files()
        return [self.state.path / name for name in self._files]

    def learn_cuts(self) -> None:
        """Read all rows, since only their steps tell which ones are void; nothing is kept."""
        self._find_files()
        if self._has_learnt:
            return
        self._has_learnt = True
        for file in self._files.values():
            for batch in _batches(file.open(False)):
                self._note_steps(file, alike(batch.rows))

    def rows(self, stream: Stream) -> Iterator[RowLine]:
        """Yield every row of a stream, file by file; void ones are marked."""
        self._find_files()
        if self.unlisted:
            yield unreadable("", self.unlisted)
        if stream in ROWS:
            self.learn_cuts()
        files = self._files.values()
        tables = [self._table(file, file.open(False), stream) for file in files]
        yield from self._together(stream, tables)

    def newest(self, stream: Stream) -> Iterator[RowLine]:
        """Yield the rows that came since the last call; all of them at the first."""
        self._find_files()
        tables = [self._table(file, file.log, stream) for file in self._files.values()]
        yield from self._together(stream, tables)

    def _table(self, file: Followed, log: LogFile, stream: Stream) -> Iterator[RowLine]:
        for batch in _batches(log, self._at_once(stream)):
            yield from self._lines(file, stream, batch)

    def _at_once(self, stream: Stream) -> int:
        """Return how many bytes of a file are read at once."""
        return read_ahead(len(self._files)) if stream == "epochs" else READ_BYTES

    def _together(self, stream: Stream, tables: Sequence[Iterator[RowLine]]) -> Iterator[RowLine]:
        """Yield the rows that the files have of a stream; what they have of an epoch is one row."""
        if stream == "epochs":
            return joined(tables, lambda row: integer(row, "epoch"))
        return chain.from_iterable(tables)

    def _lines(self, file: Followed, stream: Stream, batch: Batch) -> Iterator[RowLine]:
        if batch.unread:
            yield unreadable(file.name, batch.problem or "")
        for bad in batch.bad if stream == "metrics" else ():
            yield damaged(file.name, bad)
        for found in batch.each_row():
            if found.stream == stream:
                kept = self._visible(file, found)
                row = found.row if kept is None else kept
                if row is found.row and found.line:
                    yield RowLine(file.name, found.number, found.line, row, kept is None)
                else:
                    yield self._line(file.name, found.number, row, kept is None)

    def _line(self, file: str, number: int, row: JsonObject, superseded: bool) -> RowLine:
        """Return a row as it is handed to `_together`."""
        return row_line(file, number, row, superseded)

    def _find_files(self) -> bool:
        try:
            found = self._layout.find(self.state.path)
        except OSError as error:
            self.unlisted = why_unreadable(error)
            changed = self.state.problems.get(".") != self.unlisted
            self.state.problems["."] = self.unlisted
            return changed
        self.unlisted = ""
        self.state.problems.pop(".", None)
        known = list(self._files)
        if list(found) == known:
            return False
        if list(found)[: len(known)] != known:
            # One came in between, or went: their order has to be learnt anew.
            self._forget_all()
        for name, opener in found.items():
            if name not in self._files:
                place = len(self._files) + 1
                self._files[name] = Followed(name, place, opener, opener(self._patient))
        return True

    def _forget_all(self) -> None:
        for file in self._files.values():
            self._forget(file)
        self._files.clear()
        self._stale.clear()
        self._growth.forget_sizes()
        self.state.info = {}

    def _begin_again(self, file: Followed) -> None:
        self._forget_pieces(file)
        file.size_before = file.size
        file.log, file.complete, file.more = file.open(self._patient), True, True

    def _forget(self, file: Followed) -> None:
        self._forget_pieces(file)
        if file.has_events:
            # A state keeps the events of all files in one place, so the others tell theirs anew.
            self.state.forget(NamedFile(1, 0, "events"))
            others = {f.name for f in self._files.values() if f.has_events and f is not file}
            self._stale |= others
            file.has_events = False
        for rewinds in self._rewinds.values():
            rewinds.forget(file.place)

    def _forget_pieces(self, file: Followed) -> None:
        for stream in ("metrics", "epochs", "reports", "events"):
            self.state.forget(file.of(stream))

    # ---- folding -------------------------------------------------------------------------------

    def _fold(self, file: Followed, batch: Batch, *, partial: bool) -> bool:
        file.more = batch.more
        state = self.state
        if batch.problem is not None:
            changed = state.problems.get(file.name) != batch.problem
            state.problems[file.name] = batch.problem
            return changed
        state.problems.pop(file.name, None)
        if batch.restarted:
            self._forget(file)
        if batch.info:
            # First: it may say what makes an epoch the best one.
            state.info = merged_info(state.info, batch.info)
            state.version += 1
        if partial:
            for found in _newest(list(batch.each_row())):
                self._fold_row(file, found, partial=True)
            if batch.passed_over:
                state.forgo_best(file.of("epochs"))
        else:
            self._fold_rows(file, batch)
        for bad in batch.bad:
            state.add_bad_line(bad)
        torn = state.note_last_line(file.name, batch.torn)
        return bool(batch.rows or batch.bad or batch.info or batch.restarted or torn)

    def _fold_rows(self, file: Followed, batch: Batch) -> None:
        groups = list(alike(batch.rows))
        for (stream, key), step in self._note_steps(file, groups).items():
            self._cut(file, stream, step, key)
        for group in groups:
            block = group.block
            if block is None or not self._fold_block(file, group, block):
                for found in group.rows:
                    self._fold_row(file, found, partial=False)

    def _fold_block(self, file: Followed, group: Alike, block: Block) -> bool:
        """Fold rows at once, unless a value of them may be void."""
        number = group.numbers[0]
        if not self._rewinds["metrics"].hides_none(file.place, number, block.values):
            return False
        if "created" not in self.state.info:
            self._note_created(group.first)
        self.state.apply_block(file.of("metrics"), block)
        return True

    def _fold_row(self, file: Followed, found: ForeignRow, *, partial: bool) -> None:
        row: JsonObject | None = found.row
        if found.stream in ROWS and self._rewinds[found.stream]:
            row = self._visible(file, found)
        if "created" not in self.state.info:
            self._note_created(found)
        if row is None or row.get("event") == "purge":
            return
        file.has_events = file.has_events or found.stream == "events"
        size = found.size_bytes
        self.state.apply(file.of(found.stream), row, partial=partial, size_bytes=size)

    def _note_created(self, found: ForeignRow) -> None:
        if time_s := number(found.row, "time"):
            self.state.info["created"] = time_s

    def _note_steps(
        self, file: Followed, groups: Iterable[Alike]
    ) -> dict[tuple[Stream, str], float]:
        """Note the steps of new rows; return from which on what was folded is void, by metric."""
        void: dict[tuple[Stream, str], float] = {}
        for group in groups:
            block = group.block
            if block is None or not self._rewinds["metrics"].note_block(
                file.place, group.numbers, block.steps, block.values
            ):
                for found in group.rows:
                    self._note_row(file.place, found, void)
        return void

    def _note_row(
        self, place: int, found: ForeignRow, void: dict[tuple[Stream, str], float]
    ) -> None:
        rewinds = self._rewinds.get(found.stream)
        step = _step(found)
        if step is None or not found.number:
            return
        if rewinds is not None:
            for key in rewinds.note_row(place, found.number, step, found.metrics()):
                metric = (found.stream, key)
                void[metric] = min(step, void.get(metric, step))
        elif found.row.get("event") == "purge":
            self._purge(place, found.number, step)

    def _purge(self, place: int, number: int, step: float) -> None:
        for rewinds in self._rewinds.values():
            if rewinds.purge(place, number, step):
                self._stale |= {f.name for f in self._files.values() if f.place <= place}

    def _cut(self, file: Followed, stream: Stream, step: float, key: str) -> None:
        """Take values that are void out of the curves; have files read again where that fails."""
        if self._rewinds[stream].went_back:
            self.state.left_out["rewinds"] = HIDDEN
        for other in self._files.values():
            is_earlier = self._layout.IS_ONE_SERIES and other.place < file.place
            if other is not file and not is_earlier:
                continue
            exact = self.state.cut_curve(other.of(stream), key, step)
            if not exact and other.times_again < READ_AGAIN:
                other.times_again += 1
                self._stale.add(other.name)

    def _visible(self, file: Followed, found: ForeignRow) -> JsonObject | None:
        """Return a row without its void values; None where all of them are."""
        rewinds = self._rewinds.get(found.stream)
        step = _step(found)
        if not rewinds or step is None:
            return found.row
        place, number = file.place, found.number or NEWEST
        void = [k for k in found.metrics() if rewinds.hides(place, number, step, k)]
        if not void:
            return found.row
        kept = {key: value for key, value in found.row.items() if key not in void}
        return kept if len(void) < len(found.metrics()) else None

    # ---- status --------------------------------------------------------------------------------

    def judge(self) -> bool:
        """Decide from the log, or from its growth, how the run is; tell whether that changed."""
        before = self.state.status
        self._growth.note({name: file.size for name, file in self._files.items()})
        self.state.status = self._status()
        return self.state.status != before

    def _status(self) -> Status:
        if self.unlisted:
            return Status("unknown", f"cannot be read: {self.unlisted}")
        ended = self.state.ended
        if ended and isinstance(ended.get("status"), str) and not self._went_on(ended):
            return Status(ended["status"], str(ended.get("reason") or ""))
        problems = [self.state.problems.get(name) for name in self._files]
        if problems and all(problems):
            return Status("unknown", f"cannot be read: {problems[0]}")
        return self._growth.status(self._layout.EVIDENCE)

    def _went_on(self, ended: JsonObject) -> bool:
        """Tell whether rows came well behind the end: the run was started again in its place."""
        end, last = number(ended, "time"), self.state.last_row_time
        return end is not None and last is not None and last - end > LATE_S


def _batches(log: LogFile, budget: int = READ_BYTES) -> Iterator[Batch]:
    more = True
    while more:
        batch = log.poll(budget)
        more = batch.more
        yield batch


def _newest(rows: Sequence[ForeignRow]) -> list[ForeignRow]:
    """Return the rows that a glance shows something of: most have only earlier values."""
    seen: set[str] = set()
    found: list[ForeignRow] = []
    for row in reversed(rows):
        if row.stream != "metrics" or row is rows[0] or not seen.issuperset(row.row):
            seen.update(row.row if row.stream == "metrics" else ())
            found.append(row)
    return found[::-1]


def _jumped(batch: Batch) -> bool:
    return any(not found.number for found in batch.each_row())


def _step(found: ForeignRow) -> float | None:
    """Return where a row lies on the x-axis of its metrics."""
    step = found.row.get("step")
    if type(step) is int:
        return step
    if step is None and found.stream == "epochs":
        step = found.row.get("epoch")
    return step if isinstance(step, int | float) else None
