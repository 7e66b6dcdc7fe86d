"""How commands end, in words."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from runstore.exec.endings import ending_of


@pytest.mark.parametrize(
    ("wait_status", "told", "words", "shell"),
    [
        (0, {}, ("finished", ""), 0),
        (3 << 8, {}, ("failed", "exit status 3"), 3),
        (137 << 8, {}, ("failed", "exit status 137 (SIGKILL)"), 137),
        (1 << 8, {"oom_kill": True}, ("failed", "exit status 1, out of memory"), 1),
        (9, {}, ("crashed", "killed by SIGKILL"), 137),
        (9, {"oom_kill": True}, ("crashed", "killed by SIGKILL, out of memory"), 137),
        (11, {}, ("crashed", "SIGSEGV"), 139),
        (11 | 0x80, {}, ("crashed", "SIGSEGV, core dumped"), 139),
        (13, {}, ("interrupted", "SIGPIPE: nobody reads its output any more"), 141),
        (15, {"asked": 15}, ("interrupted", "SIGTERM"), 143),
        (0, {"asked": 15}, ("interrupted", "SIGTERM"), 0),
        (1 << 8, {"asked": 2}, ("interrupted", "SIGINT, then exit status 1"), 1),
        (9, {"asked": 15, "killed": True}, ("interrupted", "SIGTERM twice, then killed"), 137),
        (40, {}, ("crashed", "signal 40"), 168),
    ],
)
def test_ending_is_told_in_words(
    wait_status: int, told: dict[str, int], words: tuple[str, str], shell: int
) -> None:
    ending = ending_of(wait_status, **told)  # type: ignore[arg-type]
    assert (ending.status, ending.reason) == words
    assert ending.shell_status == shell


def test_real_time_signals_have_a_number() -> None:
    script = f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 3})"
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert ending_of(-done.returncode).shell_status == 128 + signal.SIGRTMIN + 3
