"""Is the run alive? Decided from evidence, the strongest first, and never from a guess.

1. An `end` event says how it ended.
2. The process: on the boot and in the pid namespace where it ran, its pid and start time say
   whether it is there. A host that has booted since says that it is not.
3. The lock on the events file: free although the writer had it means that the process is gone.
4. The heartbeat: seen to change on this viewer's own monotonic clock, never compared with a
   time that another machine wrote.

A copy of a run (its events file has another inode than the one written in it) can prove nothing
but an end: the original may go on elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from runstore.numbers import utc
from runstore.process import ProcessIdentity, boot_id, is_stopped
from runstore.records import JsonObject, integer
from runstore.state import RunState
from runstore.status import Status

STALL_S = 60.0
"""A live run without a sign from its loop for so long is stalled (longer for slow steps)."""
BEAT_MISSED_S = 35.0
"""Three beats of 10 s, as written on network mounts, and some slack."""
ENDINGS = frozenset({"finished", "failed", "interrupted"})

Monotonic = Callable[[], float]


class Liveness:
    """Judges one run, and remembers when its heartbeat was seen to change."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        """Use `monotonic` as the viewer's clock, in seconds."""
        self._monotonic = monotonic
        self._beat: int | None = None
        self._beat_seen: float | None = None

    def judge(self, state: RunState, events_file: Path | None) -> Status:
        """Return the status of the newest attempt.

        Args:
            state: the run, with its newest events and `progress.json` folded in.
            events_file: the newest attempt's events file.
        """
        self._watch_heartbeat(state)
        if state.ended is not None:
            return _ending(state.ended, state.epochs)
        opened = state.newest.opened if state.newest else None
        if opened is None or events_file is None:
            return _not_started(state)
        if not _is_original(opened, events_file):
            return Status("unknown", f"a copy of a run on {_host(opened)}; {_last_sign(state)}")
        return (
            self._by_process(state, opened)
            or _by_lock(state, opened, events_file)
            or self._by_heartbeat(state, opened)
        )

    def _watch_heartbeat(self, state: RunState) -> None:
        beat = state.progress.beat if state.progress else None
        if beat != self._beat:
            self._beat_seen = self._monotonic() if self._beat is not None else None
            self._beat = beat

    def _by_process(self, state: RunState, opened: JsonObject) -> Status | None:
        identity = ProcessIdentity.from_record(opened)
        if identity is None:
            return None
        if identity.is_local():
            if identity.is_alive():
                return self._alive(state, identity.pid)
            return Status("crashed", f"process {identity.pid} is gone, {_last_row(state)}")
        here = os.uname().nodename
        if identity.host == here and identity.boot_id != boot_id() and boot_id():
            return Status("crashed", f"{here} was rebooted, {_last_row(state)}")
        return None

    def _alive(self, state: RunState, pid: int) -> Status:
        if is_stopped(pid):
            return Status("stalled", f"process {pid} is stopped")
        idle_s = self._idle_s(state)
        if idle_s is not None and idle_s > _patience_s(state):
            return Status("stalled", f"process {pid} is there, no step for {span(idle_s)}")
        return Status("running", f"process {pid}")

    def _idle_s(self, state: RunState) -> float | None:
        """Seconds since the training loop last called runstore, on the clock of this boot."""
        progress = state.progress
        if progress is None or progress.idle_s is None or progress.monotonic is None:
            return None
        if progress.attempt < state.attempt:
            # Left behind by an earlier attempt; this one has not had its first beat yet.
            return None
        return progress.idle_s + max(0.0, self._monotonic() - progress.monotonic)

    def _by_heartbeat(self, state: RunState, opened: JsonObject) -> Status:
        host = _host(opened)
        if self._beat_seen is None:
            return Status("unknown", f"on {host}, {_last_sign(state)}")
        silent_s = self._monotonic() - self._beat_seen
        if silent_s > BEAT_MISSED_S:
            return Status("unknown", f"on {host}, no heartbeat for {span(silent_s)}")
        return _elsewhere(state, f"on {host}, its heart beats")


def _ending(end: JsonObject, epochs: int | None) -> Status:
    word, reason = end.get("status"), end.get("reason")
    if word not in ENDINGS:
        return Status("unknown", f"ended as {word!r}, which this version does not know")
    lost = integer(end, "dropped_rows")
    why = reason if isinstance(reason, str) else ""
    told = [why, _open_stage(end, epochs, why), f"{lost:,} rows were lost" if lost else ""]
    return Status(str(word), "; ".join(filter(None, told)))


def _open_stage(end: JsonObject, epochs: int | None, told: str) -> str:
    """Say inside which epoch or split a run ended, unless its reason has `told` that."""
    epoch, split = integer(end, "open_epoch"), end.get("open_split")
    if epoch is not None:
        inside = f"inside epoch {epoch}"
        known = re.search(rf"{inside}\b", told) is not None
        return "" if known else inside + (f" of {epochs}" if epochs else "")
    inside = f"inside the split {split!r}" if isinstance(split, str) else ""
    return "" if inside in told else inside


def _not_started(state: RunState) -> Status:
    if state.info:
        return Status("planned", "created, not started")
    return Status("unknown", "no run.json and no events")


def _is_original(opened: JsonObject, events_file: Path) -> bool:
    """A copied file has another inode; a file that another NFS client sees has the same one."""
    inode = integer(opened, "inode")
    try:
        return inode is None or events_file.stat().st_ino == inode
    except OSError:
        return False


def _by_lock(state: RunState, opened: JsonObject, events_file: Path) -> Status | None:
    """Only a lock that the writer says it had, and that is free now, proves anything."""
    if opened.get("lock") is not True:
        return None
    free = lock_is_free(events_file)
    if free is None:
        return None
    if free:
        return Status("crashed", f"its lock is free: gone from {_host(opened)}, {_last_row(state)}")
    return _elsewhere(state, f"on {_host(opened)}, its lock is held")


def lock_is_free(path: Path) -> bool | None:
    """Tell whether nobody holds the lock on `path`; None where locks do not work."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _elsewhere(state: RunState, reason: str) -> Status:
    """A live run on another machine: only what it says of itself can show a stall."""
    idle_s = state.progress.idle_s if state.progress else None
    if idle_s is not None and idle_s > _patience_s(state):
        return Status("stalled", f"{reason}, no step for {span(idle_s)}")
    return Status("running", reason)


def _patience_s(state: RunState) -> float:
    """How long the loop may be silent: some steps, or the longest pause that it made before."""
    progress = state.progress
    rate = progress.it_per_s if progress else None
    pause_s = progress.longest_gap_s if progress else None
    return max(STALL_S, 10.0 / rate if rate else 0.0, 3.0 * (pause_s or 0.0))


def _host(opened: JsonObject) -> str:
    return str(opened.get("host", "another host"))


def _last_row(state: RunState) -> str:
    """How long ago the last row came, on the clock of a process that ran on this machine."""
    last = state.last_row_time
    return f"last row {span(max(0.0, time.time() - last))} ago" if last else "no row was written"


def _last_sign(state: RunState) -> str:
    last = state.last_time
    if last is None:
        return "no sign of life"
    return f"last sign of life {utc(last)}"


def span(seconds: float) -> str:
    """Return a length of time in words: `12 s`, `3 min`, `2 h`, `4 d`."""
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
