"""`runstore exec` from its first line to its exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.environment.cgroups import oom_kills
from runstore.environment.facts import facts
from runstore.environment.process import start_time
from runstore.exec.child import Channel, Child, Exit, open_standard_streams
from runstore.exec.endings import Ending, ending_of
from runstore.exec.json_rows import JsonRows
from runstore.exec.pump import Pump
from runstore.exec.recorder import Recorder
from runstore.exec.screen_text import ScreenText
from runstore.files.paths import RunPaths
from runstore.launch.attempts import (
    ATTEMPT_VARIABLE,
    PARAMS_VARIABLE,
    RUN_VARIABLE,
    Handover,
    new_directory,
    next_attempt,
    run_to_join,
)
from runstore.launch.leftovers import seal_and_tell
from runstore.launch.run_document import describe, new_document, opening_facts
from runstore.run.stops import Requests, Stop
from runstore.text import printable

NOT_FOUND, NOT_ALLOWED = 127, 126
"""Exit statuses of env(1) and the shells."""
WAIT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the run is to be called and where it is to be; not asked for when it is handed over."""

    root: Path
    name: str | None = None
    tags: Sequence[str] = ()
    run_dir: Path | None = None
    """The run to go on with, as its next attempt."""


class NotStartedError(Exception):
    """The command is not there, or may not be executed."""

    def __init__(self, command: str, error: OSError) -> None:
        """Say it as env(1) does."""
        is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        self.status = NOT_FOUND if is_missing else NOT_ALLOWED
        reason = "command not found" if is_missing else (error.strerror or str(error)).lower()
        super().__init__(f"{printable(command)}: {reason}")


def execute(command: Sequence[str], wishes: Wishes) -> int:
    """Run a command as an attempt of a run; return the exit status that a shell would give.

    Raises:
        NotStartedError: there is no such command; then there is no run either.
        AttemptError: the run to go on with is alive.
        RunStoreError: what a launcher hands over cannot be read.
        OSError: the run's directory cannot be written.
    """
    open_standard_streams()
    check_program(command[0])
    session = _open(command, wishes)
    say(f"runstore: {session.shown}  (watch: runstore-tui {_quoted(session.shown.parent)})")
    ending = session.run()
    _say_end(session, ending)
    return ending.shell_status


def check_program(program: str, directory: Path | None = None) -> None:
    """Find out whether a program can be started, before a run is made for it.

    Args:
        program: as it stands in the command.
        directory: where it will be started; default here.

    Raises:
        NotStartedError: it cannot.
    """
    # A program without a slash is looked for in $PATH.
    place = str(directory / program) if directory and os.sep in program else program
    if shutil.which(place) is not None:
        return
    is_there = shutil.which(place, mode=os.F_OK) is not None
    number = errno.EACCES if is_there else errno.ENOENT
    raise NotStartedError(program, OSError(number, os.strerror(number)))


def _open(command: Sequence[str], wishes: Wishes) -> Session:
    """Claim an attempt of a new run, or of the one that is handed over, and describe the run."""
    own = facts(command)
    joined = _run_to_go_on_with(wishes)
    params = joined.params
    if joined.run_dir is None:
        run_dir, attempt = new_directory(wishes.root, wishes.name), 1
    else:
        run_dir = joined.run_dir
        attempt, stored = next_attempt(run_dir)
        params = stored | params
    shown, run_dir = run_dir, run_dir.absolute()
    opening = {key: own[key] for key in ("command", "command_redacted", "cwd")}
    opening |= opening_facts(run_dir, attempt, own)
    recorder = Recorder(run_dir, attempt, opening, params)
    document = new_document(own, wishes.name, wishes.tags)
    describe(recorder, document)
    seal_and_tell(run_dir, attempt, event=recorder.event, warn=recorder.warn)
    with contextlib.suppress(OSError):
        RunPaths(run_dir).requests.mkdir(exist_ok=True)
    return Session(command, run_dir, shown, recorder)


def _run_to_go_on_with(wishes: Wishes) -> Handover:
    if wishes.run_dir is not None:
        return Handover(wishes.run_dir)
    if ATTEMPT_VARIABLE in os.environ:
        # Inside of another one, whose run is not ours.
        for variable in (RUN_VARIABLE, PARAMS_VARIABLE, ATTEMPT_VARIABLE):
            os.environ.pop(variable, None)
    return run_to_join("auto", wishes.root)


@dataclass(slots=True)
class Session:
    """One attempt: the command, and who passes on and records."""

    command: Sequence[str]
    run_dir: Path
    shown: Path
    """The same as the user names it."""
    recorder: Recorder
    pumps: list[Pump] = field(default_factory=list)
    child: Child | None = None
    requests: Requests = field(default_factory=Requests)

    def run(self) -> Ending:
        """Run the command to its end."""
        before = oom_kills()
        begun = time.monotonic()
        try:
            self.child = Child(self.command, self._environment())
        except OSError as error:
            return self._could_not_start(error)
        numbers = {"pid": self.child.pid, "pid_start": start_time(self.child.pid)}
        self.recorder.event("start", **numbers)
        self.recorder.start(look=self._take_requests)
        texts = [self._start_pump(channel, self.child) for channel in self.child.channels]
        ended = self.child.wait()
        duration_s = time.monotonic() - begun
        self._await_pumps()
        for text in texts:
            self.recorder.log.put(text.end())
        ending = ending_of(
            ended.wait_status,
            asked=self.child.asked,
            killed=self.child.was_killed,
            oom_kill=before is not None and (oom_kills() or 0) > before,
        )
        usage = {**_usage(ended), "duration_s": round(duration_s, 3)}
        self._tell_what_is_missing()
        self.recorder.end({**ending.to_record(), **usage})
        return ending

    def _environment(self) -> dict[str, str]:
        handed = {RUN_VARIABLE: str(self.run_dir), ATTEMPT_VARIABLE: str(self.recorder.attempt)}
        environment = {**os.environ, **handed}
        if not os.isatty(1):
            # Into a pipe Python would print in pieces of 8 KiB: rows would come late, and those of
            # the last moments before a SIGKILL never. A value of the user's, also "", stays.
            environment.setdefault("PYTHONUNBUFFERED", "1")
        return environment

    def _could_not_start(self, error: OSError) -> Ending:
        refused = NotStartedError(self.command[0], error)
        say(f"runstore: {refused}")
        ending = Ending("failed", f"not started: {refused}", code=refused.status)
        self.recorder.end(ending.to_record())
        return ending

    def _start_pump(self, channel: Channel, child: Child) -> ScreenText:
        text = ScreenText()
        rows = JsonRows() if "stdout" in channel.names else None

        def take(data: bytes) -> None:
            self.recorder.log.put(text.feed(data))
            for row in rows.feed(data) if rows else ():
                self.recorder.take_row(row)

        self.pumps.append(Pump(channel.source, channel.target, take=take, look=child.follow))
        return text

    def _await_pumps(self) -> None:
        """Wait for what the command has printed; whoever asks us to end now is obeyed."""
        assert self.child is not None  # it has been waited for
        for pump in self.pumps:
            pump.end()
        while waiting := [pump for pump in self.pumps if not pump.is_over]:
            waiting[0].wait(WAIT_S)
            if self.child.is_asked_again():
                return

    def _tell_what_is_missing(self) -> None:
        for pump in self.pumps:
            if pump.is_held:
                self.recorder.warn_once(
                    "held",
                    "something that the command left running still holds its output; "
                    "what it prints now is not in output.log",
                )
            if pump.refused is not None and not isinstance(pump.refused, BrokenPipeError):
                reason = pump.refused.strerror
                self.recorder.warn_once("refused", f"output was not passed on: {reason}")

    def _take_requests(self) -> None:
        self.requests.take(self, RunPaths(self.run_dir).requests)

    def ask_to_stop(self, stop: Stop) -> None:
        """Have the command end: for the file `requests/stop`."""
        if self.child is not None:
            self.child.ask_to_end()

    def ask_to_save(self) -> None:
        """Say that only a run of `runstore.init` can save."""
        self.recorder.warn_once("save", "the command has no runstore.init(…) that could save")

    def write_event(self, event: str, **fields: Any) -> None:
        """Write an event."""
        self.recorder.event(event, **fields)


def _usage(ended: Exit) -> dict[str, float]:
    """Return what the command and its descendants took, of those that it waited for."""
    usage = ended.usage
    # getrusage(2): kibibytes; on macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return {
        "max_rss_gib": round(usage.ru_maxrss * unit / (1 << 30), 6),
        "user_s": round(usage.ru_utime, 3),
        "system_s": round(usage.ru_stime, 3),
    }


def _say_end(session: Session, ending: Ending) -> None:
    """One line behind the command's own; nothing where an `init` inside has said how it went."""
    if session.recorder.is_joined and ending.status in ("finished", "interrupted"):
        return
    because = f" ({ending.reason})" if ending.reason else ""
    duration = f"{time.monotonic() - session.recorder.begun:.1f} s"
    lost = session.recorder.log.lost_bytes
    told = f"; {lost:,} bytes of it are missing" if lost else ""
    where = _quoted(RunPaths(session.shown).output)
    if any(pump.last != b"\n" for pump in session.pumps if _is_seen_with_stderr(pump.target)):
        say("")
    say(f"runstore: {ending.status}{because} after {duration}; output: {where}{told}")


def _is_seen_with_stderr(target: int) -> bool:
    return os.path.samestat(os.fstat(target), os.fstat(2))


def _quoted(path: Path) -> str:
    return shlex.quote(printable(str(path)))
