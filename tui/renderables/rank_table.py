"""The ranks of a distributed run side by side: how fast each is, and which are behind."""

from __future__ import annotations

from collections.abc import Mapping

from runstore.numbers import NOTHING, duration, rate
from runstore.state.stragglers import Behind, ranks_behind
from runstore.state.system_history import Samples, SystemHistory, gpus

from .gpu_load import LEAST_ROOM, rank_strips
from .system_charts import View
from .text import Line, Span, fit, fit_line, from_file, line, shorten, width_of

STRAGGLER = "▼"
LEAST_HOST, MOST_HOST = 10, 20
_COLUMNS = (("STEPS/S", 9), ("GPU %", 7), ("GPU MEMORY", 16), ("CPU %", 7))


def rank_table(history: SystemHistory, view: View, is_whole: bool = True) -> list[Line]:
    """Return a line on how many ranks are behind, a head, and a line for each, those first.

    Args:
        history: what was read.
        view: what is to be seen of it.
        is_whole: all samples were read; before that nobody knows which ranks are behind.
    """
    newest = {rank: history.newest(rank) for rank in history.ranks}
    marks = _marks(ranks_behind(history)) if is_whole else {}
    figures = "".join(fit(title, size, right=True) for title, size in _COLUMNS)
    left = view.width - width_of(figures) - max(map(width_of, marks.values()), default=0)
    head, *names = _names(list(newest), dict(view.hosts), left)
    head += figures
    room = left - width_of(names[0]) - 2
    strips = rank_strips(history, view, room) if room >= LEAST_ROOM else {}
    rows = {
        rank: _row(name + _figures(samples), strips.get(rank, ""), marks.get(rank, ""))
        for name, (rank, samples) in zip(names, newest.items(), strict=True)
    }
    told = _told(marks, len(rows), view.width) if is_whole else line(Span("reading …", "dim"))
    head += "  GPU % OVER TIME" if strips else ""
    first = sorted(rows, key=lambda rank: (rank not in marks, rank))
    return [told, fit_line((Span(head, "head"),), view.width), *(rows[rank] for rank in first)]


def _marks(behind: Behind) -> dict[int, str]:
    """Return in words which ranks are behind, and by which figure."""
    found = {rank: f"gpu {share:.0%} of the median" for rank, share in behind.idle.items()}
    for rank, share in behind.slow.items():
        found[rank] = f"steps/s {share:.0%} of the median"
    for rank, silent_s in behind.silent.items():
        found[rank] = f"silent for {duration(silent_s)}"
    return {rank: f"  {STRAGGLER} {mark}" for rank, mark in found.items()}


def _told(marks: Mapping[int, str], count: int, width: int) -> Line:
    if not marks:
        return line(Span(f"{count} ranks, none behind the others", "dim"))
    names = ", ".join(map(str, sorted(marks)))
    told = f"{STRAGGLER} {len(marks)} of {count} ranks behind: {names}"
    return fit_line((Span(told, "warn"),), width)


def _names(ranks: list[int], hosts: Mapping[int, str], room: int) -> list[str]:
    """Return the first cells of the head and of each rank; with its host where there are several.

    Of a host's name what stands before the first point, where these differ; where that is longer
    than the room the end of it, which has the number.
    """
    whole = [from_file(hosts.get(rank, "")) for rank in ranks]
    if len(set(whole)) < 2:
        return [fit("RANK", 5), *(fit(str(rank), 5) for rank in ranks)]
    first = [host.partition(".")[0] for host in whole]
    shown = first if len(set(first)) == len(set(whole)) else whole
    most = max(LEAST_HOST, min(MOST_HOST, room - 6))
    width = min(most, max(map(width_of, [*shown, "HOST"])))
    named = zip(["RANK", *map(str, ranks)], ["HOST", *shown], strict=True)
    return [fit(rank, 6) + fit(shorten(host, width, keep_end=True), width) for rank, host in named]


def _figures(samples: Samples) -> str:
    pace, busy, last = samples.steps_per_s(), samples.busy_percent(), samples.last
    cells = (
        rate(pace) if pace else "0" if pace == 0 else NOTHING,
        NOTHING if busy is None else f"{busy:.0f}",
        _memory(last),
        f"{last['cpu/percent']:.0f}" if "cpu/percent" in last else NOTHING,
    )
    sized = zip(cells, _COLUMNS, strict=True)
    return "".join(fit(cell, size, right=True) for cell, (_, size) in sized)


def _memory(last: Mapping[str, float]) -> str:
    """Return what of the memory of all GPUs is used: `18.2/80.0 GiB`."""
    used, total = (
        [last[f"gpu{gpu}/{figure}"] for gpu in gpus(last, figure)]
        for figure in ("memory_used_gib", "memory_total_gib")
    )
    if not used:
        return NOTHING
    return f"{sum(used):.1f}" + (f"/{sum(total):.1f}" if total else "") + " GiB"


def _row(text: str, strip: str, mark: str) -> Line:
    return line(
        Span(text, "warn" if mark else ""),
        Span(f"  {strip}" if strip else "", "bar"),
        Span(mark, "warn"),
    )
