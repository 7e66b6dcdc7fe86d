"""The page of one run as pure functions: its epochs, attempts, notes, requests and sections."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runstore.files.paths import StreamFile
from runstore.numbers import NOTHING
from runstore.runs.notes import Note, Notes
from runstore.runs.requests import Request
from runstore.state.progress import Progress
from runstore.state.run_state import RunState
from runstore.state.status import Status
from tui.renderables import details
from tui.renderables.attempts import attempts
from tui.renderables.epochs import epoch_table
from tui.renderables.notes import notes, requests
from tui.renderables.run_page import Around, Flow, Section, page
from tui.renderables.text import Line, Span, line_width, plain

METRICS = StreamFile(1, 0, "metrics")
EPOCHS = StreamFile(1, 0, "epochs")


def with_epochs(rows: list[dict[str, Any]]) -> RunState:
    state = RunState(Path("run"))
    for epoch, row in enumerate(rows, 1):
        state.apply(EPOCHS, {"epoch": epoch, "step": epoch, **row})
    return state


def cells(row: Line) -> list[str]:
    return plain(row).split()


# ---- epochs --------------------------------------------------------------------------------------


def test_change_is_from_the_epoch_before_and_better_by_the_metric() -> None:
    rows = [
        {"train/loss": 1.0, "val/accuracy": 0.5, "grad_norm": 2.0},
        {"train/loss": 0.75, "val/accuracy": 0.25, "grad_norm": 1.0},
    ]
    newest, oldest = epoch_table(with_epochs(rows), 100).rows
    assert cells(newest) == ["2", NOTHING, "0.7500▼0.25", "0.2500▼0.25", "1.0000▼1"]
    assert [span.role for span in newest if "▼" in span.text] == ["good", "warn", "dim"]
    assert cells(oldest) == ["1", NOTHING, "1.0000", "0.5000", "2.0000"]


def test_change_of_what_is_not_measured_each_epoch_is_from_where_it_was_last() -> None:
    rows: list[dict[str, Any]] = [{"val/loss": 1.0, "train/loss": 1.0}, {"train/loss": 1.0}]
    newest, between, _ = epoch_table(with_epochs([*rows, {"val/loss": 2.0}]), 100).rows
    assert cells(newest) == ["3", NOTHING, NOTHING, "2.0000▲1"]
    assert cells(between) == ["2", NOTHING, "1.0000", NOTHING]


def test_nan_has_no_change_and_neither_has_what_comes_after_it() -> None:
    rows: list[dict[str, Any]] = [{"train/loss": 1.0}, {"train/loss": None}, {"train/loss": 3.0}]
    rows[1]["_nonfinite"] = {"train/loss": "nan"}
    table = [cells(row) for row in epoch_table(with_epochs(rows), 100).rows]
    assert table == [["3", NOTHING, "3.0000"], ["2", NOTHING, "nan"], ["1", NOTHING, "1.0000"]]


@pytest.mark.parametrize("width", [40, 78, 110])
def test_columns_that_do_not_fit_are_reached_sideways_and_the_epoch_stays(width: int) -> None:
    values = {f"val/metric{n}": float(n) for n in range(20)} | {"lr": 0.25}
    state = with_epochs([{**values, "train/samples_per_s": 12_000.0, "duration_s": 61.0}])
    seen: set[str] = set()
    for first in range(25):
        table = epoch_table(state, width, first)
        head = plain(table.head)
        assert head.split()[:2] == ["EPOCH", "TIME"]
        assert len(head) <= width
        assert plain(table.rows[0]).startswith("      1   01:01") and line_width(
            table.rows[0]
        ) <= max(width, len(head))
        seen |= set(head.split())
    assert {f"val/metric{n}" for n in range(20)} | {"lr", "samples/s"} <= seen
    # Further than to the last column there is nothing to see.
    assert epoch_table(state, width, 1000).first == epoch_table(state, width, 24).first
    assert "12k" in plain(epoch_table(state, width, 1000).rows[0])


def test_best_epoch_has_its_star_and_its_metric_is_in_sight() -> None:
    rows = [{"train/a": 1.0, "train/loss": 1.0, "val/zzz": float(n)} for n in (1, 3, 2)]
    state = with_epochs(rows)
    state.info = {"best": "val/zzz:max"}
    table = epoch_table(state, 56)
    assert "val/zzz" in plain(table.head)
    assert [plain(row)[0] for row in table.rows] == [" ", "★", " "]


def test_sizes_of_changes_are_left_out_where_there_is_no_room() -> None:
    rows = [{f"val/m{n}": float(n + epoch) for n in range(4)} for epoch in (0, 1)]
    assert "▲1" in plain(epoch_table(with_epochs(rows), 110).rows[0])
    narrow = plain(epoch_table(with_epochs(rows), 70).rows[0])
    assert "▲" in narrow and "▲1" not in narrow


# ---- bars ----------------------------------------------------------------------------------------


def test_bar_of_the_epoch_weighs_splits_by_the_epoch_before() -> None:
    state = with_epochs([{"train/duration_s": 30.0, "val/duration_s": 10.0}])
    for event, split in (("epoch_start", ""), ("split_start", "train"), ("split_end", "train")):
        fields = {"split": split} if split else {"epoch": 2}
        state.apply(StreamFile(1, 0, "events"), {"event": event, "time": 1.0, **fields})
    at = Progress(attempt=1, split="val", batch=5, batches=10)
    assert details.epoch_done(state, at) == pytest.approx(35 / 40)
    assert details.epoch_done(RunState(Path("run")), at) is None
    endless = replace(at, batches=None)
    assert details.epoch_done(state, endless) is None, "nobody knows how much of it is done"
    state.status, state.progress = Status("running"), at
    shown = [plain(row).split()[0] for row in details.bars(state, 80, state)]
    assert shown == ["val", "epoch"]


def bars(state: RunState) -> list[str]:
    return [plain(row) for row in details.bars(state, 80)]


def test_loader_without_a_length_is_counted_and_has_no_bar() -> None:
    state = RunState(Path("run"))
    state.status = Status("running")
    state.progress = Progress(attempt=1, split="train", batch=1234, it_per_s=12.5)
    assert bars(state) == ["train    1,234 batches so far  12.5 it/s  the loader has no length"]
    state.progress = replace(state.progress, batch=1, it_per_s=None)
    assert bars(state)[0].startswith("train    1 batch so far  the loader")
    state.progress = replace(state.progress, batches=10)
    assert "10%  1/10" in bars(state)[0]


# ---- attempts ------------------------------------------------------------------------------------


def resumed_run() -> RunState:
    state = RunState(Path("run"))
    events: list[tuple[int, dict[str, Any]]] = [
        (1, {"event": "open", "time": 1e9, "attempt": 1, "host": "node1", "pid": 7}),
        (1, {"event": "epoch_start", "time": 1e9 + 60, "epoch": 1}),
        (2, {"event": "open", "time": 1e9 + 100, "attempt": 2, "host": "node2\x1b[2J",
             "environment": {"SLURM_JOB_ID": "4711"}, "cuts": {"metrics-0001.jsonl": 5},
             "resumed_from": "step-00001200-0001.pt", "step": 1200}),
        (2, {"event": "resume", "time": 1e9 + 101, "file": "x", "exact": True}),
        (2, {"event": "resume_not_exact", "time": 1e9 + 102, "reason": "other data"}),
        (2, {"event": "end", "time": 1e9 + 190, "status": "failed", "reason": "OOM"}),
    ]  # fmt: skip
    for number, event in events:
        state.apply(StreamFile(number, 0, "events"), event)
    state.status = Status("failed", "OOM")
    return state


def test_attempts_say_how_they_ended_where_they_ran_and_what_they_resumed() -> None:
    text = [plain(row) for row in attempts(resumed_run(), 100, {1: "57"})]
    assert text[0] == "2 ✗ failed  OOM"
    assert "01:30 · on node2\\x1b[2J · Slurm job 4711" in text[1]
    assert text[2].strip() == (
        "resumed at step 1,200 from step-00001200-0001.pt · not exact: other data"
    )
    assert text[3] == "1 ✗ crashed  wrote no end"
    assert "last sign" in text[4] and "01:00 · on node1 · process 7" in text[4]
    assert text[5].strip() == "57 rows superseded by a later attempt"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"stdout": "/a/job.out", "stderr": "/a/job.out"}, "on node1 · prints into /a/job.out"),
        (
            {"stdout": "out\x1b[2J", "stderr": "/a/err"},
            r"on node1 · prints into out\x1b[2J · prints errors into /a/err",
        ),
        ({"stderr": "/a/err", "stdout": 7}, "on node1 · prints errors into /a/err"),
        ({}, "on node1"),
    ],
)
def test_attempt_says_which_files_its_output_goes_to(files: dict[str, Any], told: str) -> None:
    state = RunState(Path("run"))
    state.apply(StreamFile(1, 0, "events"), {"event": "open", "host": "node1", **files})
    assert attempts_text(state).endswith(told)


def attempts_text(state: RunState) -> str:
    return "\n".join(plain(row).strip() for row in attempts(state, 120, {}))


def test_run_that_was_not_started_has_no_attempts() -> None:
    assert [plain(row) for row in attempts(RunState(Path("run")), 80, {})] == ["not started"]


def test_run_of_another_tool_takes_no_notes_and_may_name_no_attempts_or_times() -> None:
    state = RunState(Path("run"), source="csv")
    text = "\n".join(plain(row) for row in page(state, state, Around(), 80, 0.0))
    assert "kept only in runs that runstore wrote" in text and "n adds" not in text
    assert "its files name none" in text
    state.apply(StreamFile(1, 0, "events"), {"event": "end", "time": 0.0, "status": "finished"})
    assert not [row for row in attempts(state, 80, {}) if "1970" in plain(row)]


def test_of_very_many_attempts_the_newest_are_shown() -> None:
    state = RunState(Path("run"))
    for number in range(1, 500):
        event = {"event": "open", "time": 1e9 + number, "attempt": number}
        state.apply(StreamFile(number, 0, "events"), event)
    text = [plain(row) for row in attempts(state, 80, {})]
    assert text[0].startswith("499 ")
    assert text[-1] == "and 449 earlier ones"


# ---- notes and requests --------------------------------------------------------------------------


def test_notes_are_wrapped_and_a_long_one_is_cut_with_its_file_named() -> None:
    short = Note(1e9, "first line\nsecond", "ada", "node7", "a.json")
    long = Note(None, "word " * 5000, "", "", "b.json")
    text = [plain(row) for row in notes(Notes((short, long), ("notes/c.json: not JSON",)), 40)]
    assert text[0] == "! notes/c.json: not JSON"
    assert text[1].strip() == f"{NOTHING}  ?"
    assert "all of it: notes/b.json" in text[14]
    assert text[15].endswith("ada@node7")
    assert text[16:] == ["  first line", "  second"]
    assert all(len(row) <= 40 for row in text)


def test_run_without_notes_says_how_to_add_one() -> None:
    assert [plain(row) for row in notes(Notes(), 40)] == ["none yet; n adds one"]


def test_request_waits_until_an_event_names_its_file() -> None:
    mine, other = Request("stop", "stop-1", 90.0), Request("checkpoint", "checkpoint-x", 40.0)
    asked = [(mine, 3.0)]
    waiting = requests(asked, [mine, other], [], 100.0, alive=True)
    assert [plain(row) for row in waiting] == [
        "… asked for a checkpoint 1m ago, not taken yet",
        "… asked to stop 3s ago, not taken yet",
    ]
    event = {"event": "request", "file": "stop-1", "step": 1200}
    taken = requests([(mine, 5.0)], [], [event], 100.0, alive=True)
    assert [plain(row) for row in taken] == ["✓ asked to stop 5s ago: taken at step 1,200"]
    (left,) = requests([], [mine], [], 100.0, alive=False)
    assert plain(left) == (
        "! asked to stop 10s ago, not taken: the next attempt will, if requests/stop-1 stays"
    )


# ---- the page ------------------------------------------------------------------------------------


def test_flow_makes_lines_as_they_are_looked_at_and_keeps_heads_in_sight() -> None:
    rows = [(Span(f"row {n}"),) for n in range(5)]
    head = (Span("head"),)
    flow = Flow([Section("One", rows, 5, head), Section("Two", rows[:1])], 20)
    text = [plain(row) for row in flow]
    assert text[:3] == ["One 5 ──────────────", "head", "row 0"]
    assert flow.starts == [0, 8]
    assert len(text) == len(flow) == 10
    assert plain(flow[-1]) == "row 0"
    assert [bool(flow.head_at(top)) for top in range(9)] == [
        False,
        False,
        *[True] * 3,
        *[False] * 4,
    ]
    assert [flow.section_at(top) for top in (0, 7, 8, 9)] == [0, 0, 1, 1]
    assert plain(flow.titles(1)).startswith(" One 5  [Two]")


@pytest.mark.parametrize("width", [58, 78, 110, 200])
def test_page_of_any_run_fits_its_width(width: int) -> None:
    empty = RunState(Path("run"))
    bad = resumed_run()
    bad.apply(METRICS, {"step": 1, "time": 1.0, "train/loss": math.nan, "x" * 300: 1.0})
    bad.problems["metrics-0001.jsonl"] = "not a regular file " * 20
    for state in (empty, bad):
        for row in page(state, state, Around(superseded={1: "57"}), width, 0.0):
            assert line_width(row) <= width or "params" in plain(row)


def test_wide_page_has_attempts_beside_the_status_and_long_lists_in_full_below() -> None:
    state = resumed_run()
    for number in range(30):
        event = {"event": "warning", "time": 1e9, "message": f"odd {number}"}
        state.apply(StreamFile(1, 0, "events"), event)
    flow = page(state, state, Around(), 120, 0.0)
    text = [plain(row) for row in flow]
    assert "✗ failed" in text[0] and "Attempts 2" in text[0]
    assert [section.title for section in flow.sections] == ["Status", "Epochs", "Warnings"]
    assert text[-1].strip() == "! odd 0"
    narrow = page(state, state, Around(), 80, 0.0)
    titles = [section.title for section in narrow.sections]
    assert titles == ["Status", "Epochs", "Attempts", "Warnings", "Notes"]


def test_bar_of_the_epoch_counts_each_split_once_while_heartbeat_and_events_are_apart() -> None:
    events = StreamFile(1, 0, "events")
    state = with_epochs([{"train/duration_s": 30.0, "val/duration_s": 10.0}])
    state.apply(events, {"event": "epoch_start", "time": 1.0, "epoch": 2})
    at = Progress(attempt=1, epoch=2, split="train", batch=9, batches=10)
    assert details.epoch_done(state, at) == pytest.approx(27 / 40)
    state.apply(events, {"event": "split_end", "time": 2.0, "split": "train"})
    assert details.epoch_done(state, at) == pytest.approx(30 / 40), "training has ended since"
    after = replace(at, epoch=3, batch=1)
    assert details.epoch_done(state, after) == pytest.approx(3 / 40), "not read yet: epoch 3"
    state.apply(events, {"event": "epoch_start", "time": 3.0, "epoch": 3})
    assert details.epoch_done(state, replace(at, split="val", batch=10)) == 0.0
