"""Which printed lines are rows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runstore.exec.json_rows import JsonRows, row_of
from runstore.files.limits import MAX_LINE_BYTES


def rows_of(*pieces: bytes) -> list[dict[str, Any]]:
    rows = JsonRows()
    return [row for piece in pieces for row in rows.feed(piece)]


def test_rows_are_found_wherever_the_bytes_are_cut() -> None:
    printed = b'hello\n{"step": 1, "loss": 0.5}\nx\n{"step":2,"loss":1}\n'
    for size in range(1, len(printed)):
        pieces = [printed[i : i + size] for i in range(0, len(printed), size)]
        assert rows_of(*pieces) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1}]


def test_nan_and_infinity_as_python_prints_them_are_values() -> None:
    (row,) = rows_of(b'{"step": 1, "a": NaN, "b": -Infinity}\r\n')
    assert math.isnan(row["a"])
    assert row["b"] == -math.inf


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1}',
        b'{"step": 1, "epoch": 2, "time": 3.0}',
        b'{"step": "one", "loss": 1}',
        b'{"step": true, "loss": 1}',
        b'{"step": 1.5, "loss": 1}',
        b'{"step": 1, "message": "words"}',
        b'[{"step": 1, "loss": 2}]',
        b'INFO {"step": 1, "loss": 2}',
        b'{"step": 1, "loss": 2} trailing',
        b'{"step": 1, "loss": 2',
        b'{"loss": 2}',
        b'{"step": 1, "loss": ' + b"[" * 100_000 + b"}",
    ],
)
def test_json_that_is_no_row_stays_output(line: bytes) -> None:
    assert row_of(line) is None


def test_words_beside_the_numbers_are_left_out() -> None:
    line = b'{"step": 3, "level": "info", "loss": 1, "ok": true, "x": [1], "time": 9}'
    assert row_of(line) == {"step": 3, "loss": 1, "ok": True}


def test_row_printed_behind_a_progress_bar_is_found() -> None:
    bar = b"\r 10%|#    | 1/10"
    printed = bar * 100_000 + b'\x1b[0m{"step": 1, "loss": 2}\n'
    pieces = [printed[i : i + 65536] for i in range(0, len(printed), 65536)]
    assert rows_of(*pieces) == [{"step": 1, "loss": 2}]


def test_line_too_long_for_a_row_is_passed_over_and_the_next_is_found() -> None:
    long = [b'{"step": 1, "loss": 2, "x": "'] + [b"x" * 65536] * (MAX_LINE_BYTES // 65536 + 2)
    assert rows_of(*long, b'"}\n{"step": 2, "loss": 3}\n') == [{"step": 2, "loss": 3}]
