"""What stands above a chart and below it: who is drawn, in which pattern, and the values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runstore.numbers import NOTHING, count, metric

from .axes import Window
from .chart import SAMPLES
from .drawn_runs import CURVE_ROLES
from .overlay import Picture, Reading, Subject, split_of
from .text import Line, Span, from_file, join, line, line_width


def headline(picture: Picture, width: int, *, is_focused: bool, names_runs: bool = False) -> Line:
    """Return a chart's name, and the values of its curves as far as they fit.

    Args:
        picture: What is drawn.
        width: Cells.
        is_focused: The keys are for this chart.
        names_runs: The runs have lines of their own, with their values.
    """
    name = Span(from_file(picture.group), "title" if is_focused else "name")
    mark = Span("▸ " if is_focused else "  ", "key")
    scale = Span(" log", "dim") if picture.look.log_y else Span("")
    items = [line(mark, name, scale)]
    if picture.is_alone:
        only = picture.subjects[0].readings
        if len(only) == 1 and only[0].metric == picture.group:
            items.append(line(Span(value(only[0]), "value")))
        else:
            items += map(one_metric, only)
        items.append(notes(picture.subjects[0]))
    else:
        chosen_first = sorted(picture.subjects, key=lambda one: not one.who.is_chosen)
        having = [] if names_runs else [one for one in chosen_first if one.readings]
        items += [_values(one) for one in having]
        items += _samples(picture)
    return _as_fits([item for item in items if item], width)


def _as_fits(items: Sequence[Line], width: int) -> Line:
    """Return the items that fit into a line, whole."""
    end = len(items)
    while end > 1 and line_width(join(items[:end])) > width:
        end -= 1
    return join(items[:end])


def one_metric(reading: Reading) -> Line:
    """Return the sample, the name and the value of a metric of the only run."""
    role = CURVE_ROLES[reading.pattern % len(CURVE_ROLES)]
    sample = SAMPLES[reading.pattern % len(SAMPLES)]
    name = from_file(split_of(reading.metric))
    return line(Span(sample, role), f" {name} ", Span(value(reading), "value"))


def notes(subject: Subject) -> Line:
    """Return what of a run is not drawn."""
    return line(Span(", ".join(dict.fromkeys(subject.notes)), "warn")) if subject.notes else ()


def runs_legend(subjects: Sequence[Subject], width: int, lines: int, *, values: bool) -> list[Line]:
    """Return the runs with their letters and colours, and when asked for with their values.

    Args:
        subjects: The runs or groups.
        width: Cells.
        lines: At most so many; the last one says how many runs are not named.
        values: Whether each run's values are told.
    """
    items = []
    for subject in subjects:
        mark = "▸" if subject.who.is_chosen else ""
        name = Span(subject.name, "title" if subject.who.is_chosen else "name")
        parts: list[Line] = [line(Span(f"{mark}{subject.sign}", subject.who.role), " ", name)]
        if values:
            parts += [_value_list(subject), notes(subject)]
        items.append(join(parts, " "))
    return wrapped(items, width, lines)


def cursor_lines(picture: Picture, place: float, width: int, lines: int) -> list[Line]:
    """Return where the cursor is, and every curve's value there.

    Args:
        picture: What is drawn, with the values at the cursor.
        place: Of the cursor.
        width: Cells.
        lines: At most so many.
    """
    where = line(Span(place_text(picture.window, place), "key"))
    if picture.is_alone:
        items = [one_metric(reading) for reading in picture.subjects[0].readings]
    else:
        items = [_values(subject) for subject in picture.subjects]
    return wrapped([where, *items], width, lines)


def place_text(window: Window, place: float) -> str:
    """Return a place on the horizontal axis in full."""
    if window.axis == "step":
        return f"step {count(round(place))}"
    return f"{window.axis} {place:.4g}" if window.axis == "epoch" else f"time {window.label(place)}"


def value(reading: Reading) -> str:
    """Return a value; where a point stands for many, their range; of a mean, its deviation."""
    low, high = reading.low, reading.high
    if low is None or high is None:
        return NOTHING
    if reading.std is not None:
        return f"{metric(low)} ±{metric(reading.std)}"
    if low == high or math.isnan(low):
        return metric(low)
    return f"{metric(low)}…{metric(high)}"


def _values(subject: Subject) -> Line:
    head = line(Span(subject.sign, subject.who.role), " ")
    has_any = any(reading.low is not None for reading in subject.readings)
    return (*head, *_value_list(subject)) if has_any else (*head, Span(NOTHING, "dim"))


def _value_list(subject: Subject) -> Line:
    values = [
        (
            *(() if not reading.pattern else (Span(SAMPLES[reading.pattern % 4], "dim"),)),
            Span(value(reading), "value"),
        )
        for reading in subject.readings
    ]
    return join(values, " ")


def _samples(picture: Picture) -> list[Line]:
    """Return which pattern stands for which metric, where there are several."""
    if len(picture.metrics) < 2:
        return []
    return [
        line(Span(f"{SAMPLES[pattern % len(SAMPLES)]} {from_file(split_of(name))}", "dim"))
        for pattern, name in enumerate(picture.metrics)
    ]


def wrapped(items: Sequence[Line], width: int, lines: int) -> list[Line]:
    """Return items side by side, in as many lines as they take but no more than `lines`."""
    rows: list[list[Line]] = [[]]
    room = width
    for number, item in enumerate(items):
        size = line_width(item) + 3
        if rows[-1] and size > room + 3:
            if len(rows) == lines:
                rows[-1].append(line(Span(f"+{len(items) - number} more", "dim")))
                break
            rows.append([])
            room = width
        rows[-1].append(item)
        room -= size
    return [join(row, "   ") for row in rows if row]
