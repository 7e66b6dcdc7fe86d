"""Run directories as they are found: damaged, odd, foreign, copied, newer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import runstore
from runstore.environment.process import current_process
from runstore.errors import FormatError
from runstore.files.cursor import ZERO_RETRIES
from runstore.files.paths import Stream
from runstore.files.records import encode
from runstore.runs.summary import full_summary
from runstore.sources.native import NativeReader
from runstore.sources.plain import open_run as plain_run
from runstore.sources.reading import RunReader
from runstore.state.liveness import Liveness
from runstore.state.pieces import Best
from runstore.state.status import Status
from runstore.writer.writer import RunWriter


def read(reader: RunReader) -> RunReader:
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of 1,000 rows and 3 epochs."""
    path = tmp_path / "run"
    path.mkdir()
    writer = RunWriter(path, 1)
    for step in range(1, 1001):
        writer.append("metrics", {"step": step, "time": writer.clock(), "a": float(step)})
    for epoch in (1, 2, 3):
        writer.append("epochs", {"epoch": epoch, "step": epoch * 300, "val/loss": 1.0 / epoch})
    writer.end({"status": "finished"})
    return path


def test_glance_and_full_reading_agree_on_the_latest(run_dir: Path) -> None:
    glanced = NativeReader(run_dir)
    glanced.glance()
    state = read(NativeReader(run_dir)).state
    assert glanced.state.last == state.last == {"a": 1000.0, "val/loss": 1 / 3}
    assert glanced.state.status == state.status == Status("finished")
    assert glanced.state.best == state.best
    assert glanced.state.step == state.step == 1000
    assert "a" not in glanced.state.series
    assert state.row_count == 1000


def test_glance_then_following_has_every_row(run_dir: Path) -> None:
    reader = NativeReader(run_dir)
    reader.glance()
    read(reader)
    assert reader.state.row_count == 1000
    assert [piece.count for piece in reader.state.series["a"]] == [1000]


def test_glance_of_a_long_live_run_knows_its_process(tmp_path: Path) -> None:
    """Its events take more than a glance reads."""
    writer = RunWriter(tmp_path, 1)
    for epoch in range(2000):
        writer.event("epoch_start", {"epoch": epoch, "epochs": 5000})
    reader = NativeReader(tmp_path)
    reader.glance()
    status = reader.state.status
    epoch_seen = reader.state.attempts[1].epoch
    writer.end({"status": "finished"})
    assert (tmp_path / "events-0001.jsonl").stat().st_size > 100_000
    assert status == Status("running", f"process {os.getpid()}")
    assert epoch_seen == 1999


def test_garbage_in_the_middle_is_counted_with_its_place(run_dir: Path) -> None:
    path = run_dir / "metrics-0001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[499] = b'{"step":500,"a":\n'
    lines[599] = b"\0" * 40 + b"\n"
    lines[699] = b'{"step":1}{"step":2}\n'
    path.write_bytes(b"".join(lines))
    data = runstore.load(run_dir)
    assert [bad.place for bad in data.state.bad_lines] == [
        "metrics-0001.jsonl:500", "metrics-0001.jsonl:600", "metrics-0001.jsonl:700",
    ]  # fmt: skip
    assert data.state.row_count == len(data.metrics()) == 997
    assert data.state.last["a"] == 1000.0


def test_torn_last_line_is_no_bad_line(run_dir: Path) -> None:
    reader = read(NativeReader(run_dir))
    with (run_dir / "metrics-0001.jsonl").open("ab") as file:
        file.write(b'{"step":1001,"a":')
    read(reader)
    assert (reader.state.row_count, reader.state.bad_line_count) == (1000, 0)
    with (run_dir / "metrics-0001.jsonl").open("ab") as file:
        file.write(b"1001.0}\n")
    read(reader)
    assert reader.state.last["a"] == 1001.0


TORN = "metrics-0001.jsonl:1001: the last line is torn"


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted", None])
def test_torn_last_line_of_a_run_that_is_over_is_told_with_its_place(
    run_dir: Path, status: str | None
) -> None:
    """None: it crashed."""
    events = run_dir / "events-0001.jsonl"
    gone = {**current_process().to_record(), "pid": 2**22 + 1}
    ends = [] if status is None else [{"event": "end", "status": status}]
    events.write_bytes(
        lines({"event": "open", "inode": events.stat().st_ino, **gone}, *ends),
    )
    glanced, reader = NativeReader(run_dir), NativeReader(run_dir)
    glanced.glance()
    assert read(reader).state.warnings == glanced.state.warnings == []
    with (run_dir / "metrics-0001.jsonl").open("ab") as file:
        file.write(b'{"step":1001,"a":')
    assert reader.poll()
    assert glanced.glance()
    assert reader.state.status.word == (status or "crashed")
    assert reader.state.warnings == [TORN]
    assert [torn.line for torn in glanced.state.torn_lines] == [0]
    (bad,) = full_summary(reader.state)["bad_lines"]
    assert (bad["place"], bad["reason"]) == tuple(TORN.split(": "))
    with (run_dir / "metrics-0001.jsonl").open("ab") as file:
        file.write(b"1001.0}\n")
    reader.poll()
    assert reader.state.warnings == []


def test_half_line_of_a_live_run_is_being_written(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1)
    (tmp_path / "metrics-0001.jsonl").write_bytes(b'{"step":1,"a":')
    state = read(NativeReader(tmp_path)).state
    alive = (state.status.word, state.warnings, full_summary(state)["bad_lines"])
    writer.end({"status": "finished"})
    assert alive == ("running", [], [])


def test_half_line_that_a_later_attempt_cut_off_is_not_told(run_dir: Path) -> None:
    path = run_dir / "metrics-0001.jsonl"
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + b'{"step":1001,"a":')
    opened = {"event": "open", "cuts": {path.name: whole}}
    (run_dir / "events-0002.jsonl").write_bytes(
        lines(opened, {"event": "end", "status": "finished"})
    )
    assert read(NativeReader(run_dir)).state.warnings == []


def test_torn_plain_file_is_told_until_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":1,"loss":2}\n{"step":2,"lo')
    reader = plain_run(tmp_path)
    reader.poll()
    assert reader.state.warnings == ["m.jsonl:2: the last line is torn"]
    with path.open("a") as file:
        file.write('ss":1}\n{"step":3')
    reader.poll()
    assert reader.state.status.word == "running"
    assert reader.state.warnings == []


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink"])
def test_stream_that_is_no_file_is_a_problem_of_the_run(run_dir: Path, kind: str) -> None:
    path = run_dir / "metrics-0001.jsonl"
    path.rename(run_dir / "aside")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(run_dir / "aside")
    state = read(NativeReader(run_dir)).state
    assert "not a regular file" in state.problems["metrics-0001.jsonl"]
    assert state.status.word == "finished"
    assert any("metrics-0001.jsonl: " in warning for warning in state.warnings)


def test_problem_that_went_away_is_forgotten(run_dir: Path) -> None:
    os.mkfifo(run_dir / "metrics-0002.jsonl")
    reader = read(NativeReader(run_dir))
    (run_dir / "metrics-0002.jsonl").unlink()
    reader.poll()
    assert reader.state.problems == {}


@pytest.mark.parametrize("name", ["run.json", "progress.json"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "empty", "garbage", "deep", "list"])
def test_odd_document_does_not_stop_the_reader(run_dir: Path, name: str, kind: str) -> None:
    path = run_dir / name
    path.unlink(missing_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "empty":
            path.touch()
        case "garbage":
            path.write_bytes(b"\xff\xfe{")
        case "deep":
            path.write_bytes(b'{"a":' * 5000)
        case "list":
            path.write_bytes(b"[1,2]")
    state = read(NativeReader(run_dir)).state
    assert state.status.word == "finished"
    assert state.params == {}
    assert (name in state.problems) is (kind != "empty")


def test_half_a_heartbeat_leaves_what_the_last_one_said(run_dir: Path) -> None:
    """On a full disk it is rewritten in place."""
    document = lines({"attempt": 2, "beat": 1, "step": 7, "degraded": True})
    (run_dir / "progress.json").write_bytes(document)
    reader = read(NativeReader(run_dir))
    before = reader.state.progress
    assert before is not None
    assert (before.step, before.degraded) == (7, "the disk takes no rows")
    (run_dir / "progress.json").write_bytes(document[:20])
    reader.poll()
    assert reader.state.progress == before
    (run_dir / "progress.json").write_bytes(document + b"   ")
    reader.poll()
    assert reader.state.progress == before
    assert reader.state.problems == {}


@pytest.mark.parametrize("rows", [b"", b'{"step":1,"a":1.0}\n'], ids=["alone", "beside rows"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "run.json is not JSON: "),
        (b"\xff", "run.json is not JSON: "),
        (b"[1]", "run.json is a JSON list, expected an object"),
        (b"", "run.json is empty"),
        (b"{}", "run.json is empty"),
    ],
)
def test_broken_document_is_the_reason_when_it_is_all_there_is(
    tmp_path: Path, content: bytes, reason: str, rows: bytes
) -> None:
    (tmp_path / "run.json").write_bytes(content)
    if rows:
        (tmp_path / "metrics-0001.jsonl").write_bytes(rows)
    status = read(NativeReader(tmp_path)).state.status
    assert status.word == "unknown"
    assert status.reason.startswith(reason)


def test_document_that_is_no_file_is_the_reason_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    status = read(NativeReader(tmp_path)).state.status
    assert status == Status("unknown", "run.json is not a regular file")


def test_vanished_directory_is_said_and_may_come_back(run_dir: Path) -> None:
    reader = read(NativeReader(run_dir))
    run_dir.rename(run_dir.with_name("moved"))
    reader.poll()
    assert reader.state.status == Status("unknown", "the directory is gone")
    run_dir.with_name("moved").rename(run_dir)
    reader.poll()
    assert reader.state.status.word == "finished"


def test_document_of_a_newer_format_is_refused(run_dir: Path) -> None:
    (run_dir / "run.json").write_text('{"format":2,"params":{}}')
    with pytest.raises(FormatError, match=r"run\.json: written in format 2, .* reads up to 1"):
        runstore.load(run_dir)
    reader = NativeReader(run_dir)
    reader.glance()
    assert reader.state.status.word == "unknown"
    assert "pip install -U runstore" in reader.state.status.reason


def test_attempt_of_a_newer_format_is_refused(run_dir: Path) -> None:
    """A newer version went on with a run that an older one began."""
    (run_dir / "events-0002.jsonl").write_bytes(encode({"event": "open", "format": 2}))
    with pytest.raises(FormatError, match=r"events-0002\.jsonl: written in format 2"):
        runstore.load(run_dir)


def test_unknown_events_keys_and_files_are_ignored(run_dir: Path) -> None:
    (run_dir / "metrics-0001.jsonl.Xq81").write_bytes(b"torn")
    (run_dir / "traces-0001.jsonl").write_bytes(b"{}\n")
    (run_dir / "run.json").write_text('{"format":1,"colour":"red","params":{"lr":1}}')
    with (run_dir / "events-0001.jsonl").open("ab") as file:
        file.write(b'{"event":"eclipse","moon":1}\n')
    state = read(NativeReader(run_dir)).state
    assert (state.row_count, state.bad_line_count, state.params) == (1000, 0, {"lr": 1})


def test_other_ranks_do_not_mix_with_the_first(run_dir: Path) -> None:
    (run_dir / "metrics.rank3-0001.jsonl").write_bytes(b'{"step":9999,"a":-1.0}\n')
    assert read(NativeReader(run_dir)).state.last["a"] == 1000.0


def test_replaced_file_is_read_anew(run_dir: Path) -> None:
    reader = read(NativeReader(run_dir))
    (run_dir / "metrics-0001.jsonl").write_bytes(b'{"step":1,"a":-1.0}\n')
    read(reader)
    assert reader.state.last["a"] == -1.0
    assert reader.state.row_count == 1


# ---- plain JSON lines ----------------------------------------------------------------------------


def test_echoed_rows_are_a_run_that_runs_while_rows_arrive(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1,"loss":2}\n')
    reader = plain_run(tmp_path)
    reader.glance()
    assert reader.state.status == Status("unknown", "plain JSON lines, no process on record")
    assert reader.state.last == {"loss": 2.0}
    with path.open("a") as file:
        file.write('{"step":2,"loss":1.5}\n')
    reader.poll()
    assert reader.state.status == Status("running", "rows arrive")
    assert reader.state.last == {"loss": 1.5}
    assert reader.state.row_count == 2


def test_plain_file_that_does_not_grow_has_no_rows_arriving(tmp_path: Path) -> None:
    """Neither when zeros were waited for, nor while a long file is read in pieces."""
    zeros, long = tmp_path / "zeros", tmp_path / "long"
    zeros.mkdir()
    long.mkdir()
    (zeros / "m.jsonl").write_bytes(b'{"step":1,"loss":2}\n\0\0\0\n{"step":3,"loss":1}\n')
    (long / "m.jsonl").write_bytes(b"".join(b'{"step":%d,"loss":2}\n' % n for n in range(100)))
    words = set()
    for reader in (plain_run(zeros), plain_run(long)):
        reader.glance()
        for _ in range(ZERO_RETRIES + 30):
            reader.poll(100)
            words.add(reader.state.status.word)
        assert reader.state.row_count in (2, 100)
        assert not reader.behind
    assert words == {"unknown"}


def test_plain_rows_without_steps_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("".join(f'{{"loss":{n}}}\n' for n in range(5)))
    state = read(plain_run(tmp_path)).state
    (curve,) = state.series["loss"]
    assert curve.x_range == (1.0, 5.0)


def test_several_plain_files_keep_apart_and_epochs_are_known(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"step":1,"a":1.0}\n')
    (tmp_path / "val.jsonl").write_text('{"step":1,"b":2.0}\nnonsense\n')
    (tmp_path / "epochs.jsonl").write_text('{"epoch":1,"val/loss":0.5}\n')
    reader = read(plain_run(tmp_path))
    assert reader.state.last == {"train/a": 1.0, "val/b": 2.0, "val/loss": 0.5}
    assert [bad.place for bad in reader.state.bad_lines] == ["val.jsonl:2"]
    assert len(reader.state.epoch_rows) == 1
    (tmp_path / "val.jsonl").unlink()
    reader.poll()
    assert reader.state.last == {"train/a": 1.0, "val/loss": 0.5}
    assert reader.state.bad_line_count == 0


def test_row_that_is_no_json_keeps_its_time_and_its_words(tmp_path: Path) -> None:
    """`json.dumps` writes NaN, which is printed as `null` with a note."""
    (tmp_path / "m.jsonl").write_text('{"step":1,"time":1795206504.5,"loss":NaN}\n')
    (line,) = plain_run(tmp_path, patient=False).rows("metrics")
    expected = {"step": 1, "time": 1795206504.5, "loss": None, "_nonfinite": {"loss": "nan"}}
    assert line.row == json.loads(line.line) == expected


def test_rows_of_a_plain_directory_are_those_of_its_files(tmp_path: Path) -> None:
    values = [{"step": n, "loss": n / 2} for n in range(10)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values))
    assert runstore.load(tmp_path).metrics() == values


def lines(*records: Mapping[str, object]) -> bytes:
    return b"".join(map(encode, records))


def test_glance_of_many_epochs_knows_the_best_one_and_keeps_only_the_newest(tmp_path: Path) -> None:
    epochs = [
        {"epoch": n, "step": n, "time": float(n), "val/loss": 0.1 if n == 20 else float(n)}
        for n in range(1, 3001)
    ]
    (tmp_path / "run.json").write_text('{"format":1}')
    (tmp_path / "epochs-0001.jsonl").write_bytes(lines(*epochs))
    reader = NativeReader(tmp_path)
    reader.glance()
    assert reader.state.best == Best(20, "val/loss", 0.1)
    assert [row["epoch"] for row in reader.state.epoch_rows] == [3000]
    read(reader)
    assert reader.state.best == Best(20, "val/loss", 0.1)
    assert len(reader.state.epoch_rows) == 3000


def test_run_tells_its_best_epoch_where_a_glance_passes_it_over(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format":1,"best":"val/acc:max"}')
    (tmp_path / "events-0001.jsonl").write_bytes(lines({"event": "open", "time": 1.0}))
    (tmp_path / "progress.json").write_bytes(
        lines({"attempt": 1, "best": {"epoch": 7, "metric": "val/acc", "value": 0.9}})
    )
    reader = NativeReader(tmp_path)
    reader.glance()
    assert reader.state.best == Best(7, "val/acc", 0.9)
    (tmp_path / "events-0001.jsonl").write_bytes(
        lines(
            {"event": "open", "time": 1.0},
            {"event": "end", "status": "finished", "best": {"epoch": 8, "val/acc": 0.95}},
        )
    )
    reader.glance()
    assert reader.state.best == Best(8, "val/acc", 0.95)


def resumed_silently(path: Path, *, cuts: dict[str, int] | None = None) -> None:
    """Attempt 1 has steps 1 to 500; attempt 2 goes on from 201 to 900 without naming cuts."""
    (path / "run.json").write_text('{"format":1}')
    opened = [{"event": "open", "attempt": n, "time": n * 1e3} for n in (1, 2)]
    for number, event in enumerate(opened, 1):
        (path / f"events-000{number}.jsonl").write_bytes(lines(event))
    for number, steps in ((1, range(1, 501)), (2, range(201, 901))):
        rows = [{"step": s, "time": number * 1e3 + s, "train/loss": 1.0 * s} for s in steps]
        (path / f"metrics-000{number}.jsonl").write_bytes(lines(*rows))
    for number, ends in ((1, range(1, 6)), (2, range(3, 10))):
        rows = [{"epoch": e, "step": e * 100, "val/loss": 1.0 / e / number} for e in ends]
        (path / f"epochs-000{number}.jsonl").write_bytes(lines(*rows))
    if cuts is not None:
        (path / "events-0003.jsonl").write_bytes(lines({"event": "open", "cuts": cuts}))


def test_glance_knows_from_which_step_a_later_attempt_hides_rows(tmp_path: Path) -> None:
    resumed_silently(tmp_path)
    glanced, full = NativeReader(tmp_path), NativeReader(tmp_path)
    glanced.glance()
    read(full)
    assert glanced.state.hidden_from(1) == full.state.hidden_from(1) == 201
    assert glanced.state.best == full.state.best
    assert glanced.state.warnings == full.state.warnings != []


def test_rows_and_state_agree_when_a_silent_attempt_is_cut_itself(tmp_path: Path) -> None:
    resumed_silently(tmp_path, cuts={"metrics-0002.jsonl": 0, "epochs-0002.jsonl": 0})
    state = read(NativeReader(tmp_path)).state
    rows = [line for line in NativeReader(tmp_path).rows("metrics") if not line.superseded]
    assert len(rows) == state.row_count == 500


def test_end_written_while_the_process_is_looked_for_is_no_crash(tmp_path: Path) -> None:
    def late_end() -> float:
        with events.open("ab") as file:
            file.write(lines({"event": "end", "status": "finished", "reason": ""}))
        return 0.0

    gone = {**current_process().to_record(), "pid": 2**22 + 1}
    events = tmp_path / "events-0001.jsonl"
    events.touch()
    events.write_bytes(lines({"event": "open", "inode": events.stat().st_ino, **gone}))
    (tmp_path / "progress.json").write_bytes(lines({"attempt": 1, "beat": 1}))
    reader = NativeReader(tmp_path)
    reader._liveness = Liveness(late_end)
    reader.glance()
    assert reader.state.status.word == "crashed"
    # The clock is asked when a beat came: after the events were read, before the process.
    (tmp_path / "progress.json").write_bytes(lines({"attempt": 1, "beat": 2}))
    reader.glance()
    assert reader.state.status == Status("finished")


def test_large_parameters_are_read(tmp_path: Path) -> None:
    params = {"files": [f"shard-{n:06d}.tar" for n in range(80_000)]}
    with runstore.init(params, root=tmp_path) as run:
        pass
    assert run.path.joinpath("run.json").stat().st_size > 1 << 20
    assert runstore.load(run.path).params == params


def test_resume_without_cuts_hides_neither_events_nor_system_rows(tmp_path: Path) -> None:
    """The rows that explain a crash lie behind its last checkpoint."""
    with runstore.init(root=tmp_path, system_interval_s=None) as run:
        for step in range(1, 10):
            run.log({"loss": 1.0}, step=step)
            run.write_row("system", {"memory/used_gib": float(step)})
    with runstore.init(root=tmp_path, resume=run.path, system_interval_s=None) as again:
        again.log({"loss": 0.5}, step=4)
    reader = NativeReader(run.path, patient=False)

    def hidden(stream: Stream) -> int:
        return sum(line.superseded for line in reader.rows(stream))

    assert (hidden("metrics"), hidden("system"), hidden("events")) == (6, 0, 0)
