"""How the machines of a run do: the newest figures, the ranks side by side, small charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runstore.numbers import NOTHING
from runstore.state.system_history import SystemHistory

from .gpu_load import gpu_lines
from .rank_table import rank_table
from .system_charts import View, charts
from .text import EMPTY, Line, Span, join, line

RANKS_FIRST = 8
"""Up to so many ranks stand above the charts; more of them below."""


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
