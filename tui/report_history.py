"""The classification reports of all epochs of one run, read in a thread when they are looked at.

A report may have a megabyte, most of it the confusion matrix. So the state of a run keeps where
each lies (`RunState.report_places`); here the scores of all of them are kept, for trends, and the
last few reports as a whole. What counts is what the state says: a report that a resumed run has
cut is not among its places.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from runstore.files.records import RecordError, decode
from runstore.files.regular import open_regular, why_unreadable
from runstore.state.pieces import ReportPlace
from runstore.threads import start_daemon

from .renderables.class_report import ClassReport, ScoreColumns, score_columns

KEPT_WHOLE = 2
"""Reports with their matrices: one of 60,000 cells takes some 6 MiB."""
SCORES_BYTES = 24 << 20
"""Scores that are kept, the newest: 2,000 epochs of 1,000 classes."""
PAUSE_S = 0.002
"""Between two reads: the screen has the interpreter."""
CHANGED = "the file has changed meanwhile"


class ReportHistory:
    """The screen asks for reports and gets what has been read; a thread reads the rest."""

    def __init__(self, directory: Path) -> None:
        """Read the reports of the run in `directory`; nothing is read yet."""
        self._directory = directory
        self._places: Sequence[ReportPlace] = ()
        self._order: dict[ReportPlace, int] = {}
        self._split = ""
        self._todo: list[ReportPlace] = []
        """Those whose scores are to be read, the next one at the end."""
        self._wanted: ReportPlace | None = None
        self._scores: dict[ReportPlace, ScoreColumns] = {}
        self._bytes = 0
        self._whole: OrderedDict[ReportPlace, ClassReport] = OrderedDict()
        self._problems: dict[ReportPlace, str] = {}
        self._running = False
        self._changed = threading.Condition()
        self.version = 0
        """Grows with every report that was read."""

    def update(self, places: Sequence[ReportPlace], wanted: ReportPlace) -> None:
        """Tell which reports there are, in their order, and which one is shown.

        Scores are read of its split only.
        """
        with self._changed:
            if places != self._places or wanted.split != self._split:
                self._places, self._split = list(places), wanted.split
                self._plan()
            self._wanted = wanted
            if self._running or (self._has(wanted) and not self._todo):
                return
            self._running = True
        start_daemon(self._work, "runstore-reports")

    def _plan(self) -> None:
        order = self._order = {place: at for at, place in enumerate(self._places)}
        self._scores = {place: kept for place, kept in self._scores.items() if place in order}
        self._bytes = sum(columns.size_bytes for columns in self._scores.values())
        for place in [place for place in self._whole if place not in order]:
            del self._whole[place]
        self._problems.clear()
        self._todo = [place for place in self._places if place.split == self._split]

    def _has(self, place: ReportPlace) -> bool:
        return place in self._whole or place in self._problems

    def report(self, place: ReportPlace, wait_s: float = 0.0) -> ClassReport | None:
        """Return a report as a whole; None until it has been read, for which it may wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(place), wait_s)
            if place in self._whole:
                self._whole.move_to_end(place)
            return self._whole.get(place)

    def problem(self, place: ReportPlace) -> str:
        """Return why a report cannot be read, in words; empty when it can."""
        return self._problems.get(place, "")

    def scores(self, place: ReportPlace) -> ScoreColumns | None:
        """Return the scores of a report, None until they have been read."""
        return self._scores.get(place)

    @property
    def is_behind(self) -> bool:
        """Whether the thread is still at it."""
        return self._running

    def stop(self) -> None:
        """Have the thread end after its current read: another run is looked at."""
        with self._changed:
            self._todo, self._wanted = [], None

    # ---- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        while (place := self._next()) is not None:
            found: ClassReport | str
            try:
                found = _read(self._directory / place.file, place)
            except OSError as error:
                found = why_unreadable(error)
            except RecordError:
                found = CHANGED
            except Exception as error:  # noqa: BLE001 - the boundary of the thread
                found = f"{type(error).__name__}: {error}"
            self._take(place, found)
            time.sleep(PAUSE_S)

    def _next(self) -> ReportPlace | None:
        """Return what to read next: what is shown before the scores, newest first."""
        with self._changed:
            wanted = self._wanted
            if wanted is not None and not self._has(wanted):
                return wanted
            while self._todo:
                place = self._todo.pop()
                if place not in self._scores:
                    return place
            self._running = False
            return None

    def _take(self, place: ReportPlace, found: ClassReport | str) -> None:
        with self._changed:
            self.version += 1
            if isinstance(found, str):
                self._problems[place] = found
            elif place in self._order:
                self._keep(place, found)
            self._changed.notify_all()

    def _keep(self, place: ReportPlace, report: ClassReport) -> None:
        if place == self._wanted:
            self._whole[place] = report
            while len(self._whole) > KEPT_WHOLE:
                self._whole.popitem(last=False)
        if place in self._scores:
            return
        like = next(reversed(self._scores.values()), None)
        columns = self._scores[place] = score_columns(report, like)
        self._bytes += columns.size_bytes
        if self._bytes > SCORES_BYTES:
            self._let_oldest_go()

    def _let_oldest_go(self) -> None:
        """Keep the newest: what is older than the oldest of them need not be read."""
        while self._bytes > SCORES_BYTES and len(self._scores) > 1:
            oldest = min(self._scores, key=self._order.__getitem__)
            self._bytes -= self._scores.pop(oldest).size_bytes
        first = min(map(self._order.__getitem__, self._scores))
        self._todo = [place for place in self._todo if self._order[place] > first]


def _read(path: Path, place: ReportPlace) -> ClassReport:
    descriptor = open_regular(path)
    try:
        data = os.pread(descriptor, place.size_bytes, place.offset)
    finally:
        os.close(descriptor)
    report = ClassReport.from_row(decode(data))
    if (report.epoch, report.step) != (place.epoch, place.step):
        raise RecordError(CHANGED)
    return report
