"""The attempts of a run: when each began and ended, how, where, and what it resumed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runstore.files.records import JsonObject, integer, number
from runstore.numbers import clock, count, duration, local_time
from runstore.slurm.variables import job_of, restarts_of
from runstore.sources import NATIVE
from runstore.state.attempt_facts import Attempt, environment_of, output_files
from runstore.state.run_state import RunState

from .facts import GLYPHS, STATUS_ROLES
from .text import Line, Span, from_file, hanging, line, shorten, width_of

SHOWN = 50
"""Attempts; a run that is requeued every hour has more, and the newest ones matter."""
_INDENT = "   "


def attempts(state: RunState, width: int, superseded: Mapping[int, str]) -> list[Line]:
    """Return some lines for each attempt, the newest first.

    Args:
        state: the run.
        width: cells.
        superseded: attempt to how many of its rows a later one superseded, in words.
    """
    numbers = sorted(state.attempts, reverse=True)
    if not numbers:
        is_own = state.source == NATIVE.name
        return [line(Span("not started" if is_own else "its files name none", "dim"))]
    lines: list[Line] = []
    for number_ in numbers[:SHOWN]:
        lines += _attempt(state, state.attempts[number_], width, superseded.get(number_, ""))
    if len(numbers) > SHOWN:
        lines.append(line(Span(f"and {len(numbers) - SHOWN:,} earlier ones", "dim")))
    return lines


def _attempt(state: RunState, attempt: Attempt, width: int, superseded: str) -> list[Line]:
    word, reason = _ending(state, attempt)
    role = STATUS_ROLES.get(word, "dim")
    head = f"{attempt.number} {GLYPHS.get(word, '?')} {word}"
    told = from_file(reason)
    lines = hanging(line(Span(head, f"{role}-strong"), "  " if told else ""), told, width, "dim")
    begun = [*_times(state, attempt), *_place(state, attempt)]
    lost = f"{superseded} row{'' if superseded == '1' else 's'} superseded by a later attempt"
    for facts in (begun, _resumed(attempt), [lost] if superseded else []):
        lines += wrapped(facts, width)
    return lines


def _ending(state: RunState, attempt: Attempt) -> tuple[str, str]:
    """Return a status word and a reason; of an earlier attempt what its own last event says."""
    if attempt.number == state.attempt:
        return state.status.word, state.status.reason
    ended = attempt.ended or (attempt.execution.ended if attempt.execution else None)
    if ended is None:
        return "crashed", "wrote no end"
    word, reason = ended.get("status"), ended.get("reason")
    return (
        word if isinstance(word, str) and word in GLYPHS else "unknown",
        reason if isinstance(reason, str) else "",
    )


def _times(state: RunState, attempt: Attempt) -> list[str]:
    begun = _time(attempt.begun)
    ended = _time(attempt.ended) or _time(attempt.execution.ended if attempt.execution else None)
    is_newest = attempt.number == state.attempt
    last = ended or ((state.last_time or None) if is_newest else _time(_last_event(attempt)))
    facts = [f"begun {local_time(begun)}:{clock(begun)[-2:]}"] if begun is not None else []
    if ended is not None:
        facts.append(f"ended {_later(begun, ended)}")
    elif last is not None and not (is_newest and state.status.is_proven_alive):
        facts.append(f"last sign {_later(begun, last)}")
    if begun is not None and last is not None and last >= begun:
        is_live = ended is None and is_newest and state.status.is_proven_alive
        facts.append(f"{duration(last - begun)}{' so far' if is_live else ''}")
    return facts


def _later(begun: float | None, ended: float) -> str:
    """Return a moment, on the day of an earlier one without the day."""
    is_same_day = begun is not None and local_time(begun)[:10] == local_time(ended)[:10]
    return clock(ended) if is_same_day else local_time(ended)


def _last_event(attempt: Attempt) -> JsonObject | None:
    return attempt.all_events[-1] if attempt.all_events else None


def _place(state: RunState, attempt: Attempt) -> list[str]:
    begun = attempt.begun or {}
    host = begun.get("host") or (attempt.opened or {}).get("host")
    facts = [f"on {from_file(host)}"] if isinstance(host, str) and host else []
    # The first attempt's variables are in run.json.
    environment = environment_of(begun, state.info if attempt.number == 1 else {})
    job, restarts = job_of(environment), restarts_of(environment)
    if job is not None:
        facts.append(f"Slurm job {job}" + (f", start {restarts + 1}" if restarts else ""))
    pid = integer(begun, "pid")
    facts += [f"process {pid}"] if pid is not None else []
    return [*facts, *map(from_file, output_files(attempt.opened or {}))]


def _resumed(attempt: Attempt) -> list[str]:
    opened = attempt.opened or {}
    file, step = opened.get("resumed_from"), integer(opened, "step")
    facts = []
    if isinstance(file, str) and file:
        at = f" at step {count(step)}" if step is not None else ""
        facts.append(f"resumed{at} from {from_file(file)}")
    for event in attempt.all_events:
        match event.get("event"):
            case "resume":
                facts.append("exact" if event.get("exact") is True else "not exact")
            case "resume_not_exact":
                facts = [fact for fact in facts if fact != "exact"]
                facts.append(f"not exact: {from_file(event.get('reason'))}")
            case "restart":
                facts.append("found no checkpoint, began anew")
    return list(dict.fromkeys(facts))


def _time(event: Mapping[str, Any] | None) -> float | None:
    """Return when an event was written; files without times are read with a 0 in their place."""
    return (number(event, "time") or None) if event else None


def wrapped(facts: Iterable[str], width: int, indent: str = _INDENT) -> Sequence[Line]:
    """Return facts with ` · ` between them, in as many indented lines as they need."""
    rows: list[str] = []
    for fact in facts:
        joined = f"{rows[-1]} · {fact}" if rows else fact
        if rows and width_of(joined) + len(indent) <= width:
            rows[-1] = joined
        else:
            rows.append(fact)
    return [line(indent, Span(shorten(row, width - len(indent)), "dim")) for row in rows]
