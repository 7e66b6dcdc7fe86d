"""How machines do: free GPUs, load, memory, and who is on them. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runstore.hosts.boxes import Gpu, GpuProcess, Machine
from runstore.numbers import age, percent

from .bars import bar
from .text import EMPTY, Line, Span, fit, fit_line, from_file, line, shorten

BAR_WIDTH = 10
BUSY_SHARE = 0.9
PROCESSES_SHOWN = 8

Runs = Mapping[tuple[str, int], str]
"""Names of live runs by their machine's name and process."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One machine as it is to be drawn."""

    name: str
    machine: Machine | None
    looked_s: float | None = None
    """How long ago that was found out; None: never."""
    problem: str = ""
    """Why nothing newer is known."""
    retry_s: float | None = None
    """Seconds until the next try."""
    pulled: Sequence[tuple[str, float | None]] = ()
    """The directories that are watched there, each with the age of its copy in seconds."""
    runs: Runs = field(default_factory=dict)


def hosts(shown: Sequence[Shown], width: int) -> list[Line]:
    """Return the lines about some machines, with a blank one between two."""
    found: list[Line] = []
    for one in shown:
        found += [EMPTY] * bool(found)
        found += _host(one, width)
    return [fit_line(row, width) for row in found]


def _host(shown: Shown, width: int) -> list[Line]:
    lines = [_title(shown)]
    if shown.problem:
        again = f"; again in {max(0.0, shown.retry_s):.0f} s" if shown.retry_s is not None else ""
        why = textwrap.wrap(from_file(shown.problem) + again, max(10, width - 2))
        lines += [line("  ", Span(text, "warn")) for text in why]
    for place, old_s in shown.pulled:
        told = f"pulled {age(old_s)}" if old_s is not None else "not pulled yet"
        lines.append(
            line(
                "  ",
                Span(shorten(from_file(place), width - len(told) - 5), "dim"),
                "  ",
                Span(told, "dim"),
            )
        )
    machine = shown.machine
    if machine is None:
        if not shown.problem:
            lines.append(line("  ", Span("asking …", "dim")))
        return lines
    lines.append(_load(machine))
    for gpu in machine.gpus:
        lines += _gpu(gpu, machine, shown.runs, width)
    if machine.gpu_problem:
        lines.append(line("  ", Span(shorten(machine.gpu_problem, width - 2), "dim")))
    return lines


def _title(shown: Shown) -> Line:
    machine = shown.machine
    spans = [Span(from_file(shown.name), "title")]
    if machine is not None and machine.gpus:
        free, number = machine.free_gpus, len(machine.gpus)
        text = f"{free} of {number} GPU{'' if number == 1 else 's'} free"
        spans += [Span("  "), Span(text, "good" if free else "warn")]
    if shown.looked_s is not None:
        spans.append(Span(f"  {age(shown.looked_s)}", "dim"))
    return line(*spans)


def _load(machine: Machine) -> Line:
    """Return load and memory; `/proc` has them, which not every machine has."""
    spans: list[Span | str] = ["  "]
    if machine.load is not None:
        of = f" of {machine.cores} cores" if machine.cores else ""
        is_busy = bool(machine.cores) and machine.load >= (machine.cores or 0) * BUSY_SHARE
        spans.append(Span(f"load {machine.load:.1f}{of}", "warn" if is_busy else ""))
    if machine.memory_gib and machine.available_gib is not None:
        is_tight = machine.available_gib < machine.memory_gib * (1 - BUSY_SHARE)
        text = f"memory {machine.available_gib:.0f} of {machine.memory_gib:.0f} GiB free"
        spans += ["  " if len(spans) > 1 else "", Span(text, "warn" if is_tight else "")]
    if len(spans) == 1:
        spans.append(Span("it has no /proc: load and memory are not known", "dim"))
    return line(*spans)


def _gpu(gpu: Gpu, machine: Machine, runs: Runs, width: int) -> list[Line]:
    used, total = gpu.used_mib, gpu.total_mib
    share = used / total if used is not None and total else None
    memory = "memory unknown"
    if used is not None and total:
        memory = f"{used / 1024:5.1f} of {total / 1024:.0f} GiB"
    util = percent(gpu.util_pct / 100) if gpu.util_pct is not None else ""
    state = Span("free", "good") if gpu.is_free else Span("busy", "value")
    # The name goes first where room is short.
    name = fit(shorten(gpu.name, 24), 24) if width >= 90 else ""
    first = line(
        f"  {gpu.index:>2} ",
        Span(name, "dim"),
        " " if name else "",
        state,
        " ",
        *bar(share, BAR_WIDTH),
        " ",
        fit(memory, 18),
        Span(f" {util:>4}", "dim"),
    )
    told = [_process(one, machine, runs) for one in gpu.processes[:PROCESSES_SHOWN]]
    if len(gpu.processes) > PROCESSES_SHOWN:
        told.append(line(Span(f"and {len(gpu.processes) - PROCESSES_SHOWN} more", "dim")))
    return [first, *(line("       ", *one) for one in told)]


def _process(one: GpuProcess, machine: Machine, runs: Runs) -> Line:
    """Return whose process it is: the run's name where it is one of those on screen."""
    parents = (one.pid, one.parent)
    run = next(
        (
            runs[machine.name, pid]
            for pid in parents
            if pid is not None and (machine.name, pid) in runs
        ),
        "",
    )
    memory = f"{one.used_mib / 1024:.1f} GiB" if one.used_mib is not None else ""
    return line(
        Span(one.user or "?", "key"),
        Span(f" {memory}" if memory else "", "dim"),
        Span(f"  ▶ {run}", "good") if run else "",
        Span(f"  {one.command}" if one.command else f"  process {one.pid}", "dim"),
    )
