"""output.log: prompt, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runstore.exec.output_log import OutputLog


def test_text_is_in_the_file_after_a_write(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    log.put(b"one\n")
    log.write()
    log.put(b"two\n")
    log.write()
    assert (tmp_path / "output.log").read_bytes() == b"one\ntwo\n"


def test_later_attempt_goes_on_behind_a_line_that_was_torn(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_bytes(b"one\ntor")
    log = OutputLog(tmp_path)
    log.put(b"two\n")
    log.write()
    assert (tmp_path / "output.log").read_bytes() == b"one\ntor\ntwo\n"


def test_first_and_newest_parts_stay_and_the_gap_is_told(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, part_bytes=100)
    for number in range(100):
        log.put(f"line {number:04}\n".encode())
        log.write()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4
    assert (tmp_path / "output.1.log").read_text().startswith("line 0000\n")
    assert (tmp_path / "output.log").read_text().endswith("line 0099\n")
    newest = (tmp_path / "output.log").read_text()
    assert newest.startswith("[runstore: between output.1.log and ")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500


def test_what_memory_does_not_hold_is_counted_and_told_where_it_is_missing(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, waiting_bytes=100)
    log.put(b"a" * 90 + b"\n")
    log.put(b"b" * 90 + b"\n")
    log.put(b"c" * 90 + b"\n")
    log.write()
    log.put(b"d\n")
    log.write()
    lines = (tmp_path / "output.log").read_text().splitlines()
    assert lines[0] == "a" * 90
    assert "182 bytes are left out here" in lines[1]
    assert lines[2] == "d"
    assert log.lost_bytes == 182


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_full_disk_is_told_and_does_not_raise(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    log.put(b"one\n")
    log.write()
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._fd)
    log.put(b"two\n")
    log.write()
    assert log.failing == "No space left on device"
    log.close()
    log.write()
    assert (tmp_path / "output.log").read_bytes() == b"one\ntwo\n"


def test_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    (tmp_path / "output.log").symlink_to(tmp_path / "other")
    log = OutputLog(tmp_path)
    log.put(b"one\n")
    log.write()
    assert (tmp_path / "other").read_text() == ""
    assert log.failing
