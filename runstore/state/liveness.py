"""Is the run alive? Decided from evidence, the strongest first, and never from a guess.

1. An `end` event says how it ended.
2. The process: on the boot and in the pid namespace where it ran, its pid and start time say
   whether it is there. A host that has booted since says that it is not.
3. The lock on the events file: free although the writer had it means that the process is gone.
4. Slurm, for a run in a job: whether the job waits, runs or is over; and why it is over, which
   a process that is gone cannot tell.
5. The heartbeat: seen to change on this viewer's own monotonic clock, never compared with a
   time that another machine wrote.

A copy of a run (its events file has another inode than the one written in it) can prove no death:
the original may go on elsewhere. It proves an end; and a life, while a heartbeat is seen to change
from one pull to the next.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from runstore.environment.process import ProcessIdentity, is_stopped
from runstore.files.paths import RunPaths
from runstore.files.records import JsonObject, number
from runstore.numbers import span, times, utc
from runstore.slurm.jobs import HALTED, JOBS, QUEUED, UNKNOWN_TIME, JobState, SlurmJobs
from runstore.slurm.submission import OWN_JOB_VARIABLE, Submission, is_job
from runstore.state.attempt_facts import Execution
from runstore.state.endings import and_then, end_status, exit_status, exit_without_end
from runstore.state.evidence import is_original, lock_is_free
from runstore.state.run_state import RunState
from runstore.state.status import Status

STALL_S = 60.0
"""A live run without a sign from its loop for so long is stalled (longer for slow steps)."""
BEAT_MISSED_S = 35.0
"""Three beats of 10 s, as written on network mounts, and some slack."""
BEGINS_S = 300.0
"""So long a job that Slurm has started again may need before its run begins."""
CLOCKS_APART_S = 300.0
"""How far the clocks of two machines of a cluster may be apart."""
JOB_ENDINGS = {
    "TIMEOUT": ("interrupted", "came to its time limit"),
    "DEADLINE": ("interrupted", "came to its deadline"),
    "PREEMPTED": ("interrupted", "was preempted"),
    "CANCELLED": ("interrupted", "was cancelled"),
    "REVOKED": ("interrupted", "was revoked"),
    "NODE_FAIL": ("crashed", "lost its node"),
    "BOOT_FAIL": ("crashed", "lost its node"),
    "OUT_OF_MEMORY": ("crashed", "ran out of memory"),
    "FAILED": ("crashed", "has failed"),
    "COMPLETED": ("crashed", "is over"),
}
"""Slurm's words for a job that is over, for an attempt that wrote no end."""
SIGNALLING = frozenset({"TIMEOUT", "DEADLINE", "PREEMPTED", "CANCELLED", "REVOKED"})
"""Those of them before which Slurm sends SIGTERM, so that an attempt may have written its end."""
_SIGNALLED = re.compile(r"(?:preempted|terminated) by (?P<name>SIG[A-Z0-9]+)\b")
Monotonic = Callable[[], float]


class Liveness:
    """Judges one run, and remembers when its heartbeat was seen to change."""

    def __init__(self, monotonic: Monotonic = time.monotonic, jobs: SlurmJobs = JOBS) -> None:
        """Use `monotonic` as the viewer's clock, in seconds, and what `jobs` knows of Slurm."""
        self._monotonic = monotonic
        self._jobs = jobs
        self._beat: int | None = None
        self._beat_seen: float | None = None

    def judge(self, state: RunState, events_file: Path | None) -> Status:
        """Return the status of the newest attempt, or of the one that Slurm is to begin.

        Args:
            state: the run, with its newest events and `progress.json` folded in.
            events_file: the newest attempt's events file.
        """
        self._watch_heartbeat(state)
        newest = self._judge_newest(state, events_file)
        if newest.is_proven_alive:
            if state.job is not None:
                # Asked ahead: a list tells how much time the job has left.
                self._jobs.state(state.job)
            return newest
        if newest.word == "finished":
            return newest
        if state.next_job is not None:
            return self._of_next_job(state, state.next_job) or newest
        return self._requeued(state, newest) or newest

    def _of_next_job(self, state: RunState, submitted: Submission) -> Status | None:
        """What Slurm says of a job that was submitted and has begun no attempt."""
        job = f"Slurm job {submitted.job}"
        if not submitted.is_of(state.path):
            # Not asked for: where this copy lies, the number may be anybody's.
            why = f"copied; the original was submitted as {job}"
            return None if state.attempt else Status("planned", why)
        told = self._jobs.state(submitted.job)
        if told is None:
            why = f"submitted as {job}"
            if submitted.cancelled is not None:
                why = f"{job} was cancelled before the run began"
            elif self._jobs.is_gone(submitted.job):
                why = f"{job} is gone, and the run has not begun"
            return None if state.attempt else Status("planned", why)
        if told.word in QUEUED:
            return Status("pending", _in_queue(submitted.job, told))
        if not told.is_over:
            return Status("pending", f"{job} is {told.word.lower()}, the run has not begun")
        if state.attempt:
            return None
        word, why = JOB_ENDINGS.get(told.word, ("crashed", f"is over ({told.word.lower()})"))
        log = f"; see {submitted.log}" if word == "crashed" and submitted.log else ""
        return Status(word, f"{job} {why} before the run began{log}")

    def _requeued(self, state: RunState, newest: Status) -> Status | None:
        """Tell of an attempt that has ended, and whose own job is to begin the next one."""
        own = state.environment.get(OWN_JOB_VARIABLE)
        if newest.word not in ("interrupted", "crashed") or not is_job(own):
            return None
        told = self._jobs.state(own)
        if told is None and _was_cancelled(state, own):
            told = JobState("CANCELLED")
        if told is None:
            return None
        if told.word in QUEUED:
            return Status("pending", f"{_in_queue(own, told)}, {_requeued_times(state)}")
        begun = state.newest.begun if state.newest else None
        if _is_of(told, begun or {}):
            return _why_signalled(newest, own, told)
        # Not for longer: another cluster has another job of that number.
        if told.is_over or not 0 <= time.time() - told.start < BEGINS_S:
            return None
        return Status("pending", f"Slurm job {own} has started again, the run has not begun")

    def _judge_newest(self, state: RunState, events_file: Path | None) -> Status:
        opened = state.newest.opened if state.newest else None
        execution = state.newest.execution if state.newest else None
        exited = execution.ended if execution else None
        if state.ended is not None:
            return and_then(end_status(state.ended, state.epochs), exited)
        if opened is None and execution is not None:
            if exited is not None and events_file is not None and os.path.lexists(events_file):
                # Of an `init` inside that could write nothing: `finished` would hide what it lost.
                return exit_without_end(state, exited)
            return self._of_command(state, execution)
        if opened is None or events_file is None:
            return _not_started(state)
        if exited is not None and not _is_alive_here(ProcessIdentity.from_record(opened)):
            return exit_without_end(state, exited)
        if not is_original(opened, events_file):
            return self._of_copy(state, opened)
        found = self._by_process(state, opened) or _by_lock(state, opened, events_file)
        if found is not None and found.is_proven_alive:
            return found
        job = self._by_slurm(state, opened, is_gone=found is not None)
        return job or found or self._by_heartbeat(state, opened)

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
            return Status(
                "crashed", f"process {identity.pid} is gone, {_last_row(state, self._now(state))}"
            )
        if identity.is_gone():
            last = _last_row(state, time.time())
            return Status("crashed", f"{identity.host} was rebooted, {last}")
        return None

    def _of_command(self, state: RunState, execution: Execution) -> Status:
        """Judge a command of `runstore exec` in which there is no `init`."""
        if execution.ended is not None:
            return exit_status(execution.ended)
        opened = execution.opened
        if opened is None:
            return _not_started(state)
        file = RunPaths(state.path).stream("exec", state.attempt)
        if not is_original(opened, file):
            return self._of_copy(state, opened)
        watcher = ProcessIdentity.from_record(opened)
        command = ProcessIdentity.from_record({**opened, **(execution.started or {})})
        if command != watcher and _is_alive_here(command):
            assert command is not None  # it is alive
            status = self._alive(state, command.pid)
            gone = "" if _is_alive_here(watcher) else ", its runstore exec is gone"
            return Status(status.word, status.reason + gone)
        found = self._by_process(state, opened) or _by_lock(state, opened, file)
        if found is not None and found.is_proven_alive:
            return found
        job = self._by_slurm(state, opened, is_gone=found is not None)
        if job is not None or found is None:
            return job or self._by_heartbeat(state, opened)
        return _unwatched(found, watcher, execution)

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

    def _now(self, state: RunState) -> float:
        """Unix seconds on the clock of the attempt, which ran on this boot of this machine.

        It was read once when the attempt began; the machine's clock may have been set since.
        """
        progress = state.progress
        if progress is None or progress.attempt < state.attempt:
            return time.time()
        if progress.time is None or progress.monotonic is None:
            return time.time()
        return progress.time + self._monotonic() - progress.monotonic

    def _by_slurm(self, state: RunState, opened: JsonObject, *, is_gone: bool) -> Status | None:
        """What Slurm says of the attempt's job; of one that is gone only why, or what comes."""
        job = state.job
        told = self._jobs.state(job) if job is not None else None
        if job is None or told is None:
            return None
        if told.word in QUEUED:
            again = f"{_in_queue(job, told)}, {_requeued_times(state)}"
            return Status("pending", f"{again}, {_last_sign(state)}")
        if not _is_of(told, opened):
            return None
        if told.is_over:
            return _over(told, f"Slurm job {job}", _last_sign(state))
        if is_gone:
            return None
        if told.word in HALTED:
            return Status("stalled", f"Slurm job {job} is {told.word.lower()}")
        return _elsewhere(state, f"Slurm job {job} runs on {_host(opened)}")

    def _of_copy(self, state: RunState, opened: JsonObject) -> Status:
        host, seen = _host(opened), self._beat_seen
        if seen is not None and self._monotonic() - seen <= BEAT_MISSED_S:
            return _elsewhere(state, f"a copy of a run on {host}, whose heart beats")
        return Status("unknown", f"a copy of a run on {host}; {_last_sign(state)}")

    def _by_heartbeat(self, state: RunState, opened: JsonObject) -> Status:
        host = _host(opened)
        if self._beat_seen is None:
            return Status("unknown", f"on {host}, {_last_sign(state)}")
        silent_s = self._monotonic() - self._beat_seen
        if silent_s > BEAT_MISSED_S:
            return Status("unknown", f"on {host}, no heartbeat for {span(silent_s)}")
        return _elsewhere(state, f"on {host}, its heart beats")


def _in_queue(job: str, told: JobState) -> str:
    return f"Slurm job {job} is in the queue" + (f" ({told.reason})" if told.reason else "")


def _requeued_times(state: RunState) -> str:
    """How often a job was requeued that waits again since the newest attempt."""
    return f"requeued {times(state.job_restarts + 1)}"


def _is_alive_here(process: ProcessIdentity | None) -> bool:
    return process is not None and process.is_local() and process.is_alive()


def _unwatched(found: Status, watcher: ProcessIdentity | None, execution: Execution) -> Status:
    """Return the status of a command whose `runstore exec` is gone without saying how it ended."""
    if execution.started is None:
        return Status("crashed", f"runstore exec: {found.reason}, before it started its command")
    is_seen = watcher is not None and watcher.is_local()
    if not is_seen and "rebooted" not in found.reason:
        return Status("unknown", f"runstore exec: {found.reason}; its command may go on")
    return Status("crashed", f"runstore exec: {found.reason}; its command is gone too")


def _was_cancelled(state: RunState, job: str) -> bool:
    noted = state.submission
    if noted is None or noted.job != job or noted.cancelled is None:
        return False
    return noted.is_of(state.path)


def _why_signalled(ended: Status, job: str, told: JobState) -> Status | None:
    """Why Slurm has sent the signal that a run ended by: to the run all of them look the same."""
    signal = _SIGNALLED.match(ended.reason)
    if told.word not in SIGNALLING or signal is None:
        return None
    why = f"Slurm job {job} {JOB_ENDINGS[told.word][1]} ({signal['name']})"
    return Status(ended.word, why + ended.reason[signal.end() :])


def _not_started(state: RunState) -> Status:
    if state.progress is not None:  # as in a copy whose documents have come, and no logs yet
        return Status("unknown", "it has begun, but its events are not here")
    if state.info:
        return Status("planned", "created, not started")
    return Status("unknown", "no run.json and no events")


def _by_lock(state: RunState, opened: JsonObject, events_file: Path) -> Status | None:
    """Only a lock that the writer says it had, and that is free now, proves anything."""
    if opened.get("lock") is not True:
        return None
    free = lock_is_free(events_file)
    if free is None:
        return None
    if free:
        return Status(
            "crashed", f"its lock is free: gone from {_host(opened)}, {_last_sign(state)}"
        )
    return _elsewhere(state, f"on {_host(opened)}, its lock is held")


def _is_of(job: JobState, opened: JsonObject) -> bool:
    """Tell whether the job's newest start is the one of this attempt.

    A requeued job has started again since; and another cluster has another job of that number.
    """
    opened_at = number(opened, "time")
    if job.start == UNKNOWN_TIME or opened_at is None:
        return True
    return job.start <= opened_at + CLOCKS_APART_S


def _over(job: JobState, name: str, last_sign: str) -> Status:
    """An attempt without an end whose job is over: why, in Slurm's words."""
    word, why = JOB_ENDINGS.get(job.word, ("crashed", f"is over ({job.word.lower()})"))
    return Status(word, f"{name} {why}, {last_sign}")


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


def _last_row(state: RunState, now: float) -> str:
    """How long ago the last row came: `now` is on the clock of the process that wrote it."""
    last = state.last_row_time
    return f"last row {span(max(0.0, now - last))} ago" if last else "no row was written"


def _last_sign(state: RunState) -> str:
    last = state.last_time
    if last is None:
        return "no sign of life"
    return f"last sign of life {utc(last)}"
