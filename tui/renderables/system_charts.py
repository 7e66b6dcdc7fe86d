"""The small charts of the view System: one figure each, of one machine or of all ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from runstore.numbers import metric
from runstore.state.run_state import RunState
from runstore.state.series import Series, merge_columns
from runstore.state.stragglers import ranks_behind
from runstore.state.system_history import STEPS_PER_S, SystemHistory, gpus

from .axes import Window
from .chart import Curve, chart, plot_width
from .drawn_runs import CURVE_ROLES
from .text import EMPTY, Line, Span, fit_line, from_file, join, line, line_width

WINDOWS: tuple[tuple[str, float | None], ...] = (
    ("last 10 min", 600.0),
    ("last hour", 3600.0),
    ("all", None),
)
TILE_WIDTH = 36
"""A chart is at least so wide; the further ones of a row share what is left."""
TILE_HEIGHT = 7
GAP = 2
MOST_TILES = 40
CURVE_MARK = "━"


@dataclass(frozen=True, slots=True)
class View:
    """What the user has chosen to see, and in which width."""

    width: int = 80
    window: int = 1
    """Of `WINDOWS`."""
    rank: int | None = None
    """Whose charts; None: those of all ranks together."""
    hosts: tuple[tuple[int, str], ...] = ()
    """The host of each rank, where there are several."""


class DrawnTime(NamedTuple):
    """What part of the time is drawn."""

    start: float
    end: float
    last_s: float | None
    """How much of the end was asked for; None: all."""


class Tile(NamedTuple):
    """A chart: what it is called, and which figures it has."""

    name: str
    keys: tuple[tuple[str, str], ...]
    """Short label and key of each curve."""
    per_gpu: str = ""
    """Instead of keys: the figure of each GPU."""


TILES = (
    Tile("gpu %", (), "busy_percent"),
    Tile("gpu GiB", (), "memory_used_gib"),
    Tile("steps/s", (("", STEPS_PER_S),)),
    Tile("cpu %", (("", "cpu/percent"),)),
    Tile("process cpu %", (("", "process/cpu_percent"),)),
    Tile("memory GiB", (("used", "memory/used_gib"), ("process", "process/rss_gib"))),
    Tile("disk MiB/s", (("read", "disk/read_mib_per_s"), ("write", "disk/written_mib_per_s"))),
    Tile(
        "net MiB/s",
        (("in", "network/received_mib_per_s"), ("out", "network/sent_mib_per_s")),
    ),
    Tile("gpu W", (), "power_w"),
    Tile("gpu °C", (), "temperature_c"),
)
_TOLD = frozenset(key for tile in TILES for _, key in tile.keys) | {
    *("memory/total_gib", "disk/free_gib", "process/count", "cpu/load_1min"),
}


class _Wanted(NamedTuple):
    """One curve of a chart."""

    label: str
    rank: int
    keys: tuple[str, ...]
    """Several: the figure of each GPU of a rank, …"""
    combine: Callable[[list[float]], float] = fmean
    """… and what is made of them."""


class _Chart(NamedTuple):
    name: str
    curves: list[_Wanted]


def charts(history: SystemHistory, view: View, only: int | None) -> list[Line]:
    """Return the charts of one rank, or of all ranks together, as many side by side as fit."""
    width, columns = _grid(view.width)
    tiles = _tiles(history, only)[:MOST_TILES]
    drawn = [_chart(history, view, tile, width) for tile in tiles]
    return _side_by_side(drawn, width, columns)


def metric_charts(state: RunState, total_width: int) -> list[Line]:
    """Return charts of the metrics of a run that are named `system/…`, over its steps."""
    width, columns = _grid(total_width)
    found = {name: s for name, s in state.series.items() if name.startswith("system/")}
    drawn = []
    for name in sorted(found)[:MOST_TILES]:
        ranges = [r for piece in found[name] if (r := piece.x_range) is not None]
        start, end = (
            min((r[0] for r in ranges), default=0.0),
            max((r[1] for r in ranges), default=1.0),
        )
        label = from_file(name.removeprefix("system/"))
        curve = _curve(found[name], label, CURVE_ROLES[0], width, start, end)
        drawn.append(chart([curve], Window(start, end), width, TILE_HEIGHT - 1))
    return _side_by_side(drawn, width, columns)


def _grid(total_width: int) -> tuple[int, int]:
    """Return how wide a chart is, and how many stand side by side."""
    columns = max(1, min(4, (total_width + GAP) // (TILE_WIDTH + GAP)))
    return (total_width - GAP * (columns - 1)) // columns, columns


def _side_by_side(drawn: Sequence[Sequence[Line]], width: int, columns: int) -> list[Line]:
    lines: list[Line] = []
    for start in range(0, len(drawn), columns):
        row = drawn[start : start + columns]
        for y in range(TILE_HEIGHT):
            parts = [fit_line(tile[y] if y < len(tile) else EMPTY, width) for tile in row]
            lines.append(join(parts, " " * GAP))
    return lines


def _tiles(history: SystemHistory, only: int | None) -> list[_Chart]:
    if only is None:
        return _tiles_of_ranks(history)
    known = history.known(only)
    tiles = [
        _Chart(
            tile.name,
            [_Wanted(label, only, (key,)) for label, key in _keys(tile, known) if key in known],
        )
        for tile in TILES
    ]
    others = sorted(key for key in known - _TOLD if not gpus([key]))
    tiles += [_Chart(from_file(key), [_Wanted("", only, (key,))]) for key in others]
    return [tile for tile in tiles if tile.curves]


def _keys(tile: Tile, known: Iterable[str]) -> Sequence[tuple[str, str]]:
    if not tile.per_gpu:
        return tile.keys
    numbers = gpus(known, tile.per_gpu)[: len(CURVE_ROLES)]
    return [(f"gpu{number}", f"gpu{number}/{tile.per_gpu}") for number in numbers]


def _tiles_of_ranks(history: SystemHistory) -> list[_Chart]:
    """Return one chart for each of the figures by which ranks are compared, a curve for each.

    Of the GPUs of a rank it has what the table says of them: the mean load, all their memory.
    """
    behind = ranks_behind(history)
    first = [*behind.slow, *behind.idle, *behind.silent]
    ranks = list(dict.fromkeys([*first, *history.ranks]))[: len(CURVE_ROLES)]
    figures = (
        ("steps/s", STEPS_PER_S),
        ("gpu %", "busy_percent"),
        ("gpu GiB", "memory_used_gib"),
        ("cpu %", "cpu/percent"),
        ("memory GiB", "memory/used_gib"),
    )
    tiles = []
    for name, figure in figures:
        curves = []
        for rank in sorted(ranks):
            known = history.known(rank)
            keys: tuple[str, ...] = (figure,) if figure in known else ()
            if figure in ("busy_percent", "memory_used_gib"):
                keys = tuple(f"gpu{number}/{figure}" for number in gpus(known, figure))
            if keys:
                combine = sum if figure == "memory_used_gib" else fmean
                curves.append(_Wanted(f"r{rank}", rank, keys, combine))
        if curves:
            tiles.append(_Chart(name, curves))
    return tiles


def drawn_time(history: SystemHistory, view: View) -> DrawnTime:
    """Return the time that is drawn; it looks at the files of all ranks."""
    first, last = history.span() or (0.0, 1.0)
    _, last_s = WINDOWS[view.window]
    end = history.last_time or last
    if last_s is None:
        return DrawnTime(first, max(end, last), None)
    return DrawnTime(max(first, end - last_s), end, last_s)


def _chart(history: SystemHistory, view: View, tile: _Chart, width: int) -> list[Line]:
    start, end, _ = time = drawn_time(history, view)
    curves = [
        _curve_of(history, wanted, role, width, time)
        for wanted, role in zip(tile.curves, CURVE_ROLES, strict=False)
    ]
    unit_s, unit = _unit(end - start)
    window = Window((start - end) / unit_s, 0.0, unit)
    legend = [_legend(tile.name, curves, width)]
    return chart(curves, window, width, TILE_HEIGHT - 1, legend=legend)


def _curve_of(
    history: SystemHistory, wanted: _Wanted, role: str, width: int, time: DrawnTime
) -> Curve:
    start, end, last_s = time
    found = [
        _curve(history.curve(wanted.rank, key, last_s), wanted.label, role, width, start, end)
        for key in wanted.keys
    ]
    newest = (history.newest_value(wanted.rank, key) for key in wanted.keys)
    known = [value for value in newest if value is not None]
    return replace(
        found[0],
        lows=combined([one.lows for one in found], wanted.combine),
        highs=combined([one.highs for one in found], wanted.combine),
        last=wanted.combine(known) if known else None,
    )


def combined(
    rows: Sequence[Sequence[float]], combine: Callable[[list[float]], float]
) -> list[float]:
    """Return what is made of the values of each column; NaN where no row has one."""
    columns = ([v for v in column if not math.isnan(v)] for column in zip(*rows, strict=True))
    return [combine(known) if known else math.nan for known in columns]


def _legend(name: str, curves: Sequence[Curve], width: int) -> Line:
    """Return the name of a chart, and its curves with their newest values, where these fit."""
    head = Span(f"{name}  ", "head")
    told = [
        Span(f"{CURVE_MARK}{curve.label} {metric(curve.last)}".strip() + "  ", curve.role)
        for curve in curves
    ]
    with_values = line(head, *told)
    if line_width(with_values) <= width + 2:
        return with_values
    return line(head, *(Span(f"{CURVE_MARK}{curve.label} ", curve.role) for curve in curves))


def _curve(
    pieces: Sequence[Series], label: str, role: str, width: int, start: float, end: float
) -> Curve:
    columns = merge_columns(pieces, plot_width(width) * 2, start, end)
    last = next((piece.last for piece in reversed(pieces) if piece.last), None)
    return Curve(label, role, columns.lows, columns.highs, last[1] if last else None)


def _unit(span_s: float) -> tuple[float, str]:
    """Return the seconds of the unit of the time axis, and its name."""
    for size, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if span_s >= 3 * size:
            return size, name
    return 1.0, "s"
