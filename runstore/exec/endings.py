"""How a command ended: what the kernel says of it, and the same in words."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

OUT_OF_MEMORY = ", out of memory"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a command: the `exit` event's status and reason, and what they rest on."""

    status: str
    """finished, failed, crashed or interrupted."""
    reason: str
    code: int | None = None
    """The exit status; None when a signal ended it."""
    signal: str | None = None
    core: bool = False
    oom_kill: bool = False
    """The kernel killed a process of the control group meanwhile, because memory was short."""

    @property
    def shell_status(self) -> int:
        """The exit status that a shell would give: 128 and the signal's number."""
        if self.code is not None:
            return self.code
        return 128 + (_number(self.signal) if self.signal else 0)

    def to_record(self) -> dict[str, Any]:
        """Return the fields as they stand in the `exit` event."""
        found = {"status": self.status, "reason": self.reason, "code": self.code}
        return {**found, "signal": self.signal, "core": self.core, "oom_kill": self.oom_kill}


def ending_of(
    wait_status: int, *, asked: int | None = None, killed: bool = False, oom_kill: bool = False
) -> Ending:
    """Return the ending that `wait_status`, of wait(2), means.

    Args:
        wait_status: what the kernel said.
        asked: the signal by which the command was asked to end before it did.
        killed: whether we killed it, being asked twice.
        oom_kill: whether the kernel killed something for memory meanwhile.
    """
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        ended = _by_signal(number, core=os.WCOREDUMP(wait_status), oom_kill=oom_kill)
        facts = {"signal": signal_name(number), "core": os.WCOREDUMP(wait_status)}
    else:
        code = os.WEXITSTATUS(wait_status)
        ended = _by_exit(code, oom_kill)
        facts = {"code": code}
    status, reason = ended
    if asked is not None:
        status, reason = "interrupted", _asked_for(asked, reason, killed)
    return Ending(status, reason, oom_kill=oom_kill, **facts)  # type: ignore[arg-type]


def _by_signal(number: int, *, core: bool, oom_kill: bool) -> tuple[str, str]:
    name = signal_name(number)
    if number == signal.SIGPIPE:
        return "interrupted", "SIGPIPE: nobody reads its output any more"
    if number == signal.SIGKILL:
        return "crashed", f"killed by SIGKILL{OUT_OF_MEMORY if oom_kill else ''}"
    return "crashed", f"{name}, core dumped" if core else name


def _by_exit(code: int, oom_kill: bool) -> tuple[str, str]:
    if code == 0:
        return "finished", ""
    # A shell and torchrun say so of the process that they started.
    below = f" ({signal_name(code - 128)})" if code - 128 in signal.valid_signals() else ""
    return "failed", f"exit status {code}{below}{OUT_OF_MEMORY if oom_kill else ''}"


def _asked_for(asked: int, ended: str, killed: bool) -> str:
    name = signal_name(asked)
    if killed:
        return f"{name} twice, then killed"
    return name if ended in ("", name) else f"{name}, then {ended}"


def signal_name(number: int) -> str:
    """Return `SIGTERM`; `signal 40` for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _number(name: str) -> int:
    found = getattr(signal, name, None)
    return int(found) if found is not None else int(name.rpartition(" ")[2])
