"""Rows of a log that are alike, taken together: a long log is folded several times as fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from runstore.files.records import number
from runstore.sources.log_files import ForeignRow, ForeignRows
from runstore.state.pieces import Block
from runstore.state.retention import SMALL_BYTES

FEWEST = 4
"""Fewer rows are not worth it."""
SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows of a stream that follow each other and have the same keys."""

    rows: Sequence[ForeignRow] | ForeignRows
    block: Block | None
    """The same rows as columns; None where they have to be taken one by one."""
    numbers: Sequence[int] = ()
    """Of the rows of a block."""

    @property
    def first(self) -> ForeignRow:
        """The first row."""
        return next(iter(self.rows))


def alike(rows: Iterable[ForeignRow]) -> Iterator[Alike]:
    """Yield all rows in groups."""
    for (stream, keys), found in groupby(rows, _looks):
        group = list(found)
        if stream == SEVERAL:
            yield from (_as_found(one) for one in group)
            continue
        can_be_block = stream == "metrics" and len(group) >= FEWEST and "step" in keys
        block = _block(group) if can_be_block else None
        yield Alike(group, block, [one.number for one in group] if block else ())


def _looks(found: ForeignRow) -> tuple[str, tuple[str, ...]]:
    is_several = isinstance(found, ForeignRows)
    return (SEVERAL, ()) if is_several else (found.stream, tuple(found.row))


def _as_found(found: ForeignRow) -> Alike:
    assert isinstance(found, ForeignRows)
    return Alike(found, found.block, found.numbers)


def _block(group: Sequence[ForeignRow]) -> Block | None:
    """Return rows as columns, where each is numbered and small, with a later step and floats."""
    steps = [found.row["step"] for found in group]
    is_ordered = set(map(type, steps)) == {int} and all(a < b for a, b in pairwise(steps))
    if not is_ordered or not all(
        found.number and found.size_bytes <= SMALL_BYTES for found in group
    ):
        return None
    values = {}
    for key in group[0].metrics():
        column = _floats([found.row[key] for found in group])
        if column is None:
            return None
        values[key] = column
    last = group[-1].row
    return Block(steps, values, number(last, "time") or 0.0, last)


def _floats(column: list[Any]) -> list[float] | None:
    """Return numbers as floats; None where one is something else."""
    types = set(map(type, column))
    if types == {float}:
        return column
    try:
        return list(map(float, column)) if types <= {float, int} else None
    except OverflowError:
        return None
