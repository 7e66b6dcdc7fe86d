"""Requests: files in `requests/` that are taken once, also where they cannot be removed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
