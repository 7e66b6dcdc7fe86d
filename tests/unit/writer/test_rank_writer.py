"""A rank that logs does so as rank 0 does: beside the training, and durably."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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

    writer = RankWriter(tmp_path, 1, 3, writes=True)
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
    writer = RankWriter(tmp_path, 1, 3, writes=True)
    writer.append("metrics", {"step": 0})
    wait_until(lambda: synced, what="a sync")
    writer.end({})
    assert synced == [str(tmp_path / NAME)]


def test_rank_that_does_not_log_has_no_thread_and_no_file(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = RankWriter(tmp_path, 1, 3, writes=False)
    writer.append("metrics", {"step": 0})
    assert threading.active_count() == before
    writer.end({})
    assert list(tmp_path.iterdir()) == []
