"""Rows that are taken together say what they say one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.sources.alike import FEWEST, alike
from runstore.sources.log_files import ForeignRow
from runstore.sources.plain import open_run
from runstore.sources.reading import RunReader

ROWS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 60)},
        optional={
            "a": st.integers(-5, 5) | st.floats(-5, 5),
            "b": st.floats(-5, 5),
        },
    ),
    max_size=30,
)


def numbered(rows: list[dict[str, Any]]) -> list[ForeignRow]:
    return [ForeignRow("metrics", row, number, 50) for number, row in enumerate(rows, 1)]


def test_rows_of_the_same_metrics_are_one_block() -> None:
    rows = [{"step": n, "time": 1e9 + n, "a": n / 2, "b": n} for n in range(9)]
    (group,) = alike(numbered(rows))
    assert group.block is not None
    assert list(group.block.steps) == list(range(9))
    assert group.block.values == {"a": [n / 2 for n in range(9)], "b": [float(n) for n in range(9)]}
    assert (group.block.time, group.block.last_row) == (1e9 + 8, rows[-1])


@pytest.mark.parametrize(
    "odd",
    [{"step": 1, "a": 1.0}, {"step": 9, "a": None}, {"step": 9, "a": "x"}, {"step": 9, "a": True},
     {"step": 9, "a": 10**400}, {"step": 9.5, "a": 1.0}, {"step": True, "a": 1.0}],
)  # fmt: skip
def test_rows_with_anything_odd_are_taken_one_by_one(odd: dict[str, Any]) -> None:
    rows = [*({"step": n, "a": 1.0} for n in range(2, 2 + FEWEST)), odd]
    (group,) = alike(numbered(rows))
    assert group.block is None
    assert [found.row for found in group.rows] == rows


def test_few_rows_unnumbered_rows_and_long_rows_are_no_block() -> None:
    rows = [{"step": n, "a": 1.0} for n in range(FEWEST)]
    found = numbered(rows)
    unnumbered = [ForeignRow("metrics", row, 0, 50) for row in rows]
    long = [ForeignRow("metrics", row, 1, 5000) for row in rows]
    of_epochs = [ForeignRow("epochs", row, 1, 50) for row in rows]
    for group in (found[:-1], unnumbered, long, of_epochs):
        assert [one.block for one in alike(group)] == [None]


def polled(directory: Path, budget: int) -> RunReader:
    reader = open_run(directory, patient=False)
    reader.poll(budget)
    while reader.behind:
        reader.poll(budget)
    return reader


@settings(max_examples=40)
@given(parts=st.lists(ROWS, max_size=3), is_sorted=st.booleans(), budget=st.integers(40, 4000))
def test_state_is_that_of_the_rows_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[dict[str, Any]]],
    is_sorted: bool,
    budget: int,
) -> None:
    """With a budget of one line at a time nothing is taken together."""
    rows = [row for part in parts for row in (sorted(part, key=_step) if is_sorted else part)]
    directory = tmp_path_factory.mktemp("run")
    lines = [json.dumps(row) + "\n" for row in rows]
    (directory / "m.jsonl").write_text("".join(lines))
    together, one_by_one = polled(directory, budget).state, polled(directory, 1).state
    assert together.last == one_by_one.last
    assert told(together.series) == told(one_by_one.series)
    assert together.last_row == one_by_one.last_row
    assert together.warnings == one_by_one.warnings


def _step(row: dict[str, Any]) -> int:
    return int(row["step"])


def told(series: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {
        key: [(piece.count, piece.last, piece.x_range, piece.y_range) for piece in pieces]
        for key, pieces in series.items()
    }
