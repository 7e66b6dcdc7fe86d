"""What holds for the runs of any other tool, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from runstore.files.records import JsonObject, decode
from runstore.sources.csv_rows import open_run as csv_run
from runstore.sources.foreign import ForeignReader
from runstore.sources.layout import Opener, names_in
from runstore.sources.log_files import Batch, DocumentFile, ForeignRow, LineFile
from runstore.sources.plain import open_run as plain_run
from runstore.state.pieces import Best
from runstore.state.status import Status


class Clock:
    """A monotonic clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Searched(LineFile):
    """A file that is searched for the best epoch also where a glance passes lines over."""

    def glance(self, *args: object, **options: object) -> Batch:
        return super().glance(lambda start, end: Batch())


class Evaluations:
    """A layout of lines `epoch accuracy`, which also say what makes an epoch the best one."""

    NAME = "test"
    EVIDENCE = "nothing is known"
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        return {name: partial(self._open, directory / name) for name in names_in(directory)}

    def _open(self, path: Path, patient: bool) -> LineFile:
        return Searched(path, path.name, self._translate, patient=patient)

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        epoch, accuracy = line.split()
        row: JsonObject = {"epoch": int(epoch), "val/acc": float(accuracy)}
        batch.info["best"] = "val/acc:max"
        batch.rows.append(ForeignRow("epochs", row, number, len(line)))


def write(path: Path, count: int) -> None:
    path.write_bytes(b"".join(b"%d 0.5\n" % n for n in range(count)))


def test_run_of_which_no_file_can_be_read_says_so(tmp_path: Path) -> None:
    """Also root cannot read what is no file."""
    (tmp_path / "a.jsonl").symlink_to("elsewhere")
    reader = plain_run(tmp_path)
    reader.poll()
    reason = "cannot be read: a symbolic link, not a regular file"
    assert reader.state.status == Status("unknown", reason)
    (tmp_path / "b.jsonl").write_text('{"step":1}\n')
    reader.poll()
    assert reader.state.status == Status("running", "rows arrive")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "log.txt"
    path.parent.mkdir()
    write(path, 1)
    return path


def test_log_that_grows_runs_and_one_that_stops_stalls(log: Path) -> None:
    clock = Clock()
    reader = ForeignReader(log.parent, Evaluations(), pause_s=30.0, monotonic=clock)
    reader.poll()
    assert reader.state.status == Status("unknown", "nothing is known")
    write(log, 2)
    reader.poll()
    clock.now += 29
    reader.judge()
    assert reader.state.status == Status("running", "rows arrive")
    clock.now += 2
    reader.judge()
    assert reader.state.status == Status("stalled", "no row for 31 s")


def test_log_that_was_seen_to_pause_may_pause_again(log: Path) -> None:
    """Many loggers write once in a hundred steps, or with each checkpoint."""
    clock = Clock()
    reader = ForeignReader(log.parent, Evaluations(), pause_s=30.0, monotonic=clock)
    words = []
    for count in range(1, 5):
        write(log, count)
        reader.poll()
        clock.now += 100
        reader.judge()
        words.append(reader.state.status.word)
    assert words == ["unknown", "stalled", "running", "running"]
    clock.now += 201
    reader.judge()
    assert reader.state.status.word == "stalled"


def test_what_the_log_says_makes_an_epoch_the_best_counts_from_its_first_look(log: Path) -> None:
    """A glance keeps no epochs that it could judge again."""
    rows = [b"%d %.2f\n" % (n, 0.9 if n == 3 else 0.5) for n in range(5000)]
    log.write_bytes(b"".join(rows))
    reader = ForeignReader(log.parent, Evaluations())
    reader.glance()
    assert reader.state.best == Best(3, "val/acc", 0.9)


def test_second_value_at_a_step_replaces_the_first_and_is_no_news(tmp_path: Path) -> None:
    """An evaluation after the training logs at the step of the last one in it."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":1,"val/loss":3}\n{"step":2,"val/loss":2}\n{"step":2,"val/loss":1}\n')
    reader = plain_run(tmp_path)
    reader.poll()
    assert [piece.count for piece in reader.state.series["val/loss"]] == [2]
    assert reader.state.last == {"val/loss": 1.0}
    assert reader.state.warnings == []
    with path.open("a") as file:
        file.write('{"step":1,"val/loss":4}\n')
    reader.poll()
    assert [piece.count for piece in reader.state.series["val/loss"]] == [1]
    assert len(reader.state.warnings) == 1


def test_epoch_is_that_of_the_newest_row_also_behind_the_last_evaluation(tmp_path: Path) -> None:
    (tmp_path / "epochs.jsonl").write_text('{"epoch":1,"step":10,"val/loss":3}\n')
    (tmp_path / "m.jsonl").write_text('{"epoch":2,"step":15,"train/loss":3}\n')
    reader = plain_run(tmp_path)
    reader.poll()
    assert reader.state.epoch == 2


class Documents:
    """A layout of documents that hold one status each, or a host."""

    NAME = "test"
    EVIDENCE = "nothing is known"
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        return {name: partial(self._open, directory / name) for name in names_in(directory)}

    def _open(self, path: Path, patient: bool) -> DocumentFile:
        return DocumentFile(path, path.name, self._parse, 100)

    def _parse(self, data: bytes, batch: Batch) -> None:
        kind, _, word = data.decode().partition(" ")
        batch.rows.append(ForeignRow("events", {"event": kind, "status": word}, 1, len(data)))


def test_end_that_a_document_does_not_tell_any_more_is_forgotten(tmp_path: Path) -> None:
    """A run that was over may go on; what other files tell of it stays."""
    (tmp_path / "a").write_text("end finished")
    (tmp_path / "b").write_text("warning word")
    reader = ForeignReader(tmp_path, Documents())
    reader.poll()
    assert reader.state.status.word == "finished"
    (tmp_path / "a").write_text("open again")
    reader.poll()
    reader.poll()
    assert reader.state.status.word == "unknown"
    assert sorted(str(event["event"]) for event in reader.state.events) == ["open", "warning"]


def test_run_that_is_read_again_because_it_went_back_does_not_run(tmp_path: Path) -> None:
    """Its files did not grow."""
    steps = [*range(1, 5001), *range(2500, 2600)]
    rows = "".join(f'{{"step":{step},"loss":1.5}}\n' for step in steps)
    (tmp_path / "m.jsonl").write_text(rows)
    reader = plain_run(tmp_path)
    words = set()
    for _ in range(20):
        reader.poll(20_000)
        words.add(reader.state.status.word)
    (curve,) = reader.state.series["loss"]
    assert (curve.count, words) == (2599, {"unknown"})


def test_row_that_is_printed_anew_keeps_its_time(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,time,loss\n1,1790000000.5,nan\n")
    (line,) = csv_run(tmp_path).rows("metrics")
    assert decode(line.line) == {
        "step": 1, "time": 1790000000.5, "loss": None, "_nonfinite": {"loss": "nan"},
    }  # fmt: skip


def test_glance_of_a_long_log_has_the_newest_value_of_each_metric(tmp_path: Path) -> None:
    rows = [f'{{"step":{n},"time":{1.79e9 + n},"a":{n}.5}}\n' for n in range(2000)]
    rows[-50] = '{"step":1950,"time":1790001950,"b":7.5}\n'
    (tmp_path / "m.jsonl").write_text("".join(rows))
    reader = plain_run(tmp_path)
    reader.glance()
    state = reader.state
    assert (state.last, state.step, state.series) == ({"a": 1999.5, "b": 7.5}, 1999, {})
    assert state.created == 1.79e9
