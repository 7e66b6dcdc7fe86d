"""How the machines of a run do: the newest figures, the ranks side by side, small charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from runstore.numbers import NOTHING, duration, metric, rate
from runstore.series import Series, merge_columns
from runstore.state import RunState
from runstore.stragglers import BUSY_POINTS, silent_ranks, slow_ranks
from runstore.system_history import STEPS_PER_S, SystemHistory, gpus

from .bars import ENDED, bar
from .chart import Curve, chart, plot_width
from .curves import CURVE_ROLES
from .text import EMPTY, Line, Span, fit, fit_line, from_file, join, line, line_width

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
RANKS_FIRST = 8
"""Up to so many ranks stand above the charts; more of them below."""
STRAGGLER = "▼"
CURVE_MARK = "━"


@dataclass(frozen=True, slots=True)
class View:
    """What the user has chosen to see, and in which width."""

    width: int = 80
    window: int = 1
    """Of `WINDOWS`."""
    rank: int | None = None
    """Whose charts; None: those of all ranks together."""


class Drawn(NamedTuple):
    """The pane's lines, and what they are of."""

    lines: tuple[Line, ...] = ()
    ranks: tuple[int, ...] = ()
    time: float | None = None
    """When the newest sample was."""


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


def draw(history: SystemHistory, view: View, *, is_whole: bool = True) -> Drawn:
    """Return all lines of the pane; none when there is no sample.

    Args:
        history: what was read.
        view: what is to be seen of it.
        is_whole: all samples were read; before that nobody knows which ranks are behind.
    """
    ranks = history.ranks
    span = history.span()
    if not ranks or span is None:
        return Drawn()
    only = ranks[0] if len(ranks) == 1 else view.rank if view.rank in ranks else None
    table = rank_table(history, view.width, is_whole) if len(ranks) > 1 else []
    lines = [] if only is None else facts(history.newest(only).last, view.width)
    tiles = charts(history, view, only, span)
    first = table if len(ranks) <= RANKS_FIRST else table[:1]
    parts = [first, lines, tiles, table if first is not table else []]
    whole: list[Line] = []
    for part in parts:
        whole += [EMPTY, *part] if whole and part else part
    return Drawn(tuple(whole), tuple(ranks), history.last_time)


# ---- the newest figures ------------------------------------------------------------------------


def facts(last: Mapping[str, float], width: int) -> list[Line]:
    """Return the newest figures of one machine, and one line for each GPU."""
    cells = [
        _fact("cpu", _value(last, "cpu/percent", "{:.0f} %")),
        _fact("load", _value(last, "cpu/load_1min", "{:.1f}")),
        _fact("memory", _of(last, "memory/used_gib", "memory/total_gib")),
        _fact("process", _value(last, "process/cpu_percent", "{:.0f} % of a core")),
        _fact("process memory", _value(last, "process/rss_gib", "{:.1f} GiB")),
        _fact("processes", _value(last, "process/count", "{:.0f}")),
        _fact("disk free", _value(last, "disk/free_gib", "{:.0f} GiB")),
        _fact("disk", _two(last, "disk/read_mib_per_s", "disk/written_mib_per_s", "r/w")),
        _fact("net", _two(last, "network/received_mib_per_s", "network/sent_mib_per_s", "in/out")),
    ]
    lines = _flowing([cell for cell in cells if cell], width)
    return [*lines, *(_gpu_line(last, gpu, width) for gpu in gpus(last))]


def _flowing(cells: Sequence[Line], width: int) -> list[Line]:
    """Return cells in as few lines as hold them."""
    rows: list[list[Line]] = [[]]
    used = 0
    for cell in cells:
        size = sum(len(span.text) for span in cell) + 3
        if rows[-1] and used + size > width + 3:
            rows.append([])
            used = 0
        rows[-1].append(cell)
        used += size
    return [join(row, "   ") for row in rows if row]


def _fact(label: str, value: str) -> Line:
    return line(Span(f"{label} ", "dim"), Span(value, "value")) if value else EMPTY


def _value(last: Mapping[str, float], key: str, form: str) -> str:
    value = last.get(key)
    return "" if value is None else form.format(value)


def _of(last: Mapping[str, float], used: str, total: str) -> str:
    """Return `18.2/80.0 GiB`."""
    if used not in last:
        return ""
    whole = f"/{last[total]:.1f}" if total in last else ""
    return f"{last[used]:.1f}{whole} GiB"


def _two(last: Mapping[str, float], first: str, second: str, what: str) -> str:
    if first not in last and second not in last:
        return ""
    told = "/".join(_value(last, key, "{:.1f}") or NOTHING for key in (first, second))
    return f"{told} MiB/s {what}"


def _gpu_line(last: Mapping[str, float], gpu: int, width: int) -> Line:
    """Return what one GPU does: load and memory as bars where there is room."""
    figures = {key.partition("/")[2]: v for key, v in last.items() if key.startswith(f"gpu{gpu}/")}
    busy, used = figures.get("busy_percent"), figures.get("memory_used_gib")
    total = figures.get("memory_total_gib")
    size = max(4, min(20, (width - 60) // 2))
    with_bars = width >= 70
    load = fit("" if busy is None else f"{busy:.0f} %", 5, right=True)
    memory = _of(figures, "memory_used_gib", "memory_total_gib")
    full = None if used is None or not total else used / total
    slowed = [what for what in ("power", "heat", "hardware") if figures.get(f"slowed_by_{what}")]
    return line(
        Span(f"gpu{gpu:<3}", "dim"),
        *(bar(None if busy is None else busy / 100, size, ENDED) if with_bars else ()),
        f"{load}  ",
        *(bar(full, size, ENDED) if with_bars else ()),  # thin: those of other GPUs are near
        f" {fit(memory, 15)}",
        _value(figures, "power_w", " {:4.0f} W"),
        _value(figures, "temperature_c", " {:3.0f} °C"),
        _value(figures, "sm_clock_mhz", " {:5.0f} MHz"),
        Span(f"  slowed by {', '.join(slowed)}" if slowed else "", "warn"),
    )


# ---- ranks -------------------------------------------------------------------------------------


def rank_table(history: SystemHistory, width: int, is_whole: bool = True) -> list[Line]:
    """Return a line on how many ranks hold the others up, a head, and a line for each rank."""
    ranks = history.ranks
    newest = {rank: history.newest(rank) for rank in ranks}
    pace = {rank: samples.steps_per_s() for rank, samples in newest.items()}
    busy = {rank: samples.busy_percent() for rank, samples in newest.items()}
    interval_s = max(samples.interval_s() for samples in newest.values())
    times = {rank: s.time for rank, s in newest.items() if s.time is not None}
    marks = _marks(slow_ranks(pace), slow_ranks(busy, least=BUSY_POINTS))
    for rank, silent_s in silent_ranks(times, interval_s).items():
        marks[rank] = f"silent for {duration(silent_s)}"
    if not is_whole:
        marks = {}
    head = fit("RANK", 5) + "".join(
        fit(title, size, right=True)
        for title, size in (("STEPS/S", 9), ("GPU %", 7), ("GPU MEMORY", 16), ("CPU %", 7))
    )
    rows = [
        _rank_line(rank, pace[rank], busy[rank], newest[rank].last, marks.get(rank, ""))
        for rank in ranks
    ]
    told = _told(ranks, marks, width) if is_whole else line(Span("reading …", "dim"))
    return [told, line(Span(head, "head")), *rows]


def _marks(slow: Mapping[int, float], idle: Mapping[int, float]) -> dict[int, str]:
    """Return in words which ranks are slow, and by which figure."""
    marks = {rank: f"gpu {share:.0%} of the median" for rank, share in idle.items()}
    for rank, share in slow.items():
        marks[rank] = f"steps/s {share:.0%} of the median"
    return marks


def _told(ranks: Sequence[int], marks: Mapping[int, str], width: int) -> Line:
    if not marks:
        return line(Span(f"{len(ranks)} ranks, none behind the others", "dim"))
    names = ", ".join(map(str, sorted(marks)))
    told = f"{STRAGGLER} {len(marks)} of {len(ranks)} ranks behind: {names}"
    return fit_line((Span(told, "warn"),), width)


def _rank_line(
    rank: int, pace: float | None, busy: float | None, last: Mapping[str, float], mark: str
) -> Line:
    used = _sum(last, "memory_used_gib")
    total = _sum(last, "memory_total_gib")
    memory = "" if used is None else f"{used:.1f}" + ("" if total is None else f"/{total:.1f}")
    cells = (
        (rate(pace) if pace else "0" if pace == 0 else NOTHING, 9),
        (NOTHING if busy is None else f"{busy:.0f}", 7),
        (f"{memory} GiB" if memory else NOTHING, 16),
        (_value(last, "cpu/percent", "{:.0f}") or NOTHING, 7),
    )
    text = fit(str(rank), 5) + "".join(fit(cell, size, right=True) for cell, size in cells)
    return line(
        Span(text, "warn" if mark else ""), Span(f"  {STRAGGLER} {mark}" if mark else "", "warn")
    )


def _sum(last: Mapping[str, float], figure: str) -> float | None:
    found = [last[f"gpu{gpu}/{figure}"] for gpu in gpus(last, figure)]
    return sum(found) if found else None


# ---- charts ------------------------------------------------------------------------------------


class _Wanted(NamedTuple):
    """One curve of a chart."""

    label: str
    rank: int
    key: str


class _Chart(NamedTuple):
    name: str
    curves: list[_Wanted]


def charts(
    history: SystemHistory, view: View, only: int | None, span: tuple[float, float]
) -> list[Line]:
    """Return the charts of one rank, or of all ranks together, as many side by side as fit."""
    width, columns = _grid(view.width)
    tiles = _tiles(history, only)[:MOST_TILES]
    drawn = [_chart(history, view, tile, width, span) for tile in tiles]
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
        drawn.append(chart([curve], start, end, width, TILE_HEIGHT - 1))
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
    known = {key for file, s in history.files.items() if file.rank == only for key in s.curves}
    tiles = [
        _Chart(
            tile.name,
            [_Wanted(label, only, key) for label, key in _keys(tile, known) if key in known],
        )
        for tile in TILES
    ]
    others = sorted(key for key in known - _TOLD if not gpus([key]))
    tiles += [_Chart(from_file(key), [_Wanted("", only, key)]) for key in others]
    return [tile for tile in tiles if tile.curves]


def _keys(tile: Tile, known: Iterable[str]) -> Sequence[tuple[str, str]]:
    if not tile.per_gpu:
        return tile.keys
    numbers = gpus(known, tile.per_gpu)[: len(CURVE_ROLES)]
    return [(f"gpu{number}", f"gpu{number}/{tile.per_gpu}") for number in numbers]


def _tiles_of_ranks(history: SystemHistory) -> list[_Chart]:
    """Return one chart for each of the figures by which ranks are compared, a curve for each."""
    pace = {rank: history.newest(rank).steps_per_s() for rank in history.ranks}
    busy = {rank: history.newest(rank).busy_percent() for rank in history.ranks}
    behind = [*slow_ranks(pace), *slow_ranks(busy, least=BUSY_POINTS)]
    ranks = list(dict.fromkeys([*behind, *history.ranks]))[: len(CURVE_ROLES)]
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
            known = {k for f, s in history.files.items() if f.rank == rank for k in s.curves}
            key = figure
            if figure in ("busy_percent", "memory_used_gib"):
                numbers = gpus(known, figure)
                key = f"gpu{numbers[0]}/{figure}" if numbers else ""
            if key in known:
                curves.append(_Wanted(f"r{rank}", rank, key))
        if curves:
            tiles.append(_Chart(name, curves))
    return tiles


def _chart(
    history: SystemHistory,
    view: View,
    tile: _Chart,
    width: int,
    span: tuple[float, float],
) -> list[Line]:
    _, last_s = WINDOWS[view.window]
    end = history.last_time or span[1]
    start = span[0] if last_s is None else max(span[0], end - last_s)
    if last_s is None:
        end = max(end, span[1])
    curves = [
        replace(
            _curve(
                history.curve(wanted.rank, wanted.key, last_s),
                wanted.label,
                role,
                width,
                start,
                end,
            ),
            last=history.newest_value(wanted.rank, wanted.key),
        )
        for wanted, role in zip(tile.curves, CURVE_ROLES, strict=False)
    ]
    unit_s, unit = _unit(end - start)
    lines = chart(curves, (start - end) / unit_s, 0.0, width, TILE_HEIGHT - 1, unit)
    plot = lines[1:] if len(lines) > 1 else lines  # the first line is the chart's own legend
    return [_legend(tile.name, curves, width), *plot]


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
