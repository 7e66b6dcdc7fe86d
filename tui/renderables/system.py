"""How the machines of a run do: the newest figures, the ranks side by side, small charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runstore.numbers import NOTHING, duration, rate
from runstore.state.stragglers import BUSY_POINTS, silent_ranks, slow_ranks
from runstore.state.system_history import SystemHistory, gpus

from .gpu_load import LEAST_ROOM, gpu_lines, rank_strips
from .system_charts import View, charts
from .text import EMPTY, Line, Span, fit, fit_line, join, line

RANKS_FIRST = 8
"""Up to so many ranks stand above the charts; more of them below."""
STRAGGLER = "▼"


class Drawn(NamedTuple):
    """The pane's lines, and what they are of."""

    lines: tuple[Line, ...] = ()
    ranks: tuple[int, ...] = ()
    time: float | None = None
    """When the newest sample was."""


def draw(history: SystemHistory, view: View, *, is_whole: bool = True) -> Drawn:
    """Return all lines of the pane; none when there is no sample.

    Args:
        history: what was read.
        view: what is to be seen of it.
        is_whole: all samples were read; before that nobody knows which ranks are behind.
    """
    ranks = history.ranks
    if not ranks or history.span() is None:
        return Drawn()
    only = ranks[0] if len(ranks) == 1 else view.rank if view.rank in ranks else None
    table = rank_table(history, view, is_whole) if len(ranks) > 1 else []
    lines = [] if only is None else _machine(history, view, only)
    tiles = charts(history, view, only)
    first = table if len(ranks) <= RANKS_FIRST else table[:1]
    parts = [first, lines, tiles, table if first is not table else []]
    whole: list[Line] = []
    for part in parts:
        whole += [EMPTY, *part] if whole and part else part
    return Drawn(tuple(whole), tuple(ranks), history.last_time)


# ---- the newest figures ------------------------------------------------------------------------


def _machine(history: SystemHistory, view: View, rank: int) -> list[Line]:
    """Return the newest figures of the machine of a rank, and a line for each of its GPUs."""
    return [*_facts(history.newest(rank).last, view.width), *gpu_lines(history, view, rank)]


def _facts(last: Mapping[str, float], width: int) -> list[Line]:
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
    return _flowing([cell for cell in cells if cell], width)


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


# ---- ranks -------------------------------------------------------------------------------------


def rank_table(history: SystemHistory, view: View, is_whole: bool = True) -> list[Line]:
    """Return a line on how many ranks are behind, a head, and a line for each, those first."""
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
    room = view.width - len(head) - 2 - max((len(mark) + 4 for mark in marks.values()), default=0)
    strips = rank_strips(history, view, room) if room >= LEAST_ROOM else {}
    rows = [
        _rank_line(rank, pace[rank], busy[rank], newest[rank].last, strips, marks.get(rank, ""))
        for rank in sorted(ranks, key=lambda rank: (rank not in marks, rank))
    ]
    told = _told(ranks, marks, view.width) if is_whole else line(Span("reading …", "dim"))
    over = "  GPU % OVER TIME" if strips else ""
    return [told, fit_line((Span(head + over, "head"),), view.width), *rows]


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
    rank: int,
    pace: float | None,
    busy: float | None,
    last: Mapping[str, float],
    strips: Mapping[int, str],
    mark: str,
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
    strip = f"  {strips[rank]}" if rank in strips else ""
    return line(
        Span(text, "warn" if mark else ""),
        Span(strip, "bar"),
        Span(f"  {STRAGGLER} {mark}" if mark else "", "warn"),
    )


def _sum(last: Mapping[str, float], figure: str) -> float | None:
    found = [last[f"gpu{gpu}/{figure}"] for gpu in gpus(last, figure)]
    return sum(found) if found else None
