"""The command: started with its output in our hands, told what we are told, and waited for."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from runstore.exec.terminal import OutputTerminal

AGAIN_S = 3.0
"""A second SIGTERM so much later is a second wish: schedulers send one to everybody at once."""
STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that ask for the end."""
_PASSED_ON = STOPPING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT}
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Channel:
    """One way from the command to a place where it is read."""

    source: int
    target: int
    names: tuple[str, ...]
    """`stdout`, `stderr`, or both where they go to the same place: their order is kept."""
    terminal: OutputTerminal | None


class Exit(NamedTuple):
    """What wait(2) told."""

    wait_status: int
    usage: resource.struct_rusage


class Child:
    """A running command, in our process group: the terminal's signals reach it by themselves."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the command; from here on our signals wait for `wait`.

        Raises:
            OSError: it cannot be started.
        """
        self.asked: int | None = None
        """The first signal by which the command was asked to end."""
        self.was_killed = False
        self._term_time: float | None = None
        self._signals = _to_watch()
        # Ignored by who started us, it would reap the command behind our back.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self.channels, ends = _open_channels()
        try:
            self.pid = os.posix_spawnp(
                command[0],
                list(command),
                dict(environment),
                file_actions=[(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in ends.items()],
                setsigmask=mask,
                # Python ignores these two, and who is started inherits that.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError:
            for channel in self.channels:
                os.close(channel.source)
            raise
        finally:
            for end in set(ends.values()):
                os.close(end)

    def wait(self) -> Exit:
        """Wait for the command's end, and pass signals on meanwhile."""
        while True:
            number, sender = next_signal(self._signals)
            if number == signal.SIGCHLD:
                pid, status, usage = os.wait4(self.pid, os.WNOHANG)
                if pid:
                    return Exit(status, usage)
            elif number == signal.SIGWINCH:
                self.follow()
            else:
                self._take(number, sender)

    def follow(self) -> None:
        """Keep the command's terminal like the real one."""
        for channel in self.channels:
            if channel.terminal is not None:
                channel.terminal.follow()

    def _take(self, number: int, sender: int | None) -> None:
        """Pass a signal on, unless the terminal has sent it to the whole process group."""
        if number in STOPPING:
            self.asked = self.asked or number
        if sender is not None and sender != self.pid:
            self._pass_on(number)
        if number == signal.SIGTSTP:
            _stop_here()

    def _pass_on(self, number: int) -> None:
        now = time.monotonic()
        if number == signal.SIGTERM:
            if self._term_time is not None and now > self._term_time + AGAIN_S:
                self.was_killed, number = True, signal.SIGKILL
            self._term_time = self._term_time or now
        os.kill(self.pid, number)

    def ask_to_end(self) -> None:
        """Send SIGTERM for somebody who asked in another way; from any thread."""
        self.asked = self.asked or signal.SIGTERM
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def is_asked_again(self) -> bool:
        """Tell whether a signal that asks for the end came since the command's."""
        return bool(signal.sigpending() & STOPPING)


def open_standard_streams() -> None:
    """Open those that are closed: a file or pipe of ours would get their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _to_watch() -> set[signal.Signals]:
    """Return the signals to wait for; those that are ignored (nohup) stay so."""
    wanted = _PASSED_ON | {signal.SIGWINCH}
    return {s for s in wanted if signal.getsignal(s) != signal.SIG_IGN} | {signal.SIGCHLD}


def next_signal(signals: set[signal.Signals]) -> tuple[int, int | None]:
    """Return the next signal, and the process that sent it; None: the kernel, for a terminal."""
    if sys.platform == "darwin":
        # It does not tell the sender. A terminal sends to those in its foreground.
        number = signal.sigwait(signals)
        by_terminal = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP}
        return number, None if number in by_terminal and _is_in_foreground() else 0
    found = signal.sigwaitinfo(signals)
    # siginfo(7): SI_USER and the others that a process can send are 0 and less.
    return found.si_signo, found.si_pid if found.si_code <= 0 else None


def _is_in_foreground() -> bool:
    with suppress(OSError):
        return os.tcgetpgrp(0) == os.getpgrp()
    return False


def _stop_here() -> None:
    """Stop as the signal alone would have made us; go on behind `fg`."""
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _open_channels() -> tuple[list[Channel], dict[int, int]]:
    """Return what is read from, and the command's descriptors with the ends that they get."""
    same = os.path.samestat(os.fstat(_STDOUT), os.fstat(_STDERR))
    both, apart = {_STDOUT: ("stdout", "stderr")}, {_STDOUT: ("stdout",), _STDERR: ("stderr",)}
    channels: list[Channel] = []
    ends: dict[int, int] = {}
    for target, told in (both if same else apart).items():
        terminal = _terminal_before(target)
        source, end = (terminal.master, terminal.slave) if terminal else os.pipe()
        channels.append(Channel(source, target, told, terminal))
        ends |= {_STDOUT if name == "stdout" else _STDERR: end for name in told}
    return channels, ends


def _terminal_before(target: int) -> OutputTerminal | None:
    """Return what stands before a terminal; None where there is none, or no other can be had.

    A container may have no /dev/pts, and a machine only so many pseudo-terminals: the command then
    prints into a pipe, and runs.
    """
    if not os.isatty(target):
        return None
    try:
        return OutputTerminal(target)
    except OSError:
        return None
