r"""A table for a README or an issue, in GitHub's Markdown: rounded, and no wider than people read.

Source: GitHub Flavored Markdown, tables and backslash escapes (github.github.com/gfm). Angle
brackets and ampersands are entities, because not every renderer takes `\<`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from runstore.export.rows import Rows, Written
from runstore.files.records import JsonObject, number
from runstore.metrics.ranking import rank_metrics, telling_metrics
from runstore.numbers import duration, of_total
from runstore.tables.columns import text_of
from runstore.text import printable

METRICS_SHOWN = 8
PARAMS_SHOWN = 12
CELL_CHARS = 200
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# An underscore inside a word is none of emphasis, and most names of parameters have one.
_SPECIAL = re.compile(r"[\\`*|~\[\]&<>$]|(?<![^\W_])_|_(?![^\W_])")


class _Shown(NamedTuple):
    """A column: its header, its cell in a row, and whether that is a number."""

    header: str
    cell: Callable[[JsonObject], str]
    is_number: bool = True


def write_markdown(rows: Rows, out: IO[bytes]) -> Written:
    """Write a table; of the runs with their parameters, the best epoch and the newest metrics."""
    shown, left_out = _of_runs(rows.runs) if rows.table == "runs" else _of_rows(rows)
    out.write(_line(column.header for column in shown))
    out.write(_line(("---:" if column.is_number else "---" for column in shown), escape=False))
    count = 0
    for row in rows:
        out.write(_line(column.cell(row) for column in shown))
        count += 1
    return Written(count, left_out)


def _line(cells: Iterable[str], *, escape: bool = True) -> bytes:
    words = map(markdown, cells) if escape else cells
    return f"| {' | '.join(words)} |\n".encode()


def markdown(text: str) -> str:
    """Return a text as the content of a cell, in which nothing has a meaning of its own."""
    return _SPECIAL.sub(lambda found: _escaped(found.group()), printable(text, limit=CELL_CHARS))


def _escaped(char: str) -> str:
    return _HTML.get(char) or f"\\{char}"


def _of_runs(runs: Sequence[JsonObject]) -> tuple[list[_Shown], str]:
    params, metrics = _names(runs, "params."), telling_metrics(_names(runs, "last."))
    differing = [name for name in params if _differs(runs, f"params.{name}")]
    first = set((differing + [name for name in params if name not in differing])[:PARAMS_SHOWN])
    shown = [
        _Shown("run", lambda row: str(row["run"]), False),
        _Shown("status", lambda row: str(row["status"]), False),
        _Shown("epoch", lambda row: of_total(row["epoch"], row["epochs"])),
        _Shown("duration", lambda row: duration(number(row, "duration_s"))),
        *(_param(name, f"params.{name}", runs) for name in params if name in first),
        *_best(runs),
        *(_plain(name, f"last.{name}") for name in metrics[:METRICS_SHOWN]),
    ]
    more = len(params) - PARAMS_SHOWN, len(metrics) - METRICS_SHOWN
    return shown, _left_out({"parameter": more[0], "metric": more[1]})


def _left_out(more: Mapping[str, int], at_least: str = "") -> str:
    words = [f"{n:,}{at_least} {what}{'s' * (n > 1)}" for what, n in more.items() if n > 0]
    return f"left out for want of width: {' and '.join(words)}; csv has all" if words else ""


def _names(runs: Sequence[JsonObject], prefix: str) -> list[str]:
    names = dict.fromkeys(
        name
        for row in runs
        for name, value in row.items()
        if value is not None and name.startswith(prefix)
    )
    return [name.removeprefix(prefix) for name in names]


def _differs(runs: Sequence[JsonObject], name: str) -> bool:
    return len({text_of(row.get(name)) for row in runs}) > 1


def _best(runs: Sequence[JsonObject]) -> list[_Shown]:
    """Return the column of the best epochs; the metric is in its header where all have the same."""
    metrics = {row["best.metric"] for row in runs} - {None}
    if len(metrics) == 1:
        return [_Shown(f"best {metrics.pop()}", _best_value)]
    return [_Shown("best", lambda row: f"{row['best.metric'] or ''} {_best_value(row)}".strip())]


def _best_value(row: JsonObject) -> str:
    value = row["best.value"]
    return "" if value is None else f"{_value(value)} @{row['best.epoch']}"


def _of_rows(rows: Rows) -> tuple[list[_Shown], str]:
    kinds, more = rows.columns()
    fixed = [name for name in ("run", "epoch", "step", "split", "label", "metric") if name in kinds]
    if len(rows.refs) == 1:
        fixed.remove("run")
    others = [name for name in kinds if name not in (*fixed, "run", "time")]
    if rows.table in ("metrics", "epochs", "system") and rows.shape == "wide":
        others = rank_metrics(others)
    shown = fixed + others[:METRICS_SHOWN]
    left_out = _left_out({"metric": len(others) - METRICS_SHOWN}, " or more" * more)
    return [_plain(name, name, is_number=kinds[name] != "text") for name in shown], left_out


def _plain(header: str, key: str, *, is_number: bool = True) -> _Shown:
    return _Shown(header, lambda row: _value(row.get(key)), is_number)


def _param(header: str, key: str, runs: Sequence[JsonObject]) -> _Shown:
    """Return the column of a parameter, as it was written: `1e-05`, not rounded."""
    is_number = all(isinstance(row.get(key), (int, float, type(None))) for row in runs)
    return _Shown(header, lambda row: _in_full(row.get(key)), is_number)


def _in_full(value: Any) -> str:
    return repr(value) if isinstance(value, float) else _value(value)


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else text_of(value)
