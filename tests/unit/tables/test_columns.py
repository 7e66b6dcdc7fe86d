"""Rows become typed columns, whatever comes late, is missing or is mixed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.limits import EXPORT_COLUMNS
from runstore.files.records import JsonObject
from runstore.tables import columns as columns_module
from runstore.tables.columns import Column, Columns, of_facts, text_of

NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70))
VALUES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=3), st.just([1, "x"]))
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "step", "_x"]), VALUES), max_size=6)


def values_of(column: Column) -> list[Any]:
    """Return what a column holds, None where a value is missing."""
    if column.kind == "text":
        return list(column.values)
    known = bool if column.kind == "flag" else lambda value: value
    pairs = zip(column.values, column.valid, strict=True)
    return [known(value) if valid else None for value, valid in pairs]


def table_of(rows: list[JsonObject]) -> dict[str, tuple[str, list[Any]]]:
    columns = Columns()
    for row in rows:
        columns.add(row)
    return {name: (one.kind, values_of(one)) for name, one in columns.finish().items()}


def test_a_metric_that_comes_late_is_missing_before() -> None:
    table = table_of([{"step": 1, "a": 0.5}, {"step": 2}, {"step": 3, "b": math.inf}])
    assert table["step"] == ("integer", [1, 2, 3])
    assert table["epoch"] == ("integer", [None, None, None])
    assert table["a"] == ("number", [0.5, None, None])
    assert table["b"] == ("number", [None, None, math.inf])


def test_nan_is_a_value_and_null_is_none() -> None:
    kind, (nan, missing) = table_of([{"a": math.nan}, {"a": None}])["a"]
    assert (kind, math.isnan(nan), missing) == ("number", True, None)


def test_what_is_no_number_is_missing_in_a_metric() -> None:
    rows: list[JsonObject] = [{"a": "warmup"}, {"a": 2}, {"a": True}, {"a": [1]}, {"a": 0.5}]
    assert table_of(rows)["a"] == ("number", [None, 2.0, None, None, 0.5])


def test_texts_booleans_and_lists_keep_their_kind_until_they_are_mixed() -> None:
    rows: list[JsonObject] = [{"t": "x", "f": True, "m": False, "n": {"k": [1]}}, {"m": "y"}]
    table = table_of(rows)
    assert table["t"] == ("text", ["x", None])
    assert table["f"] == ("flag", [True, None])
    assert table["m"] == ("text", ["false", "y"])
    assert table["n"] == ("text", ['{"k":[1]}', None])


def test_step_is_an_integer_or_missing() -> None:
    rows: list[JsonObject] = [{"step": s} for s in (3.0, "4", 1.5, True, 2**64, None, -7)]
    assert table_of(rows)["step"] == ("integer", [3, None, None, None, None, None, -7])


def test_names_with_an_underscore_in_front_are_no_columns() -> None:
    assert "_x" not in table_of([{"_x": 1.0}])


def test_chosen_columns_only() -> None:
    columns = Columns(only=["b"])
    columns.add({"step": 1, "a": 1.0, "b": 2.0})
    assert list(columns.finish()) == ["step", "epoch", "time", "b"]


def test_columns_beyond_the_most_are_left_out_and_told() -> None:
    columns = Columns()
    for start in range(0, 20_000, 1000):
        columns.add({f"m{number}": 1.0 for number in range(start, start + 1000)})
    assert len(columns.finish()) == EXPORT_COLUMNS
    assert columns.left_out


def expected(rows: list[JsonObject], name: str) -> list[Any]:
    """Return a column by the rules, value by value."""
    values = [row.get(name) for row in rows]
    present = [value for value in values if value is not None]
    is_number = [type(value) in (int, float) for value in present]
    if name == "step":
        return [_step(value) for value in values]
    if any(is_number):
        return [_float(v) if type(v) in (int, float) else None for v in values]
    if all(isinstance(value, bool) for value in present):
        return values
    return [None if value is None else text_of(value) for value in values]


def _step(value: object) -> int | None:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63
    found = int(value) if whole and isinstance(value, float) else value
    return found if type(found) is int and abs(found) < 2**63 else None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


@given(ROWS, ROWS, st.sampled_from([1, 3, 1 << 15]), st.sampled_from([0, 8]))
def test_table_holds_what_the_rows_say_however_it_grew(
    first: list[JsonObject], second: list[JsonObject], at_once: int, sparse: int
) -> None:
    whole = Columns({"run": "text", "step": "integer"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns_module, "PENDING_CELLS", at_once)
        patch.setattr(columns_module, "SPARSE", sparse)
        for name, rows in (("A", first), ("B", second)):
            part = Columns({"step": "integer"})
            for row in rows:
                part.add(row)
            whole.extend(part, name)
        found = whole.finish()
    rows = first + second
    assert values_of(found["run"]) == ["A"] * len(first) + ["B"] * len(second)
    for name in "abc":
        wanted = expected(rows, name)
        got = values_of(found[name]) if name in found else [None] * len(rows)
        assert list(map(repr, got)) == list(map(repr, wanted))
    assert values_of(found["step"]) == expected(rows, "step")


def facts(*rows: JsonObject) -> dict[str, tuple[str, list[Any]]]:
    table = of_facts(rows, {"run": "text"}, len).finish()
    return {name: (one.kind, values_of(one)) for name, one in table.items()}


def test_facts_keep_integers_and_lose_no_value_where_they_are_mixed() -> None:
    table = facts(
        {"run": "A", "batch": 32, "lr": 1, "decay": "auto", "amp": True, "none": None},
        {"run": "B", "batch": 64, "lr": 0.1, "decay": 0.5, "amp": None},
    )
    assert table["batch"] == ("integer", [32, 64])
    assert table["lr"] == ("number", [1.0, 0.1])
    assert table["decay"] == ("text", ["auto", "0.5"])
    assert table["amp"] == ("flag", [True, None])
    assert "none" not in table


def test_what_is_nested_too_deeply_for_text_is_said() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    assert text_of(deep) == "(nested too deeply)"
    assert text_of([1, "ä"]) == '[1,"ä"]'
