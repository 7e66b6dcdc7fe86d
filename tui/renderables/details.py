"""The detail panes of one run, except its chart: progress, last step, epochs, report, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runstore.numbers import NOTHING, age, clock, count, duration, exact, metric, percent, rate
from runstore.ranking import is_bookkeeping, rank_metrics, split_metric
from runstore.records import integer, metric_values
from runstore.sources import NATIVE
from runstore.state import RunState

from .bars import ENDED, bar
from .facts import (
    GLYPHS,
    STATUS_ROLES,
    epoch_fraction,
    live_progress,
    run_fraction,
    short,
)
from .text import LazyLines, Line, Span, fit, from_file, join, line, pack, shorten

LABEL_WIDTH = 9
COLUMN_ROWS = 50
"""Newest epochs that decide the table's columns; not every epoch is validated."""


def progress(state: RunState, width: int, now: float) -> list[Line]:
    """Return status and reason, both bars, the best epoch, parameters and warnings.

    Args:
        state: The run.
        width: Cells.
        now: Unix seconds, for "3s ago".
    """
    lines = [*_status(state, width), *_bars(state, width), *_best(state)]
    lines += _pairs("params", state.params, width)
    if state.tags:
        lines.append(_labelled("tags", line(from_file(" ".join(state.tags)))))
    lines += [line(Span("! " + text, "warn")) for text in trouble(state)]
    return [*lines, *last_step(state, width, now)]


def _status(state: RunState, width: int) -> list[Line]:
    word = state.status.word
    role = STATUS_ROLES.get(word, "dim") + "-strong"
    head = f"{GLYPHS.get(word, '?')} {word}"
    reason = shorten(from_file(state.status.reason), width - len(head) - 2)
    facts = [f"attempt {state.attempt}"] if state.attempt > 1 else []
    if state.duration_s is not None:
        facts.append(
            f"{duration(state.duration_s)} so far"
            if state.status.alive
            else f"took {duration(state.duration_s)}"
        )
    if state.source != NATIVE.name:
        facts.append(f"source: {from_file(state.source)}")
    lines = [line(Span(head, role), "  ", Span(reason, "dim"))]
    if state.id != state.name or not reason:
        lines.append(_labelled("id", line(shorten(from_file(state.id), width - LABEL_WIDTH))))
    return [*lines, _labelled("time", line(" · ".join(facts)))] if facts else lines


def _bars(state: RunState, width: int) -> list[Line]:
    position = live_progress(state)
    size = max(6, min(30, width - 46))
    lines: list[Line] = []
    if position is not None and position.batches:
        done = epoch_fraction(position) or 0.0
        label = from_file(position.split or "epoch")
        tail = f" {percent(done):>4}  {count(position.batch)}/{count(position.batches)}"
        speed = f"  {rate(position.it_per_s)} it/s" if position.it_per_s else ""
        lines.append(_labelled(label, line(*bar(done, size), tail + speed)))
    whole = run_fraction(state)
    if whole is not None and state.epochs:
        tail = f" {percent(whole):>4}  epoch {state.epoch or 0}/{state.epochs}"
        left = f"  {duration(position.eta_s)} left" if position and position.eta_s else ""
        role = "bar" if position else ENDED
        lines.append(_labelled("run", line(*bar(whole, size, role), tail + left)))
    return lines


def _best(state: RunState) -> list[Line]:
    best = state.best
    if best is None:
        return []
    value = Span(f"{from_file(best.metric)} {metric(best.value)}", "best")
    return [_labelled("best", line(value, f" in epoch {best.epoch}"))]


def _labelled(label: str, content: Line) -> Line:
    return (Span(fit(label, LABEL_WIDTH), "dim"), *content)


def _pairs(label: str, values: Mapping[str, Any], width: int) -> list[Line]:
    """Return `name=value` pairs in as many lines as they need, at most three."""
    lines: list[list[Line]] = [[]]
    used = LABEL_WIDTH
    for key, value in values.items():
        pair = line(Span(from_file(key) + "=", "dim"), shorten(from_file(short(value)), 40))
        size = sum(len(span.text) for span in pair) + 2
        if used + size > width and lines[-1]:
            lines.append([])
            used = LABEL_WIDTH
        lines[-1].append(pair)
        used += size
    shown = [_labelled(label if i == 0 else "", join(row)) for i, row in enumerate(lines) if row]
    return shown if len(shown) <= 3 else [*shown[:2], _labelled("", line(Span("…", "dim")))]


def trouble(state: RunState) -> list[str]:
    """Return what is wrong with the run's files, one safe line each, at most six."""
    lines: list[str] = []
    if state.degraded:
        why = from_file(state.degraded)
        lines.append(why if state.status.alive else f"at the last heartbeat, {why}: now lost")
    if state.bad_line_count:
        first = min(state.bad_lines, key=lambda bad: (bad.file, bad.offset))
        number = f"{state.bad_line_count:,} bad line{'s' * (state.bad_line_count != 1)}"
        lines.append(f"{number}, first {from_file(first.place)}: {from_file(first.reason)}")
    warnings = state.warnings
    lines += [from_file(warning) for warning in warnings[-3:]]
    if len(warnings) > 3:
        lines.append(f"{len(warnings) - 3} more warnings: see Events")
    return lines


def last_step(state: RunState, width: int, now: float) -> list[Line]:
    """Return the newest value of every metric that steps measure, and what only epochs have.

    What the training loop measured of itself comes after what it measured of the network.
    """
    row = state.last_row
    last = state.last
    if not last:
        return [line(), line(Span("no row yet", "dim"))]
    time = row.get("time")
    written = age(now - time) if isinstance(time, (int, float)) else ""
    facts = [f"step {count(state.step)}", f"epoch {state.epoch}" if state.epoch else "", written]
    title = line(Span("last step", "title"), Span("  " + "  ".join(filter(None, facts)), "dim"))
    in_row = metric_values(row)
    names = sorted(rank_metrics(last), key=lambda name: (is_bookkeeping(name), name not in in_row))
    label = min(max(len(from_file(name)) for name in names), max(12, width - 14))
    cells = [_metric_cell(name, last[name], label) for name in names]
    return [line(), title, *pack(cells, width, gap=2)]


def _metric_cell(name: str, value: float, label: int) -> Line:
    text = duration(value) if split_metric(name)[1] == "duration_s" else exact(value)
    role = "bad" if text in ("nan", "inf", "-inf") else "value"
    shown = shorten(from_file(name), label, keep_end=True)
    return (Span(fit(shown, label), "dim"), Span(" "), Span(f"{text:>9}", role))


def epochs(state: RunState, width: int) -> Sequence[Line]:
    """Return the epoch table, newest first, with the best epoch marked by a star.

    Rows are made when they are looked at, so look while the state is held still.
    """
    rows = state.epoch_rows
    if not rows:
        return [line(Span("no finished epoch yet", "dim"))]
    best = state.best
    best_epoch = best.epoch if best else None
    names, hidden = _epoch_columns(rows[-COLUMN_ROWS:], width, best.metric if best else None)
    titles = [fit(" EPOCH", 7), fit("TIME", 7, right=True)]
    titles += [fit(shorten(from_file(n), s, keep_end=True), s, right=True) for n, s in names]
    more = f"  +{hidden} more" if hidden else ""
    head = line(Span(" ".join(titles), "head"), Span(more, "dim"))
    newest = len(rows)

    def table_line(at: int) -> Line:
        return _epoch_row(rows[newest - at], names, best_epoch) if at else head

    return LazyLines(newest + 1, table_line)


def _epoch_columns(
    rows: Sequence[Mapping[str, Any]], width: int, best_metric: str | None
) -> tuple[list[tuple[str, int]], int]:
    """Return the metrics that fit, each with its width, and how many do not."""
    names = rank_metrics(name for row in rows for name in metric_values(row))
    names = [name for name in names if not is_bookkeeping(name)]
    if best_metric in names:  # what the star is about must be on screen
        names.remove(best_metric)
        names.insert(min(1, len(names)), best_metric)
    chosen: list[tuple[str, int]] = []
    room = width - 15
    for index, name in enumerate(names):
        size = max(9, min(14, len(from_file(name))))
        reserve = 9 if index + 1 < len(names) else 0
        if room - size - 1 < reserve and room - size - 1 < 0:
            break
        chosen.append((name, size))
        room -= size + 1
    return chosen, len(names) - len(chosen)


def _epoch_row(
    row: Mapping[str, Any], names: Sequence[tuple[str, int]], best_epoch: int | None
) -> Line:
    epoch = integer(row, "epoch")
    is_best = epoch is not None and epoch == best_epoch
    star = "★" if is_best else " "
    role = "best" if is_best else ""
    values = metric_values(row)
    seconds = values.get("duration_s")
    cells = [
        f"{star}{NOTHING if epoch is None else epoch:>6}",
        fit(duration(seconds), 7, right=True),
    ]
    cells += [fit(metric(values.get(name)), size, right=True) for name, size in names]
    return line(Span(" ".join(cells), role))


def events(state: RunState, width: int) -> Sequence[Line]:
    """Return the newest events first, each as time, kind and its fields; routine is counted."""
    everything = state.events
    told = [event for event in everything if event.get("event") not in _ROUTINE]
    routine = len(everything) - len(told)
    if not everything:
        return [line(Span("no events", "dim"))]
    told.reverse()
    ends = [f"{routine:,} starts and ends of epochs and splits"] if routine else []
    ends += [f"{state.events_let_go:,} earlier events"] if state.events_let_go else []
    rest = line(Span(f"and {', and '.join(ends)}", "dim"))

    def event_line(at: int) -> Line:
        return _event(told[at], width) if at < len(told) else rest

    return LazyLines(len(told) + bool(ends), event_line)


_EVENT_ROLES = {
    "end": "title",
    "exit": "title",
    "warning": "warn",
    "open": "title",
    "checkpoint": "good",
}
_ROUTINE = {"epoch_start", "epoch_end", "split_start", "split_end"}
"""What they tell is in the other panes, and they would push the rest out of sight."""
_NOT_TOLD = {
    "event",
    "message",
    "time",
    "seq",
    "boot_id",
    "start_time",
    "inode",
    "cuts",
    "files",
    "format",
}


def _event(event: Mapping[str, Any], width: int) -> Line:
    kind = str(event.get("event", "?"))
    message = event.get("message")
    fields = [
        _field(key, value)
        for key, value in event.items()
        if key not in _NOT_TOLD and isinstance(value, (str, int, float)) and value != ""
    ]
    told = from_file(" ".join(([message] if isinstance(message, str) else []) + fields))
    return line(
        Span(clock(event.get("time")), "dim"),
        "  ",
        Span(fit(from_file(kind), 12), _EVENT_ROLES.get(kind, "")),
        " ",
        Span(shorten(told, max(8, width - 23)), "warn" if kind == "warning" else ""),
    )


def _field(key: str, value: float | str) -> str:
    if key.endswith("_s") and not isinstance(value, str):
        return f"{key[:-2]}={duration(value)}"
    return f"{key}={short(value)}"
