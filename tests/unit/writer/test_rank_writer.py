"""A rank that logs does so as rank 0 does: beside the training, and durably."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runstore.files.paths import Stream
from runstore.writer.rank_writer import RankWriter

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

NAME = "metrics.rank3-0001.jsonl"


def test_rank_on_a_network_mount_does_not_wait_for_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.rank_writer.is_network", lambda path: True)
    stalled, released = threading.Event(), threading.Event()
    write = os.write

    def stalling(descriptor: int, data: bytes) -> int:
        stalled.set()
        assert released.wait(30)
        return write(descriptor, data)

    writer = RankWriter(tmp_path, 1, 3, streams=["metrics"])
    monkeypatch.setattr(os, "write", stalling)
    writer.append("metrics", {"step": 0})
    assert stalled.wait(30)
    writer.append("metrics", {"step": 1})
    released.set()
    writer.end({})
    found = (tmp_path / NAME).read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in found] == [0, 1]


def test_rows_of_a_rank_are_synced_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr("runstore.writer.rank_writer.SYNC_INTERVAL_S", 0.02)
    synced: list[str] = []
    monkeypatch.setattr(
        "runstore.writer.part._sync_data",
        lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())),
    )
    writer = RankWriter(tmp_path, 1, 3, streams=["metrics"])
    writer.append("metrics", {"step": 0})
    wait_until(lambda: synced, what="a sync")
    writer.end({})
    assert synced == [str(tmp_path / NAME)]


class Arrival:
    """Values that are on their way from a device, for a while or for ever."""

    def __init__(self, after_s: float, error: Exception | None = None) -> None:
        self._there = time.monotonic() + after_s
        self._error = error

    def poll(self) -> list[float] | None:
        if self._error is not None:
            raise self._error
        return [1.0] if time.monotonic() >= self._there else None


def test_values_that_come_after_the_last_call_are_in_the_file_of_the_rank(tmp_path: Path) -> None:
    writer = RankWriter(tmp_path, 1, 3, streams=["metrics"])
    writer.late.put(Arrival(0.3), lambda values: writer.append("metrics", {"values": values}))
    writer.end({})
    assert json.loads((tmp_path / NAME).read_bytes())["values"] == [1.0]


@pytest.mark.parametrize("streams", [[], ["system"]])
def test_rank_that_does_not_log_ends_without_the_values_of_a_device(
    tmp_path: Path, streams: list[Stream], caplog: pytest.LogCaptureFixture
) -> None:
    """A signal leaves a job seconds, and a collective that hangs holds the device for ever."""
    writer = RankWriter(tmp_path, 1, 3, streams=streams)
    writer.late.put(Arrival(60.0), lambda _values: None)
    begun = time.monotonic()
    writer.end({})
    assert time.monotonic() - begun < 5.0
    assert caplog.messages == []


def test_samples_that_have_nowhere_to_go_keep_nobody_from_a_checkpoint(tmp_path: Path) -> None:
    """As of a rank on another machine, without a disk that both share."""
    writer = RankWriter(tmp_path / "elsewhere", 1, 3, streams=["system"])
    writer.append("system", {"step": 0})
    assert writer.sync() == {}
    assert not writer.degraded
    writer.end({})


def test_rows_of_a_rank_that_logs_and_are_not_on_disk_do(tmp_path: Path) -> None:
    writer = RankWriter(tmp_path / "elsewhere", 1, 3, streams=["metrics", "system"])
    writer.append("metrics", {"step": 0})
    writer.sync()
    assert writer.degraded
    writer.end({})


def test_rows_of_a_rank_that_a_broken_device_costs_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RankWriter(tmp_path, 1, 3, streams=["metrics"])
    for _ in range(3):
        writer.late.put(Arrival(0.0, RuntimeError("CUDA error")), lambda _values: None)
    writer.end({})
    (told,) = caplog.messages
    assert "rank 3: rows are lost, their values did not come (RuntimeError: CUDA error)" in told


def test_rank_that_does_not_log_has_no_thread_and_no_file(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = RankWriter(tmp_path, 1, 3, streams=[])
    writer.append("metrics", {"step": 0})
    assert threading.active_count() == before
    writer.end({})
    assert list(tmp_path.iterdir()) == []
