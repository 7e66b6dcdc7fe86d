"""The manifest: which checkpoints are whole, and where they leave the rows."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runstore.errors import CheckpointError
from runstore.files.checkpoints import (
    append_to_manifest,
    cuts_behind,
    files_to_prune,
    files_without_row,
    find_resume_point,
    read_manifest,
)
from runstore.files.paths import RunPaths


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def add(run_dir: Path, step: int, *, attempt: int = 1, **more: Any) -> Path:
    path = run_dir / "checkpoints" / f"step-{step:08d}-{attempt:04d}.pt"
    path.write_bytes(f"checkpoint {step} ".encode() * 100)
    record = {
        "file": path.name,
        "step": step,
        "attempt": attempt,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "cuts": {"metrics-0001.jsonl": step * 10},
        **more,
    }
    append_to_manifest(run_dir, record)
    return path


def test_rows_come_back_in_their_order(run_dir: Path) -> None:
    add(run_dir, 1)
    add(run_dir, 2, epoch=3, batch=7, best=True, reason="due")
    one, two = read_manifest(run_dir)
    assert (one.step, one.best, one.epoch) == (1, False, None)
    assert (two.step, two.best, two.epoch, two.batch) == (2, True, 3, 7)
    assert two.facts["reason"] == "due"


def test_no_directory_means_no_checkpoints(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == []
    assert find_resume_point(tmp_path) == (None, [])


def test_torn_line_of_a_killed_attempt_costs_only_itself(run_dir: Path) -> None:
    add(run_dir, 1)
    with (run_dir / "checkpoints" / "manifest.jsonl").open("ab") as file:
        file.write(b'{"file":"step-0000')
    add(run_dir, 3)
    assert [row.step for row in read_manifest(run_dir)] == [1, 3]


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[1]\n",
        b'{"file":"x.pt"}\n',
        b'{"file":"../../x.pt","step":1,"attempt":1,"bytes":1,"sha256":"","cuts":{}}\n',
    ],
)
def test_lines_that_are_no_rows_are_passed_over(run_dir: Path, line: bytes) -> None:
    (run_dir / "checkpoints" / "manifest.jsonl").write_bytes(line)
    add(run_dir, 5)
    assert [row.step for row in read_manifest(run_dir)] == [5]


def test_newest_whole_checkpoint_is_found(run_dir: Path) -> None:
    add(run_dir, 1)
    add(run_dir, 2)
    point, problems = find_resume_point(run_dir)
    assert point is not None
    assert (point.row.step, problems) == (2, [])


def test_flipped_bit_falls_back_to_the_one_before_and_says_so(run_dir: Path) -> None:
    add(run_dir, 1)
    newest = add(run_dir, 2)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    point, problems = find_resume_point(run_dir)
    assert point is not None
    assert point.row.step == 1
    assert problems == [
        "checkpoints/step-00000002-0001.pt cannot be used: its bytes have changed (sha256 differs)"
    ]


def test_truncated_file_falls_back(run_dir: Path) -> None:
    add(run_dir, 1)
    newest = add(run_dir, 2)
    newest.write_bytes(newest.read_bytes()[:-5])
    point, problems = find_resume_point(run_dir)
    assert point is not None
    assert point.row.step == 1
    assert "expected" in problems[0]


def test_checkpoints_that_cannot_be_read_do_not_make_a_run_start_over(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that is away for a moment is no reason to train from the beginning."""
    add(run_dir, 1)
    add(run_dir, 2)
    digest, fails = hashlib.file_digest, 1

    def away(*arguments: Any) -> Any:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", away)
    point, problems = find_resume_point(run_dir)
    assert point is not None
    assert point.row.step == 1
    told = "checkpoints/step-00000002-0001.pt cannot be used: Input/output error"
    assert problems == [told]
    fails = 2
    with pytest.raises(CheckpointError, match=f"{told}; .*move checkpoints/ away to start over"):
        find_resume_point(run_dir)


def test_manifest_that_cannot_be_read_is_not_taken_for_none(run_dir: Path) -> None:
    RunPaths(run_dir).manifest.mkdir()
    with pytest.raises(OSError, match=r"not a regular file: .*manifest\.jsonl"):
        find_resume_point(run_dir)


def test_pruned_files_are_no_problem(run_dir: Path) -> None:
    add(run_dir, 1)
    add(run_dir, 2).unlink()
    point, problems = find_resume_point(run_dir)
    assert point is not None
    assert (point.row.step, problems) == (1, [])


def test_file_without_a_row_was_never_completed(run_dir: Path) -> None:
    add(run_dir, 1)
    (run_dir / "checkpoints" / "step-00000009-0001.pt").write_bytes(b"half")
    point, _ = find_resume_point(run_dir)
    assert point is not None
    assert point.row.step == 1


def test_what_began_behind_a_checkpoint_is_cut_at_its_first_byte(run_dir: Path) -> None:
    for name in (
        "events-0001.jsonl",
        "exec-0001.jsonl",
        "metrics-0001.jsonl",
        "metrics-0001.1.jsonl",
        "metrics-0001.2.jsonl",
        "epochs-0001.jsonl",
        "system-0001.jsonl",
        "metrics-0002.jsonl",
        "events-0002.jsonl",
        "exec-0002.jsonl",
        "metrics.rank1-0001.jsonl",
        "metrics.rank1-0001.1.jsonl",
    ):
        (run_dir / name).write_bytes(b"{}\n")
    add(run_dir, 4, cuts={"metrics-0001.1.jsonl": 44, "metrics.rank1-0001.jsonl": 5})
    (row,) = read_manifest(run_dir)
    assert cuts_behind(run_dir, row) == {
        # An earlier part is whole; the open one ends where it was; the later ones go.
        "metrics-0001.1.jsonl": 44,
        "metrics-0001.2.jsonl": 0,
        "epochs-0001.jsonl": 0,
        "metrics-0002.jsonl": 0,
        "metrics.rank1-0001.jsonl": 5,
        "metrics.rank1-0001.1.jsonl": 0,
    }


def test_earlier_attempts_stay_as_they_were_cut_then(run_dir: Path) -> None:
    (run_dir / "metrics-0001.jsonl").write_bytes(b"{}\n")
    (run_dir / "metrics-0002.jsonl").write_bytes(b"{}\n")
    add(run_dir, 9, attempt=2, cuts={"metrics-0002.jsonl": 3})
    (row,) = read_manifest(run_dir)
    assert cuts_behind(run_dir, row) == {"metrics-0002.jsonl": 3}


def test_last_ones_and_the_newest_best_one_are_kept(run_dir: Path) -> None:
    for step in range(1, 7):
        add(run_dir, step, **({"best": True} if step in (1, 3) else {}))
    gone = files_to_prune(read_manifest(run_dir), keep_last=2)
    assert [int(name[5:13]) for name in gone] == [1, 2, 4]


def test_rows_are_json_lines_for_anybody(run_dir: Path) -> None:
    add(run_dir, 1)
    lines = (run_dir / "checkpoints" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


def test_only_checkpoints_that_no_row_names_are_left_over(run_dir: Path) -> None:
    add(run_dir, 1)
    for name in ("step-00000001-0001.1.pt", "step-00000002-0001.pt", "best.pt", "step-mine.pt"):
        (run_dir / "checkpoints" / name).write_bytes(b"whole")
    assert files_without_row(run_dir) == ["step-00000001-0001.1.pt", "step-00000002-0001.pt"]


def test_nothing_is_left_over_while_the_manifest_cannot_be_read(run_dir: Path) -> None:
    add(run_dir, 1)
    (run_dir / "checkpoints" / "manifest.jsonl").unlink()
    assert files_without_row(run_dir) == []


def test_row_that_a_full_disk_takes_half_of_is_taken_back(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended run's manifest is strictly valid JSON lines too."""
    add(run_dir, 1)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            add(run_dir, 2)
    add(run_dir, 3)
    lines = (run_dir / "checkpoints" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]
