"""The marked runs side by side, and how the patches of two of them differ."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from itertools import chain, islice

from runstore.runs.comparison import Comparison, Sort
from runstore.threads import start_daemon

from ..compared_runs import ComparedRuns, RunBeside, read_patch
from ..comparison_file import WRITTEN, command, problem_with, write
from ..entry import Entry, RunView
from ..renderables.compare import Column, CompareTable
from ..renderables.facts import run_count
from ..renderables.patch_difference import PatchDifference, difference
from ..renderables.text import (
    EMPTY,
    LazyLines,
    Line,
    Span,
    fit_line,
    from_file,
    line,
    paragraph,
)
from ..scene import Scene
from .pane import Pane

NAMESAKES = 4
"""Runs that are compared where none is marked, the chosen one included."""
NAMESAKES_WITHIN = 500
"""Rows of the list, before and behind the chosen run, in which they are looked for."""
SORTABLE = 8
"""Metrics that a key goes through, the most telling."""
DEFAULT_NAME = "comparison.md"
_HOW_TO_MARK = "Space in the list marks runs"


class ComparePane(Pane):
    """A table with a column for each run; or the difference of two patches."""

    NAME = "compare"
    PROMPT = "file (.md .csv): "
    HELP = "Enter writes   Esc drops"

    def __init__(self) -> None:
        super().__init__()
        self._runs = ComparedRuns()
        self._all_params = False
        self._sorted_by = 0
        """A metric, by its place from 1; 0: the order of marking."""
        self._near: tuple[Entry | None, Sequence[Entry], list[Entry]] = (None, (), [])
        """The chosen run, the list in which it is, and the runs near it."""
        self._cursor, self._first = 1, 1
        self._table: CompareTable | None = None
        self._table_of: tuple[object, ...] = ()
        self._besides: list[RunBeside] = []
        self._offered = DEFAULT_NAME
        """What to call the next file: the last name, while nothing was written under it."""
        self._file = ""
        """The name of the last file that was written."""
        self._working = False
        """A thread is comparing patches, or writing."""
        self._patches: PatchDifference | None = None
        """What is shown in place of the table."""
        self._patches_of = ""

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return nothing: this pane shows several runs."""
        return []

    def show(self, scene: Scene) -> None:
        """Show other runs, or the same with new values; where it was scrolled to stays."""
        self.scene = scene
        self.redraw()

    def body(self, width: int, height: int) -> list[Line]:
        """Return the table, or the difference of two patches."""
        self.is_waiting = self._working
        if self._patches is not None:
            return self._difference(self._patches, width, height)
        entries = self._entries()
        if not entries:
            return self.without_run(width)
        self._besides = self._runs.look(entries, self.scene.charted)
        # Also for what else is to come: a run that the watcher reads, a patch, the rest.
        self.is_waiting |= self._runs.is_behind or len(self._besides) < len(entries)
        if not self._besides:
            return [line(Span("reading …", "dim"))]
        table = self._made(width)
        notes = chain(*(paragraph(text, width, role) for text, role in self._notes(entries)))
        top = [*notes, *table.head]
        shown = self.scrolled(_behind(table.lines, self._foot(width)), height - len(top))
        self._length += len(top)
        return [*top, *shown]

    def _made(self, width: int) -> CompareTable:
        shown = (tuple(self._besides), self._all_params, self._sorted_by, width)
        made_of = (*shown, self._cursor, self._first)
        if self._table is None or made_of != self._table_of:
            self._cursor = max(1, min(self._cursor, len(self._besides) - 1))
            comparison = self._comparison()
            self._table = CompareTable(
                comparison,
                [self._column(beside) for beside in self._in_order(comparison)],
                all_params=self._all_params,
                width=width,
                first=self._first,
                cursor=self._cursor,
            )
            self._first = self._table.first
            self._table_of = (*shown, self._cursor, self._first)
        return self._table

    def _comparison(self) -> Comparison:
        """Return the comparison, in the order that was asked for."""
        runs = Comparison([beside.facts for beside in self._besides])
        metrics = _sortable(runs)
        self._sorted_by %= len(metrics) + 1
        if not self._sorted_by:
            return runs
        by = metrics[self._sorted_by - 1]
        return Comparison(runs.runs, Sort(by, runs.direction(by)))

    def _in_order(self, comparison: Comparison) -> list[RunBeside]:
        places = {id(facts): at for at, facts in enumerate(comparison.runs)}
        return sorted(self._besides, key=lambda beside: places[id(beside.facts)])

    def _column(self, beside: RunBeside) -> Column:
        session = self.scene.session
        # Where the list is grouped, runs of other seeds share the letters of the charts.
        letter = "" if session.grouped else session.letter(beside.key)
        tree = beside.commit, beside.dirty, beside.untracked, beside.patch
        return Column(letter, *tree, beside.reading)

    # ---- which runs ----------------------------------------------------------------------------

    def _entries(self) -> list[Entry]:
        """Return the marked runs; with too few of them the chosen one, its namesakes as well."""
        scene = self.scene
        marked, chosen = list(scene.marked), scene.entry
        if len(marked) > 1 or chosen is None:
            return marked
        if marked:
            return marked if chosen in marked else [*marked, chosen]
        if self._near[0] is not chosen or self._near[1] is not scene.listed:
            self._near = (chosen, scene.listed, _namesakes(chosen, scene.listed))
        return [chosen, *self._near[2]]

    def _notes(self, entries: Sequence[Entry]) -> list[tuple[str, str]]:
        scene = self.scene
        notes = []
        if not scene.marked:
            told = "the chosen one and runs near it" if len(entries) > 1 else "the chosen one"
            notes.append((f"no run is marked: {told}. {_HOW_TO_MARK}", "dim"))
        elif len(scene.marked) == 1:
            told = "the marked run and the chosen one" if len(entries) > 1 else "one run is marked"
            notes.append((f"{told}. {_HOW_TO_MARK}", "dim"))
        gone = len(scene.session.marks) - len(scene.marked)
        if gone > 0:
            runs = "1 marked run is" if gone == 1 else f"{gone} marked runs are"
            notes.append((f"{runs} not there any more; U takes all marks away", "warn"))
        unread = sum(beside.reading for beside in self._besides)
        unread += len(entries) - len(self._besides)
        if unread:
            runs = "1 run is" if unread == 1 else f"{unread} runs are"
            notes.append((f"{runs} still being read: what is best may change", "warn"))
        return notes

    def _foot(self, width: int) -> list[Line]:
        words = textwrap.wrap(self._command(), max(20, width - 2), break_on_hyphens=False)
        rows = [line("  ", Span(from_file(text), "value")) for text in words]
        return [EMPTY, line(Span("The same as a command; e writes it to a file:", "dim")), *rows]

    def _command(self) -> str:
        refs = {entry.key: entry.ref for entry in self._entries()}
        shown = [refs[beside.key] for beside in self._besides if beside.key in refs]
        by = self._table.sorted_by if self._table is not None else ""
        return command(shown, all_params=self._all_params, sort=by, name=self._file)

    def subtitle(self) -> str:
        """Return which of how many runs are on screen."""
        if self._patches is not None:
            return f"patches of {self._patches_of}; Esc goes back"
        if self._table is None or not self._besides:
            return ""
        where = self._table.where or run_count(len(self._besides))
        by = self._table.sorted_by
        return f"{where} · best {from_file(by)} first" if by else where

    # ---- what its keys do ----------------------------------------------------------------------

    def action_column(self, move: int) -> None:
        """Move the cursor to another run, scroll it into sight."""
        self._cursor = max(1, min(self._cursor + move, len(self._besides) - 1))

    def action_columns(self, pages: int) -> None:
        """Move the cursor by as many runs as are on screen."""
        shown = len(self._table.shown) - 1 if self._table is not None else 1
        self._first = max(1, self._first + pages * shown)
        self.action_column(pages * shown)

    def action_all_params(self) -> None:
        """Show also the parameters in which no run differs, or not."""
        self._all_params = not self._all_params

    def action_sort(self) -> None:
        """Have the best run first, by the next metric; or the order of marking again."""
        self._sorted_by += 1
        self._cursor = self._first = 1

    def action_patches(self) -> None:
        """Show how the patch of the run at the cursor differs from that of the first."""
        entries = {entry.key: entry for entry in self._entries()}
        if self._patches is not None:
            self._leave_patches()
        elif len(self._besides) < 2:
            self.scene.said.say("two runs are needed to compare their patches")
        elif not self._working and self._table is not None:
            in_order = self._in_order(self._comparison())
            pair = [in_order[0], in_order[self._cursor]]
            one, other = (entries.get(beside.key) for beside in pair)
            if one is not None and other is not None:
                labels = (self._table.label(beside.facts) for beside in pair)
                self._patches_of = " and ".join(labels)
                self._do(lambda: self._compare_patches(one, other))

    def _compare_patches(self, one: Entry, other: Entry) -> None:
        (first, of_first), (second, of_second) = read_patch(one), read_patch(other)
        problem = of_first.problem or of_second.problem
        if problem:
            self.scene.said.say(f"a patch cannot be read: {problem}")
            return
        self._patches, self._top = difference(first, second), 0

    def _difference(self, found: PatchDifference, width: int, height: int) -> list[Line]:
        title = fit_line((Span(found.title, "title"),), width)
        shown = self.scrolled(found.lines, height - 1)
        self._length += 1
        return [title, *shown]

    def _leave_patches(self) -> None:
        self._patches, self._top = None, 0

    def action_export(self) -> None:
        """Ask for the name of a file."""
        unread = any(beside.reading for beside in self._besides)
        if not self._besides or unread:
            self.scene.said.say("nothing written: runs are still being read; try again")
        else:
            self._ask()

    def _ask(self) -> None:
        if self._offered == DEFAULT_NAME:
            self.propose(self._offered)
        else:  # it was refused: to be mended
            self.prompt = self._offered

    def press_outside(self, key: str, character: str | None) -> bool:
        """Leave the patches by Esc."""
        if key != "escape" or self._patches is None:
            return False
        self._leave_patches()
        self.redraw()
        return True

    def typed(self, text: str | None) -> None:
        """Write the comparison into a file of the name that was typed."""
        if text is not None and not self._working:
            self._export(text.strip())

    def _export(self, name: str) -> None:
        self._offered = name or DEFAULT_NAME
        if problem := problem_with(name):
            self.scene.said.say(problem)
            return
        comparison, all_params = self._comparison(), self._all_params

        def work() -> None:
            told = write(comparison, name, all_params=all_params)
            if told.startswith(WRITTEN):
                self._file, self._offered = name, DEFAULT_NAME
            self.scene.said.say(told)

        self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        """Do something in a thread; the screen's tick shows what came of it."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the boundary of the thread
                self.scene.said.say(f"{type(error).__name__}: {error}")
            finally:
                self._working = False

        self._working = self.is_waiting = True
        start_daemon(guarded, "runstore-compare-once")


def _sortable(runs: Comparison) -> list[str]:
    """Return the metrics that a key goes through, first the one that decides the best epoch."""
    deciding = next((run.best.metric for run in runs.runs if run.best), "")
    return sorted(runs.metrics, key=lambda name: name != deciding)[:SORTABLE]


def _namesakes(chosen: Entry, listed: Sequence[Entry]) -> list[Entry]:
    """Return runs of the same name that are near the chosen one in the list; or its neighbor."""
    if chosen not in listed:
        return []
    at = listed.index(chosen)
    near = [
        *listed[at + 1 : at + NAMESAKES_WITHIN],
        *listed[max(0, at - NAMESAKES_WITHIN) : at][::-1],
    ]
    alike = (entry for entry in near if entry.name and entry.name == chosen.name)
    return list(islice(alike, NAMESAKES - 1)) or near[:1]


def _behind(lines: Sequence[Line], foot: Sequence[Line]) -> Sequence[Line]:
    """Return lines with further ones behind them; nothing is made before it is looked at."""
    first = len(lines)
    return LazyLines(first + len(foot), lambda at: lines[at] if at < first else foot[at - first])
