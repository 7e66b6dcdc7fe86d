"""What is started has no terminal to ask on, and ends when it is told to."""

from __future__ import annotations

import signal
import subprocess

import pytest

from runstore.hosts.piped import end, start_piped
from runstore.threads import start_daemon


def close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def test_what_a_thread_starts_obeys_signals() -> None:
    """Our threads block all of them, and what is started inherits that."""
    started: list[subprocess.Popen[bytes]] = []
    start_daemon(lambda: started.append(start_piped(["sleep", "1000"])), "test").join()
    (process,) = started
    end(process)
    close(process)
    assert process.returncode == -signal.SIGTERM


def test_what_may_not_ask_has_no_terminal_and_ends_when_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/bin/echo")
    script = '(: </dev/tty) 2>/dev/null && echo terminal; "$SSH_ASKPASS" "two\nlines"; echo asked'
    for ask, output, errors in (
        (False, b"", b"Permission denied: a gateway asks two lines\n"),
        (True, b"two\nlines\nasked\n", b""),
    ):
        process = start_piped(["sh", "-c", script], ask=ask)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read().removeprefix(b"terminal\n") == output
        assert process.stderr.read() == errors
        assert process.wait() == (0 if ask else -signal.SIGTERM)
        close(process)
