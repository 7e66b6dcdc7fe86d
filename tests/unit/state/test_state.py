"""The state is the same whatever the order and the pace in which a run's files are read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.files.limits import REPORT_PLACES_KEPT
from runstore.files.paths import StreamFile
from runstore.files.records import BadLine, encode, split_nonfinite
from runstore.sources.native import NativeReader
from runstore.state.run_state import RunState

EVENTS = StreamFile(1, 0, "events")
METRICS = StreamFile(1, 0, "metrics")
EPOCHS = StreamFile(1, 0, "epochs")

VALUES = st.dictionaries(
    st.sampled_from(["train/loss", "val/loss", "lr", "µ/ü"]),
    st.floats(allow_subnormal=False),
    min_size=1,
)


def observable(state: RunState) -> dict[str, Any]:
    """All that a viewer can see of a state, NaN made comparable."""
    curves = {name: [piece.columns(40) for piece in found] for name, found in state.series.items()}
    seen = {
        "last": state.last,
        "last_row": state.last_row,
        "rows": state.row_count,
        "epoch_rows": state.epoch_rows,
        "best": state.best,
        "step": state.step,
        "epoch": state.epoch,
        "epochs": state.epochs,
        "reports": state.reports,
        "duration": (state.duration_s, state.end_time),
        "attempts": {n: (a.opened, a.ended, list(a.events)) for n, a in state.attempts.items()},
        "warnings": state.warnings,
        "bad": (state.bad_line_count, sorted(bad.place for bad in state.bad_lines)),
        "curves": curves,
    }
    return {
        key: repr(sorted(value.items()) if isinstance(value, dict) else value)
        for key, value in seen.items()
    }


@dataclass(frozen=True)
class Files:
    """A run's files, complete."""

    contents: dict[str, bytes]


@st.composite
def runs(draw: st.DrawFn) -> Files:
    """One to three attempts: with exact cuts, with inferred ones, with damage, in parts."""
    contents: dict[str, bytes] = {}
    clock = 1000.0
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        opened: dict[str, Any] = {"event": "open", "time": clock, "attempt": attempt, "format": 1}
        if attempt > 1 and draw(st.booleans()):
            named = draw(st.lists(st.sampled_from(sorted(contents)), unique=True, max_size=3))
            opened["cuts"] = {n: draw(st.integers(0, len(contents[n]))) for n in named}
        step = draw(st.integers(0, 12))
        events = [opened, {"event": "epoch_start", "epoch": attempt, "epochs": 5, "time": clock}]
        streams: dict[str, list[bytes]] = {"metrics": [], "epochs": [], "reports": []}
        part = 0
        for _ in range(draw(st.integers(0, 8))):
            clock += 1.0
            step += draw(st.integers(0, 3))
            stream = draw(st.sampled_from(["metrics", "metrics", "epochs", "reports"]))
            row = {"step": step, "epoch": attempt, "time": clock}
            fields = {"split": "val"} if stream == "reports" else split_nonfinite(draw(VALUES))
            streams[stream].append(encode({**row, **fields}))
            if draw(st.integers(0, 9)) == 0:
                streams[stream].append(b"garbage \xff\n")
            if draw(st.integers(0, 5)) == 0:
                contents[f"metrics-{attempt:04d}{f'.{part}' if part else ''}.jsonl"] = b"".join(
                    streams["metrics"]
                )
                streams["metrics"], part = [], part + 1
        events.append({"event": "warning", "message": f"of attempt {attempt}", "time": clock})
        if draw(st.booleans()):
            events.append({"event": "end", "status": "finished", "time": clock})
        contents[f"events-{attempt:04d}.jsonl"] = b"".join(map(encode, events))
        contents[f"metrics-{attempt:04d}{f'.{part}' if part else ''}.jsonl"] = b"".join(
            streams["metrics"]
        )
        for stream in ("epochs", "reports"):
            contents[f"{stream}-{attempt:04d}.jsonl"] = b"".join(streams[stream])
    return Files(contents)


@st.composite
def arrivals(draw: st.DrawFn, run: Files) -> list[tuple[str, bytes]]:
    """The files in up to three pieces each, cut anywhere, in any order between files."""
    pieces: dict[str, list[bytes]] = {}
    for name, content in run.contents.items():
        at = sorted(draw(st.lists(st.integers(0, len(content)), max_size=2)))
        ends = zip([0, *at], [*at, len(content)], strict=True)
        pieces[name] = [content[start:end] for start, end in ends]
    order = draw(st.permutations([name for name, found in pieces.items() for _ in found]))
    return [(name, pieces[name].pop(0)) for name in order]


def read_all(run_dir: Path) -> NativeReader:
    reader = NativeReader(run_dir)
    settle(reader)
    return reader


def settle(reader: NativeReader, budget: int = 1 << 20) -> None:
    """Poll until there is nothing more to read."""
    reader.poll(budget)
    for _ in range(1000):
        if not reader.behind:
            return
        reader.poll(budget)
    raise AssertionError("the reader never catches up")


@settings(max_examples=60)
@given(run=runs(), data=st.data())
def test_following_growing_files_ends_where_reading_them_whole_does(
    tmp_path_factory: pytest.TempPathFactory, run: Files, data: st.DataObject
) -> None:
    """In any order between files, as a copy tool may bring them, cut anywhere, at any pace."""
    run_dir = tmp_path_factory.mktemp("run")
    follower = NativeReader(run_dir)
    for name, piece in data.draw(arrivals(run)):
        with (run_dir / name).open("ab") as file:
            file.write(piece)
        look = data.draw(st.sampled_from(["poll", "glance", "nothing"]))
        if look == "poll":
            follower.poll(data.draw(st.integers(1, 400)))
        elif look == "glance":
            follower.glance()
    settle(follower, 50)
    followed, whole = observable(follower.state), observable(read_all(run_dir).state)
    assert {key: value for key, value in followed.items() if value != whole[key]} == {}


@settings(max_examples=40)
@given(run=runs())
def test_state_counts_the_rows_that_the_clean_view_yields(
    tmp_path_factory: pytest.TempPathFactory, run: Files
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    for name, content in run.contents.items():
        (run_dir / name).write_bytes(content)
    state = read_all(run_dir).state
    clean = [line.row for line in NativeReader(run_dir).rows("metrics") if not line.superseded]
    assert state.row_count == len([row for row in clean if row is not None])
    epochs = [line.row for line in NativeReader(run_dir).rows("epochs") if not line.superseded]
    assert state.epoch_rows == [row for row in epochs if row is not None]


def state_of(*records: tuple[StreamFile, dict[str, Any]]) -> RunState:
    state = RunState(Path("run"))
    for file, record in records:
        state.apply(file, record)
    return state


def test_latest_value_is_that_of_the_newest_row_with_the_metric() -> None:
    state = state_of(
        (METRICS, {"step": 1, "time": 1.0, "a": 1.0}),
        (METRICS, {"step": 2, "time": 2.0, "a": None, "_nonfinite": {"a": "nan"}}),
    )
    assert math.isnan(state.last["a"])
    assert state.step == 2


def test_mean_of_an_epoch_does_not_replace_the_last_step_of_its_attempt() -> None:
    state = state_of(
        (METRICS, {"step": 2, "time": 2.0, "a": 5.0}),
        (EPOCHS, {"step": 2, "time": 2.5, "epoch": 1, "a": 6.0, "only": 1.0}),
    )
    assert state.last == {"a": 5.0, "only": 1.0}
    state.apply(StreamFile(2, 0, "epochs"), {"step": 3, "time": 9.0, "epoch": 2, "a": 7.0})
    assert state.last == {"a": 7.0, "only": 1.0}


@pytest.mark.parametrize(
    ("rule", "epoch"), [("val/loss:min", 2), ("val/loss:max", 3), ("absent:min", None)]
)
def test_best_epoch_is_the_earliest_of_equals(rule: str, epoch: int | None) -> None:
    losses = [0.5, 0.25, 0.75, 0.25, None, 0.75]
    rows = [
        (EPOCHS, {"epoch": n + 1, "step": n, "time": 0.0, "val/loss": loss})
        for n, loss in enumerate(losses)
    ]
    state = state_of(*rows)
    state.info = {"best": rule}
    assert (state.best.epoch if state.best else None) == epoch


def test_smallest_of_several_cuts_holds() -> None:
    state = state_of(
        (StreamFile(2, 0, "events"), {"event": "open", "cuts": {"metrics-0001.jsonl": 900}}),
        (StreamFile(2, 0, "events"), {"event": "cut", "file": "metrics-0001.jsonl", "bytes": 400}),
        (StreamFile(3, 0, "events"), {"event": "open", "cuts": {"metrics-0001.jsonl": 700}}),
    )
    assert state.cuts == {"metrics-0001.jsonl": 400}


@pytest.mark.parametrize(
    "event",
    [
        {}, {"event": None}, {"event": ["open"]}, {"event": "open", "cuts": [1]},
        {"event": "open", "cuts": {"metrics-0001.jsonl": "12"}}, {"event": "cut"},
        {"event": "cut", "file": ["x"], "bytes": {}}, {"event": "cut", "file": "x", "bytes": -5},
        {"event": "epoch_start", "epoch": "one", "epochs": []}, {"event": "split_start"},
        {"event": "warning"}, {"event": "end", "status": 5, "reason": []},
        {"event": "from the future", "time": "noon"},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_event_of_any_shape_is_taken(event: dict[str, Any]) -> None:
    state = state_of((EVENTS, event), (METRICS, {"step": "x", "time": [], "a": 1.0}))
    observable(state)
    assert state.attempt == 1
    assert all(size >= 0 for size in state.cuts.values())


def test_attempt_number_from_a_hostile_file_name_costs_nothing() -> None:
    far = 999_999_999
    state = state_of(
        (StreamFile(far, 0, "events"), {"event": "open"}),
        (StreamFile(far, 0, "metrics"), {"step": 1, "a": 1.0}),
    )
    assert state.hidden_from(1) == 1


def test_duration_is_without_the_time_between_attempts(tmp_path: Path) -> None:
    """Killed after 100 s, 20 of them behind its checkpoint; an hour in the queue; 60 s more."""
    opened = {"event": "open", "format": 1}
    rows = [encode({"step": step, "time": 1000.0 + step, "loss": 1.0}) for step in range(101)]
    contents = {
        "run.json": encode({"id": "r", "format": 1, "created": 1000.0}),
        "events-0001.jsonl": encode({**opened, "time": 1000.0, "attempt": 1}),
        "metrics-0001.jsonl": b"".join(rows),
        "events-0002.jsonl": encode({**opened, "time": 4700.0, "attempt": 2, "cuts": {}})
        + encode({"event": "end", "status": "finished", "time": 4760.0}),
        "metrics-0002.jsonl": encode({"step": 101, "time": 4750.0, "loss": 1.0}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    glanced = NativeReader(tmp_path)
    glanced.glance()
    for state in (glanced.state, read_all(tmp_path).state):
        assert (state.duration_s, state.end_time) == (160.0, 4760.0)
    cuts = {"metrics-0001.jsonl": len(b"".join(rows[:81]))}
    opened_again = {**opened, "time": 4700.0, "attempt": 2, "cuts": cuts}
    (tmp_path / "events-0002.jsonl").write_bytes(encode(opened_again))
    assert read_all(tmp_path).state.duration_s == 80.0 + 50.0


def test_early_warning_outlives_a_long_run() -> None:
    state = state_of((EVENTS, {"event": "warning", "message": "look"}))
    for number in range(3000):
        state.apply(EVENTS, {"event": "epoch_start", "epoch": number})
    assert state.warnings == ["look"]
    assert len(state.events) == 1000


def test_bad_lines_of_a_replaced_file_are_not_counted_twice() -> None:
    state = RunState(Path("run"))
    for number in range(300):
        state.add_bad_line(BadLine(METRICS.name, number, number, "not JSON"))
    state.add_bad_line(BadLine(EPOCHS.name, 7, 70, "not JSON"))
    assert state.bad_line_count == 301
    state.forget(METRICS)
    assert state.bad_line_count == 1
    assert [bad.place for bad in state.bad_lines] == ["epochs-0001.jsonl:7"]


def test_inferred_cut_is_said_to_be_inferred() -> None:
    second = StreamFile(2, 0, "metrics")
    state = state_of(
        (METRICS, {"step": 5, "a": 1.0}),
        (StreamFile(2, 0, "events"), {"event": "open"}),
        (second, {"step": 3, "a": 2.0}),
    )
    assert state.take_stale() == {METRICS.name}
    assert state.warnings == [
        "an attempt went on without naming a checkpoint: earlier rows are hidden from its first "
        "step on (inferred)"
    ]


def test_values_that_are_no_numbers_are_not_told_as_left_out(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    row = {"step": 1, "loss": 0.5, "rows": [{"a": 1}]}
    state.apply(StreamFile(1, 0, "metrics"), row, size_bytes=50)
    assert (state.last, state.warnings) == ({"loss": 0.5}, [])


def report_line(epoch: int, split: str = "val") -> bytes:
    return encode({"step": epoch * 10, "epoch": epoch, "split": split, "report": {"a": {}}})


def test_place_of_each_report_is_known_but_for_those_that_were_cut(tmp_path: Path) -> None:
    lines = [report_line(epoch, split) for epoch in (1, 2, 3) for split in ("train", "val")]
    (tmp_path / "events-0001.jsonl").write_bytes(encode({"event": "open"}))
    data = b"".join(lines)
    (tmp_path / "reports-0001.jsonl").write_bytes(data)
    reader = read_all(tmp_path)
    places = reader.state.report_places
    assert [(place.epoch, place.split) for place in places] == [
        (epoch, split) for epoch in (1, 2, 3) for split in ("train", "val")
    ]
    for place, text in zip(places, lines, strict=True):
        assert data[place.offset : place.offset + place.size_bytes] + b"\n" == text

    cuts = {"reports-0001.jsonl": len(b"".join(lines[:4]))}
    (tmp_path / "events-0002.jsonl").write_bytes(encode({"event": "open", "cuts": cuts}))
    (tmp_path / "reports-0002.jsonl").write_bytes(report_line(3))
    settle(reader)
    found = [(place.epoch, place.split, place.file) for place in reader.state.report_places]
    assert found[-2:] == [(2, "val", "reports-0001.jsonl"), (3, "val", "reports-0002.jsonl")]
    assert len(found) == 5


def test_places_of_reports_are_bounded_and_the_newest_stay() -> None:
    state = RunState(Path("run"))
    for attempt in (1, 2):
        file = StreamFile(attempt, 0, "reports")
        for at in range(REPORT_PLACES_KEPT):
            row = {"step": at, "epoch": at, "split": "val", "report": {}}
            state.apply(file, row, size_bytes=20, offset=at * 21)
    places = state.report_places
    assert len(places) <= REPORT_PLACES_KEPT
    assert (places[-1].file, places[-1].epoch) == ("reports-0002.jsonl", REPORT_PLACES_KEPT - 1)
    assert any("earlier reports" in warning for warning in state.warnings)


def test_times_of_rows_are_kept_in_bounded_memory_and_first_steps_by_attempt() -> None:
    state = RunState(Path("run"))
    for attempt in (1, 2):
        file = StreamFile(attempt, 0, "metrics")
        for i in range(5000):
            step = (attempt - 1) * 5000 + i
            state.apply(file, {"step": step, "time": attempt * 1e6 + i, "loss": 1.0})
    assert state.first_steps == {1: 0, 2: 5000}
    corners = [corner for piece in state.clock for corner in piece.corners()]
    assert corners[0] == (0.0, 1e6)
    assert corners[-1] == pytest.approx((9999.0, 2e6 + 4999), abs=8)
    assert len(corners) <= 4 * 130
    assert all(time == (step // 5000 + 1) * 1e6 + step % 5000 for step, time in corners)
    state.forget(StreamFile(2, 0, "metrics"))
    assert state.first_steps == {1: 0}
    assert len(state.clock) == 1
