"""Requests in `requests/` that are taken once, and signals while a handler is at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.run.stops import Requests, Stop


class Asked:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ask_to_stop(self, stop: Stop, /) -> None:
        self.heard.append(stop.reason)

    def ask_to_save(self) -> None:
        self.heard.append("save")

    def write_event(self, event: str, **fields: Any) -> None:
        self.heard.append(f"{event} {fields['file']}")


def test_request_is_taken_once_and_its_file_goes(tmp_path: Path) -> None:
    run, requests = Asked(), Requests()
    (tmp_path / "checkpoint-me").touch()
    (tmp_path / "notes").touch()
    requests.take(run, tmp_path)
    requests.take(run, tmp_path)
    assert run.heard == ["request checkpoint-me", "save"]
    assert os.listdir(tmp_path) == ["notes"]
    (tmp_path / "checkpoint-me").touch()
    requests.take(run, tmp_path)
    assert run.heard[2:] == ["request checkpoint-me", "save"]


def test_request_that_cannot_be_removed_is_taken_once_until_it_is_made_anew(tmp_path: Path) -> None:
    run, requests = Asked(), Requests()
    # To unlink a directory fails for every user, as another user's file does for others.
    request = tmp_path / "stop"
    request.mkdir()
    requests.take(run, tmp_path)
    requests.take(run, tmp_path)
    assert run.heard == ["request stop", "stopped by a request"]
    os.utime(request, ns=(1, 1))
    requests.take(run, tmp_path)
    assert run.heard[2:] == ["request stop", "stopped by a request"]
    request.rmdir()
    request.touch()
    requests.take(run, tmp_path)
    assert run.heard[4:] == ["request stop", "stopped by a request"]


def test_request_that_was_taken_is_not_taken_again_when_it_can_be_removed(tmp_path: Path) -> None:
    run, requests = Asked(), Requests()
    request = tmp_path / "checkpoint"
    request.mkdir()
    when = request.lstat().st_mtime_ns
    requests.take(run, tmp_path)
    request.rmdir()
    request.touch()
    os.utime(request, ns=(when, when))
    requests.take(run, tmp_path)
    assert run.heard == ["request checkpoint", "save"]
    assert os.listdir(tmp_path) == []


IN_A_HANDLER = """
import os, signal, sys
import runstore

def own(number, frame):
    if signals:
        os.kill(os.getpid(), signals.pop())
    print("own", signal.Signals(number).name, flush=True)

signals = [signal.Signals[name] for name in sys.argv[2:]]
signal.signal(signal.SIGUSR1, own)
run = runstore.init(root=sys.argv[1], system_interval_s=None)
os.kill(os.getpid(), signal.SIGUSR1)
print("went on")
run.finish()
"""


@pytest.mark.parametrize(
    ("sent", "printed", "status", "reason"),
    [
        ("SIGTERM", "", 143, "terminated by SIGTERM"),
        # Its own again is one too many: it may be the handler that calls ours.
        ("SIGUSR1", "own SIGUSR1\nwent on\n", 0, ""),
    ],
)
def test_signal_while_the_scripts_handler_of_another_works_is_not_lost(
    tmp_path: Path, sent: str, printed: str, status: int, reason: str
) -> None:
    command = [sys.executable, "-c", IN_A_HANDLER, str(tmp_path), sent]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == (printed, status)
    (run,) = runstore.load_all(tmp_path)
    assert run.reason == reason
