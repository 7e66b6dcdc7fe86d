"""What is known of one run now: status, bars, parameters, trouble, its last step; its events."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runstore.files.limits import WARNINGS_KEPT
from runstore.files.records import JsonObject, integer, metric_values
from runstore.metrics.ranking import is_bookkeeping, split_metric
from runstore.nested import flattened
from runstore.numbers import age, clock, count, duration, exact, metric, percent, rate
from runstore.sources import NATIVE
from runstore.state.job_facts import job_facts
from runstore.state.progress import Progress
from runstore.state.run_state import RunState

from .bars import ENDED, bar
from .facts import (
    GLYPHS,
    STATUS_ROLES,
    epoch_fraction,
    live_progress,
    ranked,
    run_fraction,
    short,
)
from .text import LazyLines, Line, Span, fit, from_file, hanging, join, line, pack, shorten

LABEL_WIDTH = 9
MOST_PAIR_LINES = 3
STEP_METRICS = 200
"""Of the last step; more than that nobody reads as a list."""


def progress(state: RunState, width: int, now: float, told: Sequence[Line] = ()) -> list[Line]:
    """Return status and reason, the bars, the best epoch, parameters and warnings.

    Args:
        state: The run.
        width: Cells.
        now: Unix seconds, for "3s ago".
        told: what stands out, for behind the status.
    """
    lines = [*status(state, width), *told, *bars(state, width), *parameters(state, width)]
    for text in trouble(state):
        lines += hanging(line(Span("! ", "warn")), text, width, "warn")
    return [*lines, *last_step(state, width, now)]


def parameters(state: RunState, width: int) -> list[Line]:
    """Return parameters and tags."""
    lines = _pairs("params", flattened(state.params), width)
    if state.tags:
        tags = shorten(from_file(" ".join(state.tags)), width - LABEL_WIDTH)
        lines.append(_labelled("tags", line(tags)))
    return lines


def status(state: RunState, width: int) -> list[Line]:
    """Return the status with its reason, the id, and how long it took."""
    word = state.status.word
    role = STATUS_ROLES.get(word, "dim") + "-strong"
    head = f"{GLYPHS.get(word, '?')} {word}"
    reason = from_file(state.status.reason)
    facts = [f"attempt {state.attempt}"] if state.attempt > 1 else []
    if state.duration_s is not None:
        facts.append(
            f"{duration(state.duration_s)} so far"
            if state.status.alive
            else f"took {duration(state.duration_s)}"
        )
    job = job_facts(state) if state.status.is_proven_alive else None
    if job is not None:
        # Of one that waits, the reason behind the status tells the same.
        facts.append(from_file(job.in_words()))
    if state.source != NATIVE.name:
        facts.append(f"source: {from_file(state.source)}")
    lines = hanging(line(Span(head, role), "  "), reason, width, "dim")
    if state.id != state.name or not reason:
        lines.append(_labelled("id", line(shorten(from_file(state.id), width - LABEL_WIDTH))))
    return [*lines, _labelled("time", line(" · ".join(facts)))] if facts else lines


def bars(state: RunState, width: int, history: RunState | None = None) -> list[Line]:
    """Return the bars of the open split, the epoch and the run, and the best epoch.

    Args:
        state: the run, with its position.
        width: cells.
        history: the same with its epochs and events, from which the epoch's bar is made.
    """
    position = live_progress(state)
    size = max(6, min(30, width - 46))
    lines: list[Line] = []
    if position is not None and position.batch is not None:
        lines.append(_split_bar(position, size))
    whole_epoch = epoch_done(history, position) if history is not None and position else None
    if whole_epoch is not None:
        tail = f" {percent(whole_epoch):>4}  with all its splits"
        lines.append(_labelled("epoch", line(*bar(whole_epoch, size), tail)))
    whole = run_fraction(state)
    if whole is not None and state.epochs:
        tail = f" {percent(whole):>4}  epoch {state.epoch or 0}/{state.epochs}"
        left = f"  {duration(position.eta_s)} left" if position and position.eta_s else ""
        role = "bar" if position else ENDED
        lines.append(_labelled("run", line(*bar(whole, size, role), tail + left)))
    return lines + _best(state)


def _split_bar(position: Progress, size: int) -> Line:
    """Return the bar of the open split; of a loader without a length how many batches there were.

    Args:
        position: where the run stands.
        size: cells of the bar.
    """
    label = from_file(position.split or "epoch")
    speed = f"  {rate(position.it_per_s)} it/s" if position.it_per_s else ""
    done = epoch_fraction(position)
    if done is None:
        batches = f"{count(position.batch)} batch{'es' * (position.batch != 1)} so far"
        return _labelled(
            label, line(f"{batches}{speed}", Span("  the loader has no length", "dim"))
        )
    tail = f" {percent(done):>4}  {count(position.batch)}/{count(position.batches)}"
    return _labelled(label, line(*bar(done, size), tail + speed))


def epoch_done(history: RunState, position: Progress) -> float | None:
    """Return how much of the open epoch is done, 0 to 1, weighing splits by the epoch before.

    None where no epoch has ended yet, or it had one split only: the split's bar says it all. Also
    where nobody knows how much of the open split is done.
    """
    if position.split is not None and epoch_fraction(position) is None:
        return None
    rows, newest = history.epoch_rows, history.newest
    taken = _split_times(metric_values(rows[-1])) if rows else {}
    if len(taken) < 2 or newest is None or position.split is None:
        return None
    began, ended = _events_of_epoch(newest.events)
    # The heartbeat may be a second behind the events, or they behind it while both are read.
    if began is not None and position.epoch is not None and began != position.epoch:
        if began > position.epoch:
            return 0.0
        ended = frozenset()
    shares = dict.fromkeys(ended, 1.0)
    shares.setdefault(position.split, epoch_fraction(position) or 0.0)
    done_s = sum(taken_s * shares.get(split, 0.0) for split, taken_s in taken.items())
    total_s = sum(taken.values())
    return done_s / total_s if total_s > 0 else None


def _events_of_epoch(events: Sequence[JsonObject]) -> tuple[int | None, frozenset[object]]:
    """Return the number of the epoch that began last, and the splits that ended since."""
    ended: set[object] = set()
    for event in reversed(events):
        if event.get("event") == "epoch_start":
            return integer(event, "epoch"), frozenset(ended)
        if event.get("event") == "split_end":
            ended.add(event.get("split"))
    return None, frozenset(ended)


def _split_times(values: Mapping[str, float]) -> dict[str, float]:
    ends = "/duration_s"
    return {
        name.removesuffix(ends): value
        for name, value in values.items()
        if name.endswith(ends) and math.isfinite(value) and value >= 0
    }


def _best(state: RunState) -> list[Line]:
    best = state.best
    if best is None:
        return []
    value = Span(f"{from_file(best.metric)} {metric(best.value)}", "best")
    return [_labelled("best", line(value, f" in epoch {best.epoch}"))]


def _labelled(label: str, content: Line) -> Line:
    return (Span(fit(label, LABEL_WIDTH), "dim"), *content)


def _pairs(label: str, values: Iterable[tuple[str, Any]], width: int) -> list[Line]:
    """Return `name=value` pairs in as many lines as they need, up to `MOST_PAIR_LINES`."""
    lines: list[list[Line]] = [[]]
    used = LABEL_WIDTH
    for key, value in values:
        pair = line(Span(from_file(key) + "=", "dim"), shorten(from_file(short(value)), 40))
        size = sum(len(span.text) for span in pair) + 2
        if used + size > width and lines[-1]:
            if len(lines) > MOST_PAIR_LINES:  # the others of many are not even made
                break
            lines.append([])
            used = LABEL_WIDTH
        lines[-1].append(pair)
        used += size
    shown = [_labelled(label if i == 0 else "", join(row)) for i, row in enumerate(lines) if row]
    if len(shown) <= MOST_PAIR_LINES:
        return shown
    return [*shown[: MOST_PAIR_LINES - 1], _labelled("", line(Span("…", "dim")))]


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
    return lines + _newest_warnings(state.warnings)


def _newest_warnings(warnings: Sequence[str]) -> list[str]:
    """Return the newest three that differ, each with how often it came, and how many are left.

    Of very many only the newest are kept: then the numbers are the least there were.
    """
    often = Counter(warnings)
    more = "+" * (len(warnings) >= WARNINGS_KEPT)
    newest = list(dict.fromkeys(reversed(warnings)))[:3]
    times = {one: f" (×{often[one]:,}{more})" if often[one] > 1 else "" for one in newest}
    lines = [f"{from_file(one)}{times[one]}" for one in reversed(newest)]
    left = len(warnings) - sum(often[one] for one in newest)
    if left:
        lines.append(f"{left:,}{more} more warning{'s' * (left > 1)}: see the view Run")
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
    order = sorted(ranked(tuple(last)), key=lambda n: (is_bookkeeping(n), n not in in_row))
    names, more = order[:STEP_METRICS], len(order) - STEP_METRICS
    label = min(max(len(from_file(name)) for name in names), max(12, width - 14))
    cells = [_metric_cell(name, last[name], label) for name in names]
    rest = [line(Span(f"and {more:,} more metrics: see Charts", "dim"))] if more > 0 else []
    return [line(), title, *pack(cells, width, gap=2), *rest]


def _metric_cell(name: str, value: float, label: int) -> Line:
    text = duration(value) if split_metric(name)[1] == "duration_s" else exact(value)
    role = "bad" if text in ("nan", "inf", "-inf") else "value"
    shown = shorten(from_file(name), label, keep_end=True)
    return (Span(fit(shown, label), "dim"), Span(" "), Span(f"{text:>9}", role))


def events(state: RunState, width: int) -> Sequence[Line]:
    """Return the newest events first, each as time, kind and its fields; routine is counted."""
    everything = state.events
    told = [event for event in everything if _kind(event) not in _ROUTINE]
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


def _kind(event: Mapping[str, Any]) -> str:
    """Return what happened, in a word; a file may have anything in its place."""
    return str(event.get("event", "?"))


def _event(event: Mapping[str, Any], width: int) -> Line:
    kind = _kind(event)
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
