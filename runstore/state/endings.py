"""How a run has ended, from what it and `runstore exec` say of that: status and reason."""

from __future__ import annotations

import re

from runstore.files.records import JsonObject, integer, number
from runstore.numbers import span
from runstore.state.run_state import RunState
from runstore.state.status import Status

ENDINGS = frozenset({"finished", "failed", "interrupted"})
EXITS = ENDINGS | {"crashed"}
"""What `runstore exec` says: a process cannot say of itself that it crashed."""


def exit_status(exited: JsonObject) -> Status:
    """Return what `runstore exec` says of its command's end."""
    word, reason = exited.get("status"), exited.get("reason")
    if not isinstance(word, str) or word not in EXITS:
        return Status("unknown", f"ended as {word!r}, which this version does not know")
    lost = integer(exited, "dropped_rows")
    told = [str(reason or ""), f"{lost:,} rows were lost" if lost else ""]
    return Status(word, "; ".join(filter(None, told)))


def exit_without_end(state: RunState, exited: JsonObject) -> Status:
    """Return the status of a run that has no end, but its command has."""
    status = exit_status(exited)
    last, end = state.last_row_time, number(exited, "time")
    before = f", last row {span(max(0.0, end - last))} before" if last and end else ""
    if status.word == "finished":
        return Status("crashed", f"exit status 0 without run.finish(){before}")
    return Status(status.word, status.reason + before) if status.word == "crashed" else status


def and_then(ended: Status, exited: JsonObject | None) -> Status:
    """Return the end of a run; behind `finish()` its command may still have failed."""
    reason = exited.get("reason") if exited else None
    if ended.word != "finished" or not isinstance(reason, str) or not reason:
        return ended
    return Status(ended.word, "; ".join(filter(None, (ended.reason, f"then {reason}"))))


def end_status(end: JsonObject, epochs: int | None) -> Status:
    """Return what an attempt's `end` event says, and where in its `epochs` that was."""
    word, reason = end.get("status"), end.get("reason")
    # Anything may stand there, and what cannot be hashed is in no set.
    if not isinstance(word, str) or word not in ENDINGS:
        return Status("unknown", f"ended as {word!r}, which this version does not know")
    lost = integer(end, "dropped_rows")
    why = reason if isinstance(reason, str) else ""
    told = [why, _open_stage(end, epochs, why), f"{lost:,} rows were lost" if lost else ""]
    return Status(word, "; ".join(filter(None, told)))


def _open_stage(end: JsonObject, epochs: int | None, told: str) -> str:
    """Say inside which epoch or split a run ended, unless its reason has `told` that."""
    epoch, split = integer(end, "open_epoch"), end.get("open_split")
    if epoch is not None:
        inside = f"inside epoch {epoch}"
        known = re.search(rf"{inside}\b", told) is not None
        return "" if known else inside + (f" of {epochs}" if epochs else "")
    inside = f"inside the split {split!r}" if isinstance(split, str) else ""
    return "" if inside in told else inside
