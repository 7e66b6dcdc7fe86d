"""A comparison as a table: its cells for people and for programs, in Markdown and as CSV.

The command `compare` prints these, the monitor writes them into files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from runstore.export.cells import csv_cell
from runstore.export.markdown import markdown
from runstore.numbers import NOTHING, duration, metric, of_total
from runstore.runs.comparison import MISSING, Compared, Comparison
from runstore.tables.columns import text_of

METRICS_SHOWN = 4
"""In a table for people; the others have all."""


def shown_params(comparison: Comparison, all_params: bool) -> list[str]:
    """Return the parameters that have a column: all, or those that differ."""
    return comparison.params if all_params else comparison.differing


def rows_of(
    comparison: Comparison, all_params: bool, param_chars: int | None = None
) -> list[list[str]]:
    """Return the cells of a table for people, its header first.

    Args:
        comparison: The runs.
        all_params: Show also parameters in which no run differs.
        param_chars: Most characters of a parameter; all of it by default.
    """
    params = shown_params(comparison, all_params)
    metrics = comparison.metrics[:METRICS_SHOWN]
    winners = {name: comparison.winner(name) for name in metrics}
    header = ["RUN", "STATUS", "EPOCH", "DURATION", *params, *metrics]
    rows = (_row(comparison, run, params, winners, param_chars) for run in comparison.runs)
    return [header, *rows]


def _row(
    comparison: Comparison,
    run: Compared,
    params: Sequence[str],
    winners: dict[str, Compared | None],
    limit: int | None,
) -> list[str]:
    position = of_total(run.epoch, run.epochs)
    return [
        run.id,
        run.status,
        position,
        duration(run.duration_s),
        *(_param(run, name, limit) for name in params),
        *(_metric(comparison, run, name, winners[name] is run) for name in winners),
    ]


def _param(run: Compared, name: str, limit: int | None) -> str:
    if name not in run.params:
        return MISSING
    text = text_of(run.params[name])
    return f"{text[: limit - 1]}…" if limit and len(text) > limit else text


def _metric(comparison: Comparison, run: Compared, name: str, is_winner: bool) -> str:
    last = run.last.get(name)
    if last is None:
        return NOTHING
    is_judged = comparison.is_judged(name)
    best = comparison.best_of(run, name, comparison.direction(name)) if is_judged else None
    mark = "*" if is_winner else ""
    shown, best_shown = metric(last), metric(best)
    return (
        f"{shown}{mark}" if best is None or best_shown == shown else f"{shown} ({best_shown}{mark})"
    )


def markdown_lines(comparison: Comparison, all_params: bool) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    header, *others = rows_of(comparison, all_params)
    yield f"| {' | '.join(markdown(cell.lower() if cell.isupper() else cell) for cell in header)} |"
    yield f"| {' | '.join(['---', '---', *['---:'] * (len(header) - 2)])} |"
    for row in others:
        yield f"| {' | '.join(map(markdown, row))} |"


def csv_lines(comparison: Comparison, all_params: bool) -> Iterator[str]:
    """Yield the lines of a table of comma-separated values, with all metrics and exact values."""
    params, metrics = shown_params(comparison, all_params), comparison.metrics
    header = ["run", "status", "epoch", "step", "duration_s"]
    header += [f"params.{name}" for name in params]
    header += [f"{kind}.{name}" for kind in ("last", "best") for name in metrics]
    yield _csv_line(header)
    for run in comparison.runs:
        cells: list[Any] = [run.id, run.status, run.epoch, run.step, run.duration_s]
        cells += [run.params.get(name) for name in params]
        cells += [run.last.get(name) for name in metrics]
        cells += [comparison.best_of(run, name, comparison.direction(name)) for name in metrics]
        yield _csv_line(cells)


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(csv_cell, cells))
    return line.getvalue()
