"""Rows of several files, joined by their step."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from runstore.files.records import JsonObject
from runstore.sources.joined import joined
from runstore.sources.reading import RowLine


def table(name: str, *rows: JsonObject | None, void: tuple[int, ...] = ()) -> Iterator[RowLine]:
    """Yield rows as a reader does; None is a damaged line."""
    for number, row in enumerate(rows, 1):
        error = "damaged" if row is None else None
        yield RowLine(name, number, b"", row, number in void, error)


def step(row: JsonObject) -> float | None:
    found = row.get("step")
    return found if isinstance(found, int) else None


def test_rows_of_a_step_are_one_and_their_line_says_the_same() -> None:
    a = table("a", {"step": 1, "time": 5.0, "a": 1.0}, {"step": 3, "time": 6.0, "a": 3.0})
    b = table("b", {"step": 1, "time": 7.0, "b": 2.0}, {"step": 2, "b": 4.0})
    found = list(joined([a, b], step))
    assert [line.row for line in found] == [
        {"step": 1, "time": 7.0, "a": 1.0, "b": 2.0},
        {"step": 2, "b": 4.0},
        {"step": 3, "time": 6.0, "a": 3.0},
    ]
    assert [json.loads(line.line) for line in found] == [line.row for line in found]
    assert [(line.file, line.number) for line in found] == [("a", 1), ("b", 2), ("a", 2)]


def test_values_that_are_not_finite_are_noted_on_the_joined_row() -> None:
    tables = table("a", {"step": 1, "a": math.nan}), table("b", {"step": 1, "b": -math.inf})
    (line,) = joined(tables, step)
    assert line.row == {"step": 1, "a": None, "b": None, "_nonfinite": {"a": "nan", "b": "-inf"}}
    assert json.loads(line.line) == line.row


def test_last_of_several_values_holds() -> None:
    first, second = {"step": 1, "a": math.nan, "time": 9.0}, {"step": 1, "a": 2.0, "time": 8.0}
    (line,) = joined([table("a", first, second)], step)
    assert line.row == {"step": 1, "time": 9.0, "a": 2.0}
    (line,) = joined([table("a", second, first)], step)
    assert (line.row or {})["_nonfinite"] == {"a": "nan"}


def test_what_does_not_count_passes_as_it_is() -> None:
    rows = {"step": 1, "a": 1.0}, {"step": 9, "a": 9.0}, None, {"step": 2, "a": 2.0}, {"a": 5.0}
    found = list(joined([table("a", *rows, void=(2,)), table("b", {"step": 2, "b": 0.0})], step))
    assert [(line.row, line.superseded, line.error) for line in found] == [
        ({"step": 9, "a": 9.0}, True, None),
        (None, False, "damaged"),
        ({"step": 1, "a": 1.0}, False, None),
        ({"a": 5.0}, False, None),
        ({"step": 2, "a": 2.0, "b": 0.0}, False, None),
    ]


def test_other_value_of_another_file_costs_no_row() -> None:
    """Two folds that are logged beside each other have the same names."""
    a, b = table("a", {"step": 1, "a": 1.0, "lr": 0.5}), table("b", {"step": 1, "a": 2.0})
    c = table("c", {"step": 1, "c": 3.0, "lr": 0.5})
    assert [line.row for line in joined([a, b, c], step)] == [
        {"step": 1, "a": 1.0, "lr": 0.5},
        {"step": 1, "a": 2.0, "c": 3.0, "lr": 0.5},
    ]
    a = table("a", {"step": 1, "a": 1.0, "lr": 0.5})
    (line,) = joined([a, table("c", {"step": 1, "c": 3.0, "lr": 0.5})], step)
    assert line.row == {"step": 1, "a": 1.0, "c": 3.0, "lr": 0.5}


def test_row_that_is_alone_keeps_its_line_and_notes_are_joined() -> None:
    noted = {"step": 1, "a": None, "_nonfinite": {"a": "nan"}}
    alone = RowLine("a", 2, b'{"a":2,"step":2}', {"a": 2, "step": 2}, False)
    first = RowLine("a", 1, b"{}", noted, False)
    other = table("b", {"step": 1, "b": math.inf})
    one, two = joined([iter([first, alone]), other], step)
    assert one.row == {"step": 1, "a": None, "b": None, "_nonfinite": {"a": "nan", "b": "inf"}}
    assert two.line == b'{"a":2,"step":2}'


def test_tables_are_read_side_by_side() -> None:
    """A table that never ends is joined as far as one looks."""

    def endless(name: str) -> Iterator[RowLine]:
        for number in itertools.count(1):
            yield RowLine(name, number, b"", {"step": number, name: 1.0}, False)

    found = itertools.islice(joined([endless("a"), endless("b")], step), 100)
    assert [line.row for line in found] == [
        {"step": number, "a": 1.0, "b": 1.0} for number in range(1, 101)
    ]


STEPS = st.lists(st.integers(0, 20), unique=True).map(sorted)


@given(st.dictionaries(st.sampled_from("abcdef"), STEPS))
def test_joined_rows_hold_every_value_once(steps: dict[str, list[int]]) -> None:
    tables = [table(name, *({"step": n, name: n / 2} for n in of)) for name, of in steps.items()]
    found = [line.row or {} for line in joined(tables, step)]
    places = [row["step"] for row in found]
    assert places == sorted(set(places))
    for name, of in steps.items():
        assert [(row["step"], row[name]) for row in found if name in row] == [
            (n, n / 2) for n in of
        ]
