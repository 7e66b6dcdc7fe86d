"""The system samples of one run, read and drawn in a thread beside the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runstore.environment.mounts import is_network
from runstore.files.paths import StreamFile
from runstore.sources import NATIVE, RunRef, open_run
from runstore.sources.foreign import ForeignReader
from runstore.sources.reading import RowLine
from runstore.state.system_history import SystemFiles, SystemHistory

from .renderables.system import Drawn, draw
from .renderables.system_charts import View

SLICE_S = 0.02
LOCAL_S, NETWORK_S = 0.5, 2.0
"""How often to look whether there is more; samples come every ten seconds."""
DRAW_EVERY_S = 0.5
"""While much is still to be read, what there is is drawn so often."""


class ForeignRows:
    """Reads the system samples that another tool has logged, as they come."""

    def __init__(self, ref: RunRef, history: SystemHistory) -> None:
        """Read those of a run that was found; nothing is read yet."""
        self._ref, self._history = ref, history
        self._reader: ForeignReader | None = None
        self._rows: Iterator[RowLine] = iter(())
        self.problem = self.damage = ""
        self.share_read = 1.0

    def read(self, is_over: Callable[[], bool]) -> bool:
        """Read on until `is_over`; tell whether the end is reached."""
        if self._reader is None:
            reader = open_run(self._ref)
            if not isinstance(reader, ForeignReader):
                return True
            self._reader = reader
        while not is_over():
            row = next(self._rows, None)
            if row is None:
                if self.share_read < 1.0:
                    self.share_read = 1.0
                    return True
                self._rows, self.share_read = self._reader.newest("system"), 0.0
            elif row.row is not None:
                self._history.add(StreamFile(1, 0, "system"), (row.row,))
        return False


@dataclass(frozen=True, slots=True)
class Page:
    """What is on screen."""

    drawn: Drawn = field(default_factory=Drawn)
    problem: str = ""
    damage: str = ""
    """Which lines of the files are no samples."""
    share_read: float = 1.0
    is_read: bool = False
    """Files were looked at."""


class SystemReading:
    """What one run tells of its machines. Public methods are for the thread of the screen."""

    every_s = LOCAL_S

    def __init__(self, ref: RunRef, clock: Callable[[], float] = time.monotonic) -> None:
        """Show the samples of a run that was found."""
        self.page = Page()
        """The newest; replaced as a whole."""
        self._ref, self._clock = ref, clock
        self._history = SystemHistory()
        self._files: SystemFiles | ForeignRows
        if ref.source is NATIVE:
            self._files = SystemFiles(ref.path, self._history)
        else:
            self._files = ForeignRows(ref, self._history)
        self._view = View()
        self._is_whole = False
        """All samples were read once."""
        self._drawn_view: View | None = None
        self._drawn_of: tuple[View, int, bool] | None = None
        self._drawn_at = 0.0

    def look(self, view: View) -> bool:
        """Draw this from now on; return whether that is news."""
        is_new = view != self._view
        self._view = view
        return is_new

    def read(self) -> bool:
        """Read on, and draw when there is news; tell whether there is more to do at once."""
        if not self.page.is_read:
            self.every_s = NETWORK_S if is_network(self._ref.path) else LOCAL_S
        view, end = self._view, self._clock() + SLICE_S
        is_asked = view != self._drawn_view  # a key waits for that, and not for reading
        is_done = not is_asked and self._files.read(lambda: self._clock() > end)
        self._is_whole = self._is_whole or is_done
        self._drawn_view = view
        is_due = is_asked or is_done or self._clock() - self._drawn_at > DRAW_EVERY_S
        drawn = self._draw(view) if is_due else self.page.drawn
        # Before the first look nobody knows whether there is anything.
        is_read = self.page.is_read or not is_asked
        files = self._files
        self.page = Page(drawn, files.problem, files.damage, files.share_read, is_read)
        return not is_done

    def _draw(self, view: View) -> Drawn:
        wanted = view, self._history.version, self._is_whole
        if wanted == self._drawn_of:
            return self.page.drawn
        drawn = draw(self._history, view, is_whole=self._is_whole)
        self._drawn_of, self._drawn_at = wanted, self._clock()
        return drawn
