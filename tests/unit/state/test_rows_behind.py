"""Counting the rows that a later attempt superseded."""

from __future__ import annotations

from pathlib import Path

import pytest

import runstore
from runstore.state import rows_behind
from runstore.state.rows_behind import superseded_rows
from runstore.writer.writer import RunWriter


def test_rows_behind_a_cut_are_counted_for_the_attempt_that_wrote_them(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for step in range(10):
            run.log({"loss": 1.0}, step=step)
    metrics = run.path / "metrics-0001.jsonl"
    third = sum(map(len, metrics.read_bytes().splitlines(keepends=True)[:3]))
    cuts = {metrics.name: third, "metrics-0009.jsonl": 0, "epochs-0001.jsonl": 0, "x": 0}
    RunWriter(run.path, 2, opening={"cuts": cuts}).end({"status": "finished"})
    state = runstore.load(run.path).state
    assert superseded_rows(run.path, state.cuts) == {1: "7"}
    assert superseded_rows(run.path, {metrics.name: 10**9}) == {}


def test_of_a_huge_file_it_says_at_least_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_behind, "COUNTED_BYTES", 4000)
    (tmp_path / "metrics-0001.jsonl").write_bytes(b"{}\n" * 2000)
    assert superseded_rows(tmp_path, {"metrics-0001.jsonl": 3}) == {1: "more than 1,333"}


def test_what_is_no_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "metrics-0001.jsonl").symlink_to("/dev/zero")
    (tmp_path / "metrics-0002.jsonl").mkdir()
    cuts = {"metrics-0001.jsonl": 0, "metrics-0002.jsonl": 0, "metrics-0003.jsonl": 0}
    assert superseded_rows(tmp_path, cuts) == {}
