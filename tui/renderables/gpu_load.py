"""The GPUs of a machine, a line each: how busy each was over time, and its newest figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from runstore.state.series import merge_columns
from runstore.state.system_history import SystemHistory, gpus

from .bars import ENDED, bar
from .sparkline import sparkline
from .system_charts import DrawnTime, View, combined, drawn_time
from .text import Line, Span, fit, line

MOST_GPUS = 64
"""Lines of GPUs; no machine has more."""
LEAST_ROOM, MOST_STRIP = 10, 120
SAMPLES_APART = 3.0
"""Between samples that are further apart, in intervals, nobody knows the load."""
PERCENT = (0.0, 100.0)
_FIGURES = (
    ("power_w", " {:4.0f} W"),
    ("temperature_c", " {:3.0f} °C"),
    ("sm_clock_mhz", " {:5.0f} MHz"),
)
_SLOWED = ("power", "heat", "hardware")


def gpu_lines(history: SystemHistory, view: View, rank: int) -> list[Line]:
    """Return a line for each GPU of a rank's machine, with its load over the time that is drawn."""
    last = history.newest(rank).last
    found = {gpu: _of_gpu(last, gpu) for gpu in gpus(last)[:MOST_GPUS]}
    ends = {gpu: _end(figures) for gpu, figures in found.items()}
    room = view.width - 6 - 8 - 16 - max((len(a) + len(b) for a, b in ends.values()), default=0)
    bar_size = max(4, min(12, room // 4)) if room >= LEAST_ROOM else 0
    strip_size = min(MOST_STRIP, room - bar_size) if bar_size else 0
    time = drawn_time(history, view)
    lines = []
    for gpu, figures in found.items():
        strip = _load_strip(history, time, rank, [gpu], strip_size)
        lines.append(_gpu_line(gpu, figures, strip, bar_size, ends[gpu]))
    return lines


def rank_strips(history: SystemHistory, view: View, width: int) -> dict[int, str]:
    """Return how busy the GPUs of each rank were on average, of those that have one."""
    found = {rank: gpus(history.newest(rank).last, "busy_percent") for rank in history.ranks}
    size, time = min(MOST_STRIP, width), drawn_time(history, view)
    return {
        rank: _load_strip(history, time, rank, numbers, size)
        for rank, numbers in found.items()
        if numbers
    }


def _load_strip(
    history: SystemHistory, time: DrawnTime, rank: int, numbers: Sequence[int], width: int
) -> str:
    """Return how busy some GPUs were on average, in `width` cells for the time that is drawn."""
    if width < 2:
        return ""
    start, end, last_s = time
    each = [
        merge_columns(history.curve(rank, f"gpu{number}/busy_percent", last_s), width, start, end)
        for number in numbers
    ]
    values = combined([row for one in each for row in (one.lows, one.highs)], fmean)
    apart_s, cell_s = history.newest(rank).interval_s(), (end - start) / (width - 1)
    most = int(SAMPLES_APART * apart_s / cell_s) if cell_s > 0 else 0
    return sparkline(_carried(values, most), width, limits=PERCENT)


def _carried(values: Sequence[float], most: int) -> list[float]:
    """Return the values, gaps of up to `most` filled by what stands before them."""
    found: list[float] = []
    gap = 0
    for value in values:
        gap = gap + 1 if math.isnan(value) else 0
        found.append(found[-1] if found and 0 < gap <= most else value)
    return found


def _of_gpu(last: Mapping[str, float], gpu: int) -> dict[str, float]:
    prefix = f"gpu{gpu}/"
    return {key.removeprefix(prefix): v for key, v in last.items() if key.startswith(prefix)}


def _end(figures: Mapping[str, float]) -> tuple[str, str]:
    """Return the figures behind the memory, and what slows the GPU."""
    told = "".join(form.format(figures[key]) for key, form in _FIGURES if key in figures)
    slowed = [what for what in _SLOWED if figures.get(f"slowed_by_{what}")]
    return told, f"  slowed by {', '.join(slowed)}" if slowed else ""


def _gpu_line(
    gpu: int, figures: Mapping[str, float], strip: str, bar_size: int, end: tuple[str, str]
) -> Line:
    busy, used = figures.get("busy_percent"), figures.get("memory_used_gib")
    total = figures.get("memory_total_gib")
    full = None if used is None or not total else used / total
    memory = "" if used is None else f"{used:.1f}" + (f"/{total:.1f}" if total else "") + " GiB"
    return line(
        Span(f"gpu{gpu:<3}", "dim"),
        Span(strip, "bar"),
        fit("" if busy is None else f"{busy:.0f} %", 6, right=True) + "  ",
        *bar(full, bar_size, ENDED),  # thin: those of other GPUs are near
        f" {fit(memory, 15)}",
        end[0],
        Span(end[1], "warn"),
    )
