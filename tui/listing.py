"""The rows of the run list: which runs, in which order, and which of them are one row. Pure.

Filtering and sorting look only at what each run keeps (`kept`), so no lock and no file is waited
for. Where it depends on live values it is done again now and then, not at each of them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeGuard, TypeVar

from runstore.metrics.ranking import rank_metrics
from runstore.runs.comparison import direction_of
from runstore.runs.run_filter import STATUS_WORDS, Query, Vocabulary, as_number, common_start

from .entry import Entry
from .folders import Folder, FolderTree
from .grouping import group_key, groups, is_seed, mean_and_spread
from .renderables.root_names import RootNames
from .renderables.run_columns import (
    BEST,
    DONE,
    EPOCH,
    ETA,
    LEFT,
    PARAM,
    RATE,
    TOOK,
)
from .session import Session

AGAIN_S = 0.5
"""Live values change the order at most this often."""
SHARE = 0.05
"""Largest share of the time that putting the runs into order may take."""
_POSITIONS = {
    EPOCH: "epoch",
    DONE: "fraction",
    RATE: "it_per_s",
    ETA: "eta_s",
    LEFT: "job_end",
    TOOK: "duration_s",
    BEST: "best_order",
}
_MOST_FIRST = frozenset({EPOCH, DONE, RATE, TOOK})
_LIVE_FIRST = ("running", "stalled", "pending", "planned", "failed", "crashed", "interrupted")
_WORDS = (*_LIVE_FIRST, *(word for word in STATUS_WORDS if word not in _LIVE_FIRST))
_SEPARATED = re.compile(r"[-_.,/ ]\w.*", re.DOTALL)
_WHOLE = re.compile(r"(?<![0-9.])[0-9]+")
"""Not what stands behind a point: 0.01 comes before 0.1."""
_LONGEST_NUMBER = 12
_FAILED = frozenset({"failed", "crashed"})


class GroupRow:
    """Several runs in one row; made anew whenever their values are looked at again."""

    __slots__ = ("_counts", "_means", "children", "folded", "is_folder", "key", "members", "name")

    def __init__(
        self, key: str, name: str, children: Sequence[Row], *, is_folder: bool, folded: bool
    ) -> None:
        """Hold runs that belong together.

        Args:
            key: Tells the row from all others.
            name: What it is called.
            children: What is listed below it when it is not folded, in order: at least one run, or
                a folder in this folder.
            is_folder: They lie in one folder; else they have the same parameters but the seed.
            folded: They are not listed below the row.
        """
        self.key = key
        self.name = name
        self.children = children
        self.members = list(_runs_in(children))
        """All its runs, those in folders below it too, in order."""
        self.is_folder = is_folder
        self.folded = folded
        self._counts: list[tuple[str, int]] = []
        self._means: dict[str, tuple[float, float | None] | None] = {}

    @property
    def counts(self) -> list[tuple[str, int]]:
        """(status word, how many), the live ones first."""
        if not self._counts:
            counts = Counter(entry.word for entry in self.members)
            self._counts = [(word, counts[word]) for word in _WORDS if counts[word]]
        return self._counts

    @property
    def params(self) -> dict[str, str]:
        """The parameters that its runs share."""
        first = self.members[0].kept
        if self.is_folder:
            return {}
        return {name: value for name, value in first.params() if not is_seed(name)}

    def mean(self, column: str) -> tuple[float, float | None] | None:
        """Return mean and standard deviation of a column; None where no run has a value."""
        if column not in self._means:
            values = [v for entry in self.members if (v := number_in(entry, column)) is not None]
            self._means[column] = mean_and_spread(values) if values else None
        return self._means[column]


Row = Entry | GroupRow


def _runs_in(rows: Iterable[Row]) -> Iterator[Entry]:
    for row in rows:
        if isinstance(row, Entry):
            yield row
        else:
            yield from row.members


AnyRow = TypeVar("AnyRow", Entry, Row)


class Asked(NamedTuple):
    """What the rows were made for."""

    entries: Sequence[Entry]
    query: Query
    sort: str
    reverse: bool
    grouped: bool
    by_folder: bool
    errors_only: bool
    unfolded: frozenset[str]

    @property
    def depends_on_values(self) -> bool:
        """Whether a new value may change the rows."""
        return (
            bool(self.query)
            or bool(self.sort)
            or self.by_folder
            or self.grouped
            or (self.errors_only)
        )


class Listing:
    """The rows, made again when something else is asked for, or new values may change them."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Have no rows; folders are called by their paths below `roots`."""
        self._roots = tuple(str(root).rstrip("/") for root in roots)
        self._root_names = RootNames(roots)
        self.rows: Sequence[Row] = ()
        self.runs: Sequence[Entry] = ()
        """The runs in the rows, those of folded groups too, in order."""
        self.depths: dict[str, int] = {}
        """How many groups the rows are in, by their keys; without those that are in none."""
        self.unfolded: frozenset[str] = frozenset()
        """Keys of groups that were opened; of a folder that holds all runs, closed."""
        self.is_old = False
        """There are values that the rows were not made with."""
        self.cost_s = 0.0
        """How long it took to make the rows."""
        self._asked: Asked | None = None
        self._not_before = 0.0

    def update(
        self, entries: Sequence[Entry], query: Query, session: Session, clock: Callable[[], float]
    ) -> None:
        """Make the rows again if it is time.

        Args:
            entries: All runs, the newest first.
            query: Which of them are wanted.
            session: How they are sorted and grouped.
            clock: Returns seconds.
        """
        asked = Asked(
            entries,
            query,
            session.sort,
            session.reverse,
            session.grouped,
            session.by_folder,
            session.errors_only,
            self.unfolded,
        )
        start = clock()
        self.is_old &= asked.depends_on_values
        is_same = self._asked is not None and _is_same(asked, self._asked)
        if is_same and (not self.is_old or start < self._not_before):
            return
        self._asked = asked
        self._make(asked)
        self.is_old = False
        end = clock()
        self.cost_s = end - start
        self._not_before = end + max(AGAIN_S, self.cost_s / SHARE)

    def _make(self, asked: Asked) -> None:
        found = _wanted(asked)
        if not asked.grouped and not asked.by_folder:
            self.runs = ordered(found, asked.sort, asked.reverse)
            self.rows, self.depths = self.runs, {}
            return
        top = self._alike(found, asked) if asked.grouped else self._in_folders(found, asked)
        self.runs = list(_runs_in(top))
        rows: list[Row] = []
        self.depths = {}
        self._list(top, 0, rows)
        self.rows = rows

    def _list(self, found: Iterable[Row], depth: int, rows: list[Row]) -> None:
        """Put rows behind `rows`, each with what is below it unless it is folded."""
        for row in found:
            rows.append(row)
            if depth:
                self.depths[row.key] = depth
            if isinstance(row, GroupRow) and not row.folded:
                self._list(row.children, depth + 1, rows)

    def _alike(self, runs: Sequence[Entry], asked: Asked) -> Sequence[Row]:
        """Return a row for runs that differ in their seed, and the others as they are."""
        rows: list[Row] = []
        for group in groups(runs, _params_key):
            if group.key is None or len(group.members) == 1:
                rows.extend(group.members)
                continue
            key = f"group:{group.key}"
            members = ordered(group.members, asked.sort, asked.reverse)
            name, folded = _common_name(group.members), key not in asked.unfolded
            rows.append(GroupRow(key, name, members, is_folder=False, folded=folded))
        return ordered(rows, asked.sort, asked.reverse)

    def _in_folders(self, runs: Sequence[Entry], asked: Asked) -> Sequence[Row]:
        """Return a row for each folder below the root, or for each of several roots."""
        tree: FolderTree[Entry] = FolderTree(self._roots, self._root_names)
        for entry in runs:
            tree.add(entry.key, entry)
        rows = self._rows_of(tree.top, asked)
        if len(rows) == 1 and isinstance(rows[0], GroupRow):
            rows[0].folded = not rows[0].folded  # a list of one row would tell nobody anything
        return rows

    def _rows_of(self, folder: Folder[Entry], asked: Asked) -> Sequence[Row]:
        rows: list[Row] = []
        for child in folder.children:
            if isinstance(child, Entry):
                rows.append(child)
                continue
            name, below = child.shown()
            key = f"group:{below.path}"
            children, folded = self._rows_of(below, asked), key not in asked.unfolded
            rows.append(GroupRow(key, name, children, is_folder=True, folded=folded))
        return ordered(rows, asked.sort, asked.reverse)

    def toggle(self, row: GroupRow) -> None:
        """List the runs of a group below it, or do so no longer."""
        self.unfolded ^= {row.key}

    def reveal(self, key: str) -> None:
        """Open the groups that hide a run."""
        groups_of = (row for row in self.rows if _holds(row, key) and row.folded)
        row: GroupRow | None = next(groups_of, None)
        while row is not None:
            if row.folded:
                self.toggle(row)
            row = next((child for child in row.children if _holds(child, key)), None)


def _holds(row: Row, key: str) -> TypeGuard[GroupRow]:
    return isinstance(row, GroupRow) and any(entry.key == key for entry in row.members)


def _is_same(one: Asked, other: Asked) -> bool:
    return one.entries is other.entries and one[1:] == other[1:]


def _wanted(asked: Asked) -> Sequence[Entry]:
    entries = asked.entries
    if asked.errors_only:
        entries = [entry for entry in entries if is_error(entry)]
    if asked.query:
        holds = asked.query.holds
        entries = [entry for entry in entries if holds(entry)]
    return entries


def is_error(entry: Entry) -> bool:
    """Tell whether a run went wrong: failed, crashed, or with a value that is no number."""
    return entry.word in _FAILED or not entry.kept.is_finite


# ---- order -------------------------------------------------------------------------------------


def starts_ascending(column: str) -> bool:
    """Return which end of a column comes first at first: the end that people look for."""
    if column.startswith("@"):
        return column not in _MOST_FIRST
    return column.startswith(PARAM) or direction_of(column) == "min"


def ordered(rows: Sequence[AnyRow], sort: str, reverse: bool) -> Sequence[AnyRow]:
    """Return rows in order: numbers, texts, and at the end those without a value.

    Equals stay as they were, the newest first.
    """
    if not sort:
        return rows[::-1] if reverse else rows
    numbers: list[tuple[float, AnyRow]] = []
    texts: list[tuple[str, AnyRow]] = []
    unknown: list[AnyRow] = []
    for row in rows:
        place = _place(row, sort)
        if isinstance(place, str):
            texts.append((place, row))
        elif place is None or math.isnan(place):
            unknown.append(row)
        else:
            numbers.append((place, row))
    descending = starts_ascending(sort) == reverse
    numbers.sort(key=itemgetter(0), reverse=descending)
    texts.sort(key=itemgetter(0), reverse=descending)
    in_order = [row for _, row in numbers]
    in_order += [row for _, row in texts]
    return in_order + unknown


def _place(row: Row, column: str) -> float | str | None:
    """Return what a row is sorted by."""
    entry = row if isinstance(row, Entry) else row.members[0]
    match column:
        case "@status":
            return _WORDS.index(entry.word) if entry.word in _WORDS else len(_WORDS)
        case "@run":
            return _natural(row.name)
        case "@source":
            return entry.source
    if isinstance(row, GroupRow) and (mean := row.mean(column)) is not None:
        return mean[0]
    value = number_in(entry, column)
    if value is not None or not column.startswith(PARAM):
        return value
    text = entry.kept.param(column.removeprefix(PARAM))
    return None if text is None else text.lower()


def _natural(name: str) -> str:
    """Return a name so that `trial-10` comes behind `trial-9`."""
    return _WHOLE.sub(lambda found: found[0].zfill(_LONGEST_NUMBER), name.lower())


def number_in(entry: Entry, column: str) -> float | None:
    """Return a run's number in a column, NaN included; None where it has none."""
    if column.startswith("@"):
        position = _POSITIONS.get(column)
        return None if position is None else entry.kept.position(position)
    if column.startswith(PARAM):
        text = entry.kept.param(column.removeprefix(PARAM))
        return None if text is None else as_number(text)
    return entry.kept.metric(column)


def _params_key(entry: Entry) -> Hashable:
    return group_key(dict(entry.kept.params()))


def _common_name(entries: Sequence[Entry]) -> str:
    """Return what the names of some runs begin and end with; where neither is, what they share.

    Cells of a sweep are called `lr=0.1,seed=0,width=32`, and together `lr=0.1,seed=*,width=32`.
    Runs of one set of parameters that have nothing of their names in common are together called by
    these parameters: by the name of one of them they would be taken for that run.
    """
    names = {entry.name for entry in entries}
    start = common_start(names)
    end = common_start({name[len(start) :][::-1] for name in names})[::-1]
    if whole := _SEPARATED.search(end):  # not the last digit of a seed
        return f"{start}*{whole[0]}"
    shared = (f"{name}={value}" for name, value in entries[0].kept.params() if not is_seed(name))
    return start.rstrip("-_.=/ ") or ",".join(shared) or entries[0].name


# ---- names -------------------------------------------------------------------------------------


def vocabulary(entries: Sequence[Entry]) -> Vocabulary:
    """Return what a filter may name, of the runs that were read so far."""
    return Vocabulary(
        names=list(dict.fromkeys((*param_names(entries), *metric_names(entries)))),
        tags=sorted({tag for entry in entries for tag in entry.tags}),
        run_names=sorted({entry.name for entry in entries}),
        sources=sorted({entry.source for entry in entries}),
        values=lambda name: (v for e in entries if (v := e.kept.param(name)) is not None),
    )


def param_names(entries: Sequence[Entry]) -> list[str]:
    """Return the parameters of some runs, in the order of their appearance."""
    # Runs of a sweep share one tuple.
    together = dict.fromkeys(entry.kept.param_names for entry in entries)
    return list(dict.fromkeys(name for names in together for name in names))


def metric_names(entries: Sequence[Entry]) -> list[str]:
    """Return the metrics of some runs, the most telling first."""
    together = dict.fromkeys(entry.kept.metric_names for entry in entries)
    return rank_metrics(name for names in together for name in names)
