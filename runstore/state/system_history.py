"""How the machines of a run did, as curves over time, in bounded memory while their files grow.

Of each figure there are two kinds of curves: the whole time in one, which grows coarser as it grows
longer, and the last hour in pieces of ten minutes, of which the oldest goes.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import le
from pathlib import Path

from runstore.files.limits import CURVES_PER_RUN, FILES_PER_RUN, METRICS_PER_RUN
from runstore.files.paths import StreamFile
from runstore.files.records import JsonObject, RecordError, decode, integer, metric_values, number
from runstore.files.regular import why_unreadable
from runstore.files.tail import OVERSIZED, Chunk, Tail
from runstore.state.series import Series

PIECE_S = 600.0
PIECES = 7
"""An hour, and the piece that has begun."""
WHOLE_BUCKETS, PIECE_BUCKETS = 512, 64
ALL_BUCKETS = 1 << 18
"""Of all curves, 32 bytes each: 8 MiB. Many ranks with many GPUs get fewer each."""
LEAST_BUCKETS = 8
LATELY_S = 300.0
"""Over so long ranks are compared."""
MOST_LATELY = 64
"""Samples of a rank that are compared at most."""
READ_BYTES = 128 << 10
STEPS_PER_S = "steps_per_s"
"""A curve that is worked out of the samples: how fast the run went on."""
_GPU = re.compile(r"gpu([0-9]{1,4})/(.+)")
_NO_CURVES = (
    *("/total_gib", "/memory_total_gib", "/memory_busy_percent", "/count", "/load_1min"),
    *("_clock_mhz", "/slowed_by_power", "/slowed_by_heat", "/slowed_by_hardware"),
)
"""Ends of the figures of which only the newest is kept: half of those of a node with eight GPUs."""


class Curve:
    """One figure of one file: the whole time, and the last hour finer."""

    __slots__ = ("newest", "pieces", "whole")

    def __init__(self, buckets: int) -> None:
        """Have about so many buckets for the whole time."""
        self.whole = Series(buckets)
        self.pieces: dict[int, Series] = {}
        """By the ten minutes that they are of, in the order in which they were begun."""
        self.newest = 0.0

    def extend(self, times: Sequence[float], values: Sequence[float]) -> None:
        """Add values. A clock that jumps ahead costs no more than the oldest piece."""
        self.newest = values[-1]
        if all(map(le, times, islice(times, 1, None))):
            self.whole.extend(times, values)
            start = 0
            while start < len(times):
                at = int(times[start] // PIECE_S)
                end = bisect_left(times, (at + 1) * PIECE_S, start)
                self._piece(at).extend(times[start:end], values[start:end])
                start = end
            return
        for time, value in zip(times, values, strict=True):  # a clock was set back
            self.whole.add(time, value)
            self._piece(int(time // PIECE_S)).add(time, value)

    def _piece(self, at: int) -> Series:
        piece = self.pieces.get(at)
        if piece is None:
            piece = self.pieces[at] = Series(max(LEAST_BUCKETS, self.whole.buckets // 8))
            while len(self.pieces) > PIECES:
                del self.pieces[next(iter(self.pieces))]
        return piece

    def shrink(self, buckets: int) -> None:
        """Keep about so many buckets for the whole time, and fewer in the pieces."""
        self.whole.shrink(buckets)
        for piece in self.pieces.values():
            piece.shrink(max(LEAST_BUCKETS, buckets // 8))


class Samples:
    """The samples of one file."""

    def __init__(self) -> None:
        """Have none."""
        self.curves: dict[str, Curve] = {}
        self.last: dict[str, float] = {}
        """The newest sample."""
        self.time: float | None = None
        """When that was."""
        self.lately: deque[tuple[float, int | None, float | None]] = deque(maxlen=MOST_LATELY)
        """Time, step and mean load of the GPUs of the newest samples."""

    def take(self, time: float, row: JsonObject) -> dict[str, float]:
        """Take in one sample; return its figures, with the pace since the sample before."""
        values = metric_values(row)
        step = integer(row, "step")
        if (pace := self._pace(time, step)) is not None:
            values[STEPS_PER_S] = pace
        self.lately.append((time, step, mean_busy(values)))
        self.time, self.last = time, values
        return values

    def _pace(self, time: float, step: int | None) -> float | None:
        """Return the steps per second since the sample before."""
        if not self.lately or step is None:
            return None
        before, from_step, _ = self.lately[-1]
        if from_step is None or time <= before or step < from_step:
            return None
        return (step - from_step) / (time - before)

    def busy_percent(self) -> float | None:
        """Return the mean load of the GPUs lately; None without any."""
        known = [busy for _, _, busy in self._compared() if busy is not None]
        return sum(known) / len(known) if known else None

    def steps_per_s(self) -> float | None:
        """Return how many steps a second there were lately; None where that is not known."""
        known = [(time, step) for time, step, _ in self._compared() if step is not None]
        if len(known) < 2:
            return None
        (first, from_step), (last, to_step) = known[0], known[-1]
        return (to_step - from_step) / (last - first) if last > first else None

    def interval_s(self) -> float:
        """Return how far apart the samples are, the mean of the newest; 0 for a single one."""
        times = [time for time, _, _ in self.lately]
        return max(0.0, times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0

    def _compared(self) -> Iterator[tuple[float, int | None, float | None]]:
        since = (self.time or 0.0) - LATELY_S
        return (sample for sample in self.lately if sample[0] >= since)


class SystemHistory:
    """The samples of one run. Not for several threads at a time."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.files: dict[StreamFile, Samples] = {}
        self._of_rank: dict[int, list[StreamFile]] = {}
        """The files of each rank, in order: of some hundred ranks each is asked for by itself."""
        self.version = 0
        """Grows whenever something was learnt."""
        self._curves = 0
        self._buckets = WHOLE_BUCKETS

    def add(self, file: StreamFile, rows: Iterable[JsonObject]) -> None:
        """Take in rows of the stream `system`; one without a time tells nothing."""
        samples = self.files.get(file) or Samples()
        columns: dict[str, tuple[list[float], list[float]]] = {}
        for row in rows:
            time = number(row, "time")
            if time is None or not has_time(row):
                continue
            for key, value in samples.take(time, row).items():
                column = columns.get(key) or columns.setdefault(key, ([], []))
                column[0].append(time)
                column[1].append(value)
        if columns:
            if file not in self.files:
                insort(self._of_rank.setdefault(file.rank, []), file)
            self.files[file] = samples
            self.version += 1
        for key, (times, values) in columns.items():
            curve = samples.curves.get(key)
            if curve is None and not key.endswith(_NO_CURVES):
                curve = self._new_curve(samples, key)
            if curve is not None:
                curve.extend(times, values)

    def _new_curve(self, samples: Samples, key: str) -> Curve | None:
        if self._curves >= CURVES_PER_RUN or len(samples.curves) >= METRICS_PER_RUN:
            return None
        self._curves += 1
        while self._curves * self._buckets * 2 > ALL_BUCKETS and self._buckets > LEAST_BUCKETS:
            self._buckets //= 2
            for other in self.files.values():
                for curve in other.curves.values():
                    curve.shrink(self._buckets)
        curve = samples.curves[key] = Curve(self._buckets)
        return curve

    def forget(self, file: StreamFile) -> None:
        """Drop what was learnt from a file, which is another one now."""
        samples = self.files.pop(file, None)
        if samples is not None:
            self._curves -= len(samples.curves)
            self._of_rank[file.rank].remove(file)
        self.version += 1

    # ---- what is known -------------------------------------------------------------------------

    @property
    def ranks(self) -> list[int]:
        """The ranks that have samples, in order."""
        return sorted(rank for rank, files in self._of_rank.items() if files)

    def newest(self, rank: int) -> Samples:
        """Return the newest samples of a rank: those of its last attempt."""
        files = self._of_rank.get(rank)
        return self.files[files[-1]] if files else Samples()

    def known(self, rank: int) -> set[str]:
        """Return which figures of a rank have curves."""
        return {key for file in self._of_rank.get(rank, ()) for key in self.files[file].curves}

    def curve(self, rank: int, key: str, last_s: float | None) -> list[Series]:
        """Return a curve in pieces, one for each file; only of the last hour where that is asked.

        Args:
            rank: whose.
            key: the figure.
            last_s: how much of the end is wanted, in seconds; None: all.
        """
        curves = [self.files[file].curves.get(key) for file in self._of_rank.get(rank, ())]
        known = [curve for curve in curves if curve is not None]
        if last_s is None or last_s > PIECE_S * (PIECES - 1):
            return [curve.whole for curve in known]
        return [piece for curve in known for piece in curve.pieces.values()]

    def newest_value(self, rank: int, key: str) -> float | None:
        """Return the newest value of a figure, which is not of the newest sample in any case."""
        files = self._of_rank.get(rank, ())
        curves = (self.files[file].curves.get(key) for file in reversed(files))
        return next((curve.newest for curve in curves if curve is not None), None)

    @property
    def last_time(self) -> float | None:
        """When the newest sample of all ranks was."""
        times = [t for rank in self.ranks if (t := self.newest(rank).time) is not None]
        return max(times, default=None)

    def span(self) -> tuple[float, float] | None:
        """Return the times of the first and the last sample; None without any."""
        ranges = [
            found
            for samples in self.files.values()
            for curve in list(samples.curves.values())[:1]
            if (found := curve.whole.x_range) is not None
        ]
        return (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None


class Damage:
    """The lines of one file that are no samples: the first of them, and how many there are."""

    def __init__(self) -> None:
        """Have met none."""
        self.count = 0
        self._first = (0, "")

    def note(self, line: int, why: str) -> None:
        """Note a line by its number, from 1; 0 where that is not known."""
        self._first = self._first if self.count else (line, why)
        self.count += 1

    def told(self, name: str) -> str:
        """Return `system-0001.jsonl:3: not JSON: … (and 2 lines more)`."""
        line, why = self._first
        more = self.count - 1
        place = f"{name}:{line}" if line else name
        return f"{place}: {why}" + (f" (and {more:,} line{'s' * (more > 1)} more)" if more else "")


class SystemFiles:
    """Reads `system-NNNN.jsonl` of all ranks of a native run, as they grow."""

    def __init__(self, run_dir: Path, history: SystemHistory) -> None:
        """Read the files in `run_dir` into `history`; nothing is read yet."""
        self._run_dir, self._history = run_dir, history
        self._tails: dict[StreamFile, Tail] = {}
        self._damage: dict[StreamFile, Damage] = {}
        self._is_behind: deque[StreamFile] = deque()
        """Those that are not read to their ends, the next one first."""
        self.problem = ""
        """Why files cannot be read; of several the last one."""

    def read(self, is_over: Callable[[], bool]) -> bool:
        """Read on until `is_over`, some of each file in turn; tell whether the end is reached."""
        if not self._is_behind:
            self._find()
            self._is_behind = deque(sorted(self._tails, reverse=True))  # the newest attempts first
        while self._is_behind:
            if is_over():
                return False
            file = self._is_behind.popleft()
            if self._read_part(file):
                self._is_behind.append(file)
        return True

    @property
    def share_read(self) -> float:
        """How much of the files was read, from 0 to 1."""
        size = sum(tail.size for tail in self._tails.values())
        return min(1.0, sum(tail.offset for tail in self._tails.values()) / size) if size else 1.0

    @property
    def damage(self) -> str:
        """Which lines are no samples, of the newest file that has some; empty where all are."""
        for file in sorted(self._tails, reverse=True):
            found = self._damage.get(file)
            if found is not None and found.count:
                return found.told(file.name)
            torn = self._tails[file].unfinished_line
            if torn is not None and file not in self._history.files:
                # Behind samples it is the next one, which is being written.
                return f"{file.name}:{torn}: the line has no end"
        return ""

    def _find(self) -> None:
        self.problem = ""
        try:
            names = os.listdir(self._run_dir)
        except OSError as error:
            self.problem = why_unreadable(error)
            return
        files = [file for name in names if (file := _system_file(name)) is not None]
        found = set(sorted(files)[-FILES_PER_RUN:])
        for gone in self._tails.keys() - found:
            del self._tails[gone]
            self._damage.pop(gone, None)
            self._history.forget(gone)
        for file in found - self._tails.keys():
            self._tails[file] = Tail(self._run_dir / file.name)

    def _read_part(self, file: StreamFile) -> bool:
        """Read some of a file; tell whether it has more."""
        chunk = self._tails[file].poll(READ_BYTES)
        if chunk.restarted:
            self._history.forget(file)
            self._damage.pop(file, None)
        if chunk.problem is not None:
            self.problem = f"{file.name}: {chunk.problem}"
        damage = self._damage.setdefault(file, Damage())
        self._history.add(file, _rows(chunk, damage))
        for _ in range(chunk.oversized):
            damage.note(0, OVERSIZED)
        return chunk.more


def _system_file(name: str) -> StreamFile | None:
    file = StreamFile.parse(name) if name.startswith("system") else None
    return file if file is not None and file.stream == "system" else None


def _rows(chunk: Chunk, damage: Damage) -> Iterator[JsonObject]:
    for place, line in enumerate(chunk.lines):
        try:
            row = decode(line)
        except RecordError as error:
            damage.note(chunk.line_number + place, str(error))
            continue
        if has_time(row):
            yield row
        else:
            damage.note(chunk.line_number + place, "no 'time' in Unix seconds")


def has_time(row: JsonObject) -> bool:
    """Tell whether a row says when it was, at a time that can be drawn."""
    time = number(row, "time")
    return time is not None and abs(time) < 1e12


def mean_busy(values: Mapping[str, float]) -> float | None:
    """Return the mean load of all GPUs of a sample in percent; None without any."""
    keys = _busy_keys(tuple(values))
    return sum(values[key] for key in keys) / len(keys) if keys else None


@lru_cache(maxsize=256)
def _busy_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Remembers the last ones: samples of a rank have the same figures, and there are many."""
    return tuple(f"gpu{gpu}/busy_percent" for gpu in gpus(keys, "busy_percent"))


def gpus(values: Iterable[str], figure: str | None = None) -> list[int]:
    """Return the numbers of the GPUs that a sample tells of, or tells a figure of."""
    found = (_GPU.fullmatch(key) for key in values)
    return sorted({int(m[1]) for m in found if m and figure in (None, m[2])})
