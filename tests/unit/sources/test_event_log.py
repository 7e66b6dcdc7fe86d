"""Event files that grow, are torn, replaced, damaged or hostile; and what a glance sees."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from runstore.files.cursor import AT_REST_S, ZERO_RETRIES
from runstore.sources.event_log import EventLog
from runstore.sources.log_files import Batch
from runstore.sources.tensorboard import open_run
from runstore.state.status import Status
from tests import event_files
from tests.event_files import (
    BEGUN,
    NAME,
    read,
    read_on,
    rows,
    scalar,
    session_start,
    tensor,
    version,
    without_time,
    write_events,
)

# ---- files that grow -----------------------------------------------------------------------------


def test_only_new_bytes_are_read_while_the_writer_goes_on(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    for step in range(500):
        writer.add_scalar("loss", step, step)
    writer.flush()
    (path,) = tmp_path.iterdir()
    log = EventLog(path, path.name, "", True)
    first = log.poll()
    assert first.size_bytes == path.stat().st_size
    writer.add_scalar("loss", 7.0, 500)
    writer.flush()
    second = log.poll()
    assert (first.size_bytes + second.size_bytes, second.size_bytes < 100) == (log.size, True)
    assert [found.row["loss"] for found in second.rows] == [7.0]
    writer.close()


def test_run_that_is_being_written_runs(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    writer.add_scalar("loss", 1.0, 1)
    writer.flush()
    reader = read(tmp_path, patient=True)
    assert reader.state.status.word == "unknown"
    writer.add_scalar("loss", 0.5, 2)
    writer.flush()
    reader.poll()
    assert reader.state.status == Status("running", "rows arrive")
    assert reader.state.last == {"loss": 0.5}
    writer.close()


EVENTS = [version(), tensor(1, "a", 0.5), scalar(1, "b", 1.0), event_files.image(1, 300)]
EVENTS += [scalar(step, tag, step / 3) for step in (2, 3, 200, 201) for tag in "ab"]
EVENTS += [tensor(202, "a", 0.25, None), scalar(202, "b", 2.0), scalar(202, "b", 3.0)]


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(1, 400), max_size=12), budget=st.integers(1, 300))
def test_state_does_not_depend_on_where_the_file_was_cut_while_it_grew(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], budget: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    data = event_files.as_bytes(EVENTS, directory / "aside")
    (directory / "aside").unlink()
    path = directory / NAME
    reader, at = open_run(directory), 0
    for size in [*cuts, len(data)]:
        with path.open("ab") as file:
            file.write(data[at : at + size])
        at = min(len(data), at + size)
        read_on(reader, budget)
    whole = read(directory).state
    assert reader.state.last == whole.last == {"a": 0.25, "b": 3.0}
    assert reader.state.bad_line_count == 0
    assert [piece.last for piece in reader.state.series["a"]] == [(202.0, 0.25)]
    assert without_time(rows(directory))[-1] == {"step": 202, "a": 0.25, "b": 3.0}
    assert not any("hidden" in warning for warning in reader.state.warnings)


@pytest.mark.parametrize("size", range(0, 400, 3))
def test_torn_end_is_told_and_what_is_whole_is_read(tmp_path: Path, size: int) -> None:
    path, begins = hundred(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    state = read(tmp_path).state
    whole = [begin for begin in begins if begin <= size]
    assert state.row_count == max(0, len(whole) - 2)
    assert state.bad_line_count == 0
    assert bool(state.torn_lines) is (size not in whole)


def boundaries(data: bytes) -> set[int]:
    at, found = 0, {0}
    while at < len(data):
        at += 16 + int.from_bytes(data[at : at + 8], "little")
        found.add(at)
    return found


def test_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = write_events(tmp_path / NAME, [version(), *(scalar(n, "a", n) for n in range(100))])
    reader = read(tmp_path)
    write_events(path, [version(), *(scalar(n, "a", -n) for n in range(1, 4))], "wb")
    read_on(reader)
    assert (reader.state.last, reader.state.row_count) == ({"a": -3.0}, 3)


def test_file_of_a_restart_that_comes_later_takes_over_at_its_step(tmp_path: Path) -> None:
    write_events(
        tmp_path / NAME, [version(), *(scalar(n, tag, n) for n in range(10) for tag in "ab")]
    )
    reader = read(tmp_path)
    later = write_events(tmp_path / NAME.replace("179", "180"), [version(), scalar(5, "a", 50.0)])
    read_on(reader)
    counts = {key: [piece.count for piece in found] for key, found in reader.state.series.items()}
    assert counts == {"a": [5, 1], "b": [10]}
    later.unlink()
    read_on(reader)
    counts = {key: [piece.count for piece in found] for key, found in reader.state.series.items()}
    assert counts == {"a": [10], "b": [10]}


def test_session_that_starts_at_a_step_voids_every_metric_from_there(tmp_path: Path) -> None:
    """In one file, as TensorFlow 1 does; a start that voids nothing is no news."""
    begun = [version(), session_start(0)]
    steps = [scalar(n, tag, n) for n in range(1, 10) for tag in "ab"]
    write_events(tmp_path / NAME, [*begun, *steps])
    assert not read(tmp_path).state.warnings
    write_events(tmp_path / NAME, [session_start(4), scalar(4, "a", 40.0)])
    expected = [
        *({"step": n, "a": float(n), "b": float(n)} for n in range(1, 4)),
        {"step": 4, "a": 40.0},
    ]
    assert without_time(rows(tmp_path)) == expected
    state = read(tmp_path).state
    assert [piece.count for piece in state.series["b"]] == [3]


# ---- damage and hostile files --------------------------------------------------------------------


def damaged(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def hundred(tmp_path: Path) -> tuple[Path, list[int]]:
    """A file of 100 scalars, and where its records begin."""
    events = [version(), *(scalar(n, "a", n) for n in range(1, 101))]
    path = write_events(tmp_path / NAME, events)
    return path, sorted(boundaries(path.read_bytes()))


def test_what_is_no_record_is_placed_and_the_rest_is_read(tmp_path: Path) -> None:
    path, begins = hundred(tmp_path)
    damaged(path, begins[50], b"\xff" * 8)
    state = read(tmp_path).state
    assert [bad.place for bad in state.bad_lines] == [f"{NAME}@{begins[50]}"]
    assert (state.row_count, state.last) == (99, {"a": 100.0})


def test_garbage_between_records_loses_nothing_else(tmp_path: Path) -> None:
    path, begins = hundred(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: begins[50]] + os.urandom(5000) + data[begins[50] :])
    state = read(tmp_path, 1000).state
    assert (state.row_count, state.bad_line_count) == (100, 1)


def test_flipped_bit_in_a_name_is_found_by_its_checksum(tmp_path: Path) -> None:
    path, begins = hundred(tmp_path)
    at = path.read_bytes().index(b"a\x15", begins[50])
    damaged(path, at, b"b")
    state = read(tmp_path).state
    assert (set(state.last), state.bad_line_count) == ({"a"}, 1)


@pytest.mark.parametrize("is_patient", [True, False])
def test_zeros_in_a_file_that_was_written_lately_are_waited_for(
    tmp_path: Path, is_patient: bool
) -> None:
    path, begins = hundred(tmp_path)
    data = path.read_bytes()
    damaged(path, begins[50] + 20, bytes(len(data) - begins[50] - 20))
    reader = read(tmp_path, patient=is_patient)
    assert (reader.state.row_count, reader.state.bad_line_count) == (49, 0 if is_patient else 1)
    path.write_bytes(data)
    read_on(reader)
    if is_patient:
        assert (reader.state.row_count, reader.state.bad_line_count) == (100, 0)


def test_zeros_in_a_file_at_rest_are_damage(tmp_path: Path) -> None:
    path, begins = hundred(tmp_path)
    damaged(path, begins[50], bytes(begins[60] - begins[50]))
    long_ago = time.time() - 2 * AT_REST_S
    os.utime(path, (long_ago, long_ago))
    state = read(tmp_path, patient=True).state
    assert (state.row_count, state.bad_line_count) == (90, 1)


def test_zeros_that_stay_are_damage_in_the_end(tmp_path: Path) -> None:
    path, begins = hundred(tmp_path)
    damaged(path, begins[50], bytes(begins[60] - begins[50]))
    reader = open_run(tmp_path)
    for _ in range(ZERO_RETRIES + 2):
        reader.poll()
    assert (reader.state.row_count, reader.state.bad_line_count) == (90, 1)


def test_images_are_not_read_however_large(tmp_path: Path) -> None:
    """A sparse file: reading its gigabytes would take longer than the test may."""
    path = write_events(tmp_path / NAME, [version(), scalar(1, "a", 1.0)])
    image = event_files.image(2, 100_000).SerializeToString()
    header = sparse_header(image, 40 << 30)
    with path.open("ab") as file:
        at = file.tell()
        file.write(header + image[:5000])
        file.truncate(at + 12 + (40 << 30) + 4)
    write_events(path, [scalar(3, "a", 3.0)])
    log = EventLog(path, path.name, "", False)
    found, more = Batch(), True
    while more:
        batch = log.poll(4096)
        found.rows += batch.each_row()
        more = batch.more
    assert [(row.number, row.row.get("a")) for row in found.rows] == [(1, None), (2, 1.0), (4, 3.0)]


def sparse_header(payload: bytes, length: int) -> bytes:

    size = length.to_bytes(8, "little")
    assert payload
    return size + int(masked_crc32c(size)).to_bytes(4, "little")


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "secret", "empty", "zeros", "text"])
def test_anything_under_the_name_of_an_event_file_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("/etc/hosts")
        case "secret":
            path.write_bytes(b"x")
            path.chmod(0)
            if os.access(path, os.R_OK):
                pytest.skip("root reads everything")
        case "empty":
            path.touch()
        case "zeros":
            with path.open("wb") as file:
                file.truncate(40 << 30)
        case "text":
            path.write_text("no event file\n" * 100)
    state = read(tmp_path).state
    assert (state.last, state.status.word) == ({}, "unknown")
    assert bool(state.problems) is (kind in ("fifo", "directory", "link", "secret"))
    assert state.bad_line_count == (kind in ("zeros", "text"))


def test_nonsense_in_numbers_is_left_out(tmp_path: Path) -> None:
    """Times that are no moments, and steps below zero."""
    events = [scalar(n, "a", n) for n in (-5, 1, 2, 3)]
    for event, wall_time in zip(events, (math.nan, math.inf, -1.0, 1e300), strict=True):
        event.wall_time = wall_time
    write_events(tmp_path / NAME, events)
    assert rows(tmp_path) == [{"step": n, "a": float(n)} for n in (-5, 1, 2, 3)]
    assert read(tmp_path).state.created is None


def test_record_that_is_no_event_is_counted_by_its_number(tmp_path: Path) -> None:

    path = write_events(tmp_path / NAME, [version(), scalar(1, "a", 1.0)])
    with path.open("ab") as file:
        RecordWriter(file).write(b"\xff" * 30)
    write_events(path, [scalar(2, "a", 2.0)])
    state = read(tmp_path).state
    assert [(bad.line, bad.reason[:18]) for bad in state.bad_lines] == [(3, "no protocol buffer")]
    assert state.row_count == 2


def test_more_tags_than_anybody_looks_at_are_bounded(tmp_path: Path) -> None:
    events = [scalar(1, f"tag{n}" + "x" * 3000 * (n == 0), 1.0) for n in range(5000)]
    write_events(tmp_path / NAME, [version(), *events])
    state = read(tmp_path).state
    assert 4000 < len(state.last) <= 4096
    assert max(map(len, state.last)) <= 1000
    assert any("beyond those that are kept" in warning for warning in state.warnings)


# ---- a glance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [scalar, tensor], ids=["simple values", "tensors"])
@pytest.mark.parametrize("count", [3, 150, 600, 5000])
def test_glance_and_poll_agree_on_the_latest(
    tmp_path: Path, make: Callable[..., Any], count: int
) -> None:
    events = [version()]
    for step in range(count):
        events.append(make(step, "train/loss", step / 2))
        if step % 50 == 0:
            events.append(make(step, "val/loss", step / 4))
    write_events(tmp_path / NAME, events)
    glanced, full = open_run(tmp_path), read(tmp_path)
    glanced.glance()
    assert glanced.state.last == full.state.last
    assert len(full.state.last) == 2
    assert glanced.state.step == full.state.step == count - 1
    assert glanced.state.created == full.state.created == BEGUN
    assert glanced.state.duration_s == full.state.duration_s
    write_events(tmp_path / NAME, [make(count, "train/loss", 7.0)])
    glanced.glance()
    assert (glanced.state.last["train/loss"], glanced.state.step) == (7.0, count)
    read_on(glanced)
    assert [piece.count for piece in glanced.state.series["train/loss"]] == [count + 1]


def test_glance_of_a_long_file_reads_little_of_it(tmp_path: Path) -> None:
    write_events(tmp_path / NAME, [version(), *(scalar(n, "a", n) for n in range(20_000))])
    path = tmp_path / NAME
    log = EventLog(path, path.name, "", False)
    batch = log.glance()
    # More than two where the lengths of such records are not known yet.
    assert len(batch.rows) < 100
    assert batch.size_bytes < 50_000 < path.stat().st_size
    assert batch.rows[-1].row == {"step": 19_999, "time": BEGUN + 19_999, "a": 19_999.0}


def test_glance_goes_on_behind_damage_near_the_end(tmp_path: Path) -> None:
    path = write_events(tmp_path / NAME, [version(), *(scalar(n, "loss", n) for n in range(2000))])
    data = bytearray(path.read_bytes())
    data[-600] ^= 0xFF
    path.write_bytes(data)
    glanced = open_run(tmp_path, patient=False)
    glanced.glance()
    assert (glanced.state.last, glanced.state.step) == ({"loss": 1999.0}, 1999)


def test_glance_behind_an_image_as_long_as_its_look_shows_what_was_before(tmp_path: Path) -> None:
    events = [
        version(),
        *(scalar(n, "a", n) for n in range(1000)),
        event_files.image(1000, 200_000),
    ]
    write_events(tmp_path / NAME, events)
    reader = open_run(tmp_path)
    reader.glance()
    assert reader.state.last == {"a": 999.0}


# ---- any bytes -----------------------------------------------------------------------------------


@settings(max_examples=150)
@given(data=st.data(), budget=st.integers(1, 2000))
def test_damage_anywhere_is_survived_and_what_was_before_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, budget: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    events = [version(), *(scalar(n, "a", n) for n in range(1, 31)), event_files.image(31, 20_000)]
    whole = event_files.as_bytes([*events, scalar(32, "a", 32)], directory / NAME)
    at = data.draw(st.integers(0, len(whole) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=200))
    (directory / NAME).write_bytes(whole[:at] + garbage + whole[at + len(garbage) :])
    state = read(directory, budget).state
    ends = sorted(boundaries(whole))[2:]
    assert state.row_count >= sum(end <= at for end in ends[:30])
    glanced = open_run(directory, patient=False)
    glanced.glance()
    assert glanced.state.status.word == "unknown"
