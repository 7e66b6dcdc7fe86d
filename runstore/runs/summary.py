"""A run in a few facts, as `runstore ls --json` and `show --json` print them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from runstore.files.records import JsonObject, integer, number, split_nonfinite
from runstore.hosts.pulled import origin_of
from runstore.metrics.ranking import is_noted
from runstore.runs.notes import Note, Notes, read_notes
from runstore.sources import NATIVE
from runstore.sources.silent import is_silent
from runstore.state.attempt_facts import Attempt
from runstore.state.job_facts import job_facts
from runstore.state.run_state import RunState


def summary(state: RunState) -> JsonObject:
    """Return what a list of runs needs to know of one."""
    best = state.best
    return {
        "id": state.id,
        "name": state.name,
        "path": str(state.path),
        "source": state.source,
        "status": state.status.word,
        "reason": state.status.reason,
        "degraded": state.degraded or None,
        "created": state.created,
        "duration_s": state.duration_s,
        "attempt": state.attempt,
        "epoch": state.epoch,
        "epochs": state.epochs,
        "step": state.step,
        "params": state.params,
        "tags": state.tags,
        "last": split_nonfinite(measured(state)),
        "best": asdict(best) if best else None,
        "slurm": _job(state),
        "pulled": _pulled(state),
    }


def _job(state: RunState) -> JsonObject | None:
    facts = job_facts(state)
    if facts is None:
        return None
    return {
        "job": facts.job,
        "state": facts.word,
        "reason": facts.reason,
        "restarts": facts.restarts,
        "time_left_s": facts.time_left_s,
    }


def _pulled(state: RunState) -> JsonObject | None:
    origin = origin_of(state.path, answers=not is_silent(state))
    if origin is None:
        return None
    return {"host": origin.host, "source": str(origin.source), "time": origin.time}


def measured(state: RunState) -> dict[str, float]:
    """Return the latest values that were logged.

    That is without the durations and speeds that runs note by themselves.
    """
    return {name: value for name, value in state.last.items() if not is_noted(name)}


def full_summary(state: RunState) -> JsonObject:
    """Return `summary` with what a page about one run needs besides."""
    return {
        **summary(state),
        "attempts": [_attempt(state.attempts[n]) for n in sorted(state.attempts)],
        "epoch_rows": state.epoch_rows,
        "report": newest_report(state),
        "warnings": state.warnings,
        "bad_lines": [
            {"place": bad.place, **asdict(bad)} for bad in (*state.bad_lines, *state.torn_lines)
        ],
        "command": _command(state.info),
        "command_redacted": state.info.get("command_redacted") is True,
        "git": state.git or None,
        "notes": [note_facts(note) for note in notes_of(state).notes],
    }


def notes_of(state: RunState) -> Notes:
    """Return what people wrote about a run; of another tool's nothing is kept."""
    has_notes = state.source == NATIVE.name and not is_silent(state)
    return read_notes(state.path) if has_notes else Notes()


def note_facts(note: Note) -> JsonObject:
    """Return what programs are told of a note."""
    facts = asdict(note)
    del facts["size_bytes"]
    return facts


def newest_report(state: RunState) -> JsonObject | None:
    """Return the newest classification report of any split, or None."""
    reports = state.reports.values()
    return max(reports, key=lambda row: number(row, "time") or -math.inf, default=None)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    exited = attempt.execution.ended if attempt.execution else None
    opened, ended = attempt.opened or attempt.begun or {}, attempt.ended or exited or {}
    return {
        "attempt": attempt.number,
        "started": number(opened, "time"),
        "host": _text(opened, "host"),
        "pid": integer(opened, "pid"),
        "ended": number(ended, "time"),
        "status": _text(ended, "status"),
        "reason": _text(ended, "reason"),
        "step": integer(ended, "step"),
        "exit": _exit(exited) if exited else None,
    }


def _exit(exited: JsonObject) -> dict[str, Any]:
    """Return what `runstore exec` says of a command's end."""
    amounts = ("duration_s", "max_rss_gib", "user_s", "system_s")
    return {
        "code": integer(exited, "code"),
        "signal": _text(exited, "signal"),
        "core": _flag(exited, "core"),
        "oom_kill": _flag(exited, "oom_kill"),
        **{key: number(exited, key) for key in amounts},
    }


# Whoever reads the JSON relies on its types; a damaged file, or another writer's, on nothing.


def _text(record: JsonObject, key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def _flag(record: JsonObject, key: str) -> bool | None:
    value = record.get(key)
    return value if isinstance(value, bool) else None


def _command(info: Mapping[str, Any]) -> list[str] | None:
    command = info.get("command")
    return list(map(str, command)) if isinstance(command, list) else None
