"""Rows as typed columns, in about nine bytes a value: what data frames and Parquet are made of.

A key that has ever been a number is a metric: its column holds floats, and what is no number there
is missing, as everywhere in runstore. Other columns hold texts, or booleans. `step` and `epoch` are
integers. Columns appear with their first value, however late; no type is guessed from a sample.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Collection, Mapping
from functools import reduce
from itertools import chain, islice
from typing import Any, ClassVar, Literal

import orjson

from runstore.files.limits import EXPORT_COLUMNS
from runstore.files.records import JsonObject, int_as_float, whole
from runstore.tables.pool import Pool

Kind = Literal["integer", "number", "flag", "text"]
ROW_COLUMNS: Mapping[str, Kind] = {"step": "integer", "epoch": "integer", "time": "number"}
"""What every table of rows has, in front."""
RUN_METRIC = "run_value"
"""What a metric called `run` is called where the first column has that name."""
MAX_INT64 = 2**63 - 1
PENDING_CELLS = 1 << 15
"""As many values wait for their columns: turned around together, each costs a fraction."""
SPARSE = 8
"""Of rows that are this much emptier than a table of them, each value is taken by itself."""
Types = set[type]


class Column(ABC):
    """One column. Rows behind its last value have none, until `pad` says how many there are."""

    kind: ClassVar[Kind]
    values: Any
    """An `array`, or a list of texts and None."""

    def __init__(self) -> None:
        self.valid = array("b")
        """For each row 1, or 0 where the value is missing; of texts nothing."""

    @abstractmethod
    def take(self, values: list[Any], types: Types) -> None:
        """Append a value for each of some rows; what this kind does not hold is missing."""

    def pad(self, rows: int) -> None:
        """Let the values up to a number of rows be missing."""
        missing = rows - len(self.values)
        if missing > 0:
            self.values.extend(array(self.values.typecode, [self.blank()]) * missing)
            self.valid.extend(array("b", [0]) * missing)

    def blank(self) -> Any:
        """Return what stands in place of a missing value."""
        return 0

    def append(self, other: Column) -> None:
        """Append the values of another column of this kind."""
        self.values.extend(other.values)
        self.valid.extend(other.valid)

    def _take_all(self, values: list[Any]) -> None:
        self.values.fromlist(values)
        self.valid.extend(array("b", [1]) * len(values))

    def _take_some(self, values: list[Any]) -> None:
        """Append values of which some are None."""
        blank = self.blank()
        self.values.extend(blank if value is None else value for value in values)
        self.valid.extend(value is not None for value in values)


class Numbers(Column):
    """Floats; in place of a missing one NaN, which is what pandas has for it."""

    kind = "number"

    def __init__(self) -> None:
        super().__init__()
        self.values: array[float] = array("d")

    def take(self, values: list[Any], types: Types) -> None:
        """Append numbers as floats."""
        if types == {float}:
            self._take_all(values)
        else:
            self._take_some([_as_number(value) for value in values])

    def blank(self) -> float:
        """Return NaN."""
        return math.nan


class Integers(Column):
    """Integers of 64 bits."""

    kind = "integer"

    def __init__(self) -> None:
        super().__init__()
        self.values: array[int] = array("q")

    def take(self, values: list[Any], types: Types) -> None:
        """Append integers, and floats that are one."""
        if types == {int} and max(values) <= MAX_INT64 and min(values) >= -MAX_INT64:
            self._take_all(values)
        else:
            self._take_some([_as_int64(value) for value in values])


class Flags(Column):
    """Booleans, as 0 and 1."""

    kind = "flag"

    def __init__(self) -> None:
        super().__init__()
        self.values: array[int] = array("b")

    def take(self, values: list[Any], types: Types) -> None:
        """Append booleans."""
        self._take_some([value if type(value) is bool else None for value in values])

    def as_texts(self) -> Texts:
        """Return the values as `true` and `false`."""
        texts = Texts()
        pairs = zip(self.values, self.valid, strict=True)
        texts.take([bool(value) if valid else None for value, valid in pairs], {bool})
        return texts


class Texts(Column):
    """Texts; booleans, lists and objects as JSON."""

    kind = "text"

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str | None] = []
        self._pool = Pool()

    def take(self, values: list[Any], types: Types) -> None:
        """Append anything as text."""
        share = self._pool.share
        self.values.extend(None if v is None else share(text_of(v)) for v in values)

    def pad(self, rows: int) -> None:
        """Let the texts up to a number of rows be None."""
        self.values.extend([None] * (rows - len(self.values)))


_OF_KIND: Mapping[Kind, type[Column]] = {
    column.kind: column for column in (Integers, Numbers, Flags, Texts)
}


class Columns:
    """A table that grows by rows, or by whole tables."""

    def __init__(
        self,
        kinds: Mapping[str, Kind] = ROW_COLUMNS,
        *,
        only: Collection[str] | None = None,
        grows: bool = True,
    ) -> None:
        """Begin with columns of these kinds and no rows.

        Args:
            kinds: the columns that are there whatever the rows hold.
            only: further columns are those of these names; None for any.
            grows: whether there are further columns at all.
        """
        self.rows = 0
        self.left_out = False
        """There were more columns than a table may have."""
        self.others: dict[str, None] = {}
        """Names of columns that were not to be there, as many as a table may have."""
        self._columns: dict[str, Column] = {name: _OF_KIND[kind]() for name, kind in kinds.items()}
        self._fixed = frozenset(kinds)
        self._only = None if only is None else frozenset(only)
        self._grows = grows
        self._pending: list[JsonObject] = []
        self._pending_cells = 0

    def add(self, row: JsonObject) -> None:
        """Append a row, which must not change; names that begin with `_` are no columns."""
        self._pending.append(row)
        self.rows += 1
        self._pending_cells += len(row)
        if self._pending_cells >= PENDING_CELLS:
            self._turn_around()

    def _turn_around(self) -> None:
        rows, self._pending = self._pending, []
        cells, self._pending_cells = self._pending_cells, 0
        start = self.rows - len(rows)
        names = dict.fromkeys(chain.from_iterable(rows))
        if len(names) * len(rows) > SPARSE * cells:
            self._take_singly(rows, start)
            return
        for name in names:
            if name not in self._columns and not self._may_come(name):
                continue
            values = [row.get(name) for row in rows]
            types = set(map(type, values))
            kinds = {_kind(one) for one in types if one is not type(None)}
            column = self._column(name, reduce(wider, kinds)) if kinds else None
            if column is not None:
                column.pad(start)
                column.take(values, types)

    def _take_singly(self, rows: list[JsonObject], start: int) -> None:
        """Take rows that have hardly a name in common."""
        for at, row in enumerate(rows, start):
            for name, value in row.items():
                column = None if value is None else self._column(name, kind_of(value))
                if column is not None:
                    column.pad(at)
                    column.take([value], {type(value)})

    def _column(self, name: str, kind: Kind) -> Column | None:
        """Return the column that takes values of a kind; None where there is to be none."""
        column = self._columns.get(name)
        if column is None:
            if not self._may_come(name):
                return None
            column = self._columns[name] = _OF_KIND[kind]()
        elif name not in self._fixed:
            column = self._columns[name] = _changed(column, wider(column.kind, kind))
        return column

    def _may_come(self, name: str) -> bool:
        if not self._grows or name.startswith("_"):
            return False
        if self._only is not None and name not in self._only:
            if len(self.others) < EXPORT_COLUMNS:
                self.others[name] = None
            return False
        if len(self._columns) >= EXPORT_COLUMNS:
            self.left_out = True
            return False
        return True

    @property
    def chosen(self) -> int:
        """How many further columns were chosen by their names."""
        return len(self._only or ())

    def absent(self) -> list[str]:
        """Return the chosen columns that no row has had; none where there are no rows."""
        self._turn_around()
        chosen = self._only or () if self.rows else ()
        return sorted(name for name in chosen if name not in self._columns)

    def extend(self, other: Columns, run: str) -> None:
        """Append another table, whose rows are those of one run; nothing is left in it."""
        other._turn_around()
        start = self.rows
        for name in list(other._columns):
            # Given away one by one: a wide table must not be in memory twice.
            column = other._columns.pop(name)
            called = RUN_METRIC if name == "run" else name
            is_taken = called != name and called in other._columns
            own = None if is_taken else self._column(called, column.kind)
            if own is not None:
                own.pad(start)
                own.append(_changed(column, own.kind))
        self.rows += other.rows
        self._columns["run"].values.extend([run] * other.rows)
        self.left_out |= other.left_out
        self.others.update(islice(other.others.items(), EXPORT_COLUMNS - len(self.others)))

    def finish(self) -> Mapping[str, Column]:
        """Return the columns by name, all as long as the table."""
        self._turn_around()
        for column in self._columns.values():
            column.pad(self.rows)
        return self._columns


def of_facts(
    rows: Collection[JsonObject], kinds: Mapping[str, Kind], order: Callable[[str], int]
) -> Columns:
    """Return a table of few rows in which no value is lost: a mixed column becomes text.

    Args:
        rows: what is known of each run, say.
        kinds: the columns that are there whatever the rows hold, and in front.
        order: what sorts the others; equal ones stay in the order of their appearance.
    """
    types: dict[str, Types] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                types.setdefault(name, set()).add(type(value))
    found = dict(kinds)
    for name in sorted(types, key=order):
        found.setdefault(name, _kind_of_facts(types[name]))
    columns = Columns(dict(islice(found.items(), EXPORT_COLUMNS)), grows=False)
    columns.left_out = len(found) > EXPORT_COLUMNS
    for row in rows:
        columns.add(row)
    return columns


def _kind_of_facts(types: Types) -> Kind:
    if types == {int}:
        return "integer"
    kinds = set(map(_kind, types))
    return kinds.pop() if len(kinds) == 1 else "text"


def kind_of(value: Any) -> Kind:
    """Return the kind of column that a value of a row makes."""
    return _kind(type(value))


def _kind(one: type) -> Kind:
    return "number" if one is float or one is int else "flag" if one is bool else "text"


def wider(one: Kind, other: Kind) -> Kind:
    """Return the kind of a column in which there are both: numbers win, as in `metric_values`."""
    if one == other:
        return one
    return "number" if "number" in (one, other) else "text"


def _changed(column: Column, kind: Kind) -> Column:
    """Return a column as another kind; among numbers, what is none is missing."""
    if column.kind == kind:
        return column
    if isinstance(column, Flags) and kind == "text":
        return column.as_texts()
    changed = _OF_KIND[kind]()
    changed.pad(len(column.values))
    return changed


def text_of(value: Any) -> str:
    """Return a value as text: what is no text as JSON."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # orjson reads more levels than it writes
        return "(nested too deeply)"


def _as_number(value: Any) -> float | None:
    if type(value) is float:
        return value
    return int_as_float(value) if type(value) is int else None


def _as_int64(value: Any) -> int | None:
    found = whole(value)
    return found if found is not None and -MAX_INT64 <= found <= MAX_INT64 else None
