"""The detail panes as pure functions from a run's state to lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runstore.files.paths import StreamFile
from runstore.numbers import NOTHING
from runstore.state.progress import Progress
from runstore.state.run_state import RunState
from runstore.state.status import Status
from runstore.tables.pool import Pool
from tui.kept import Kept
from tui.renderables import details
from tui.renderables.epochs import epochs
from tui.renderables.facts import facts_of
from tui.renderables.text import LazyLines, Line, Span, plain

EPOCHS = StreamFile(1, 0, "epochs")
EVENTS = StreamFile(1, 0, "events")
METRICS = StreamFile(1, 0, "metrics")


class WatchedRow(dict[str, Any]):
    """A row that counts how often its values are looked at."""

    looks = 0

    def items(self) -> Any:
        WatchedRow.looks += 1
        return super().items()


def with_epochs(number: int) -> RunState:
    state = RunState(Path("run"))
    for epoch in range(1, number + 1):
        row = {"epoch": epoch, "step": epoch, "duration_s": 1.0, "train/loss": 1 / epoch}
        if epoch % 10 == 0:
            row["val/loss"] = 2 / epoch
        state.apply(EPOCHS, WatchedRow(row))
    return state


def test_lazy_lines_make_only_what_is_looked_at() -> None:
    made: list[int] = []

    def make(at: int) -> Line:
        made.append(at)
        return (Span(str(at)),)

    lines = LazyLines(1_000_000, make)
    assert len(lines) == 1_000_000
    assert [plain(row) for row in lines[999_998:1_000_009]] == ["999998", "999999"]
    assert plain(lines[-1]) == "999999"
    assert made == [999_998, 999_999, 999_999]
    assert list(LazyLines(2, make)) == [(Span("0"),), (Span("1"),)]


def test_epoch_table_of_a_long_run_costs_what_is_seen_of_it() -> None:
    state = with_epochs(5_000)
    WatchedRow.looks = 0
    table = epochs(state, 100)
    shown = [plain(row) for row in table[:20]]
    assert len(table) == 5_001
    assert shown[1].split()[0] == "5000" or shown[1].split()[:2] == ["★", "5000"]
    assert plain(table[-1]).split()[0] == "1"
    assert WatchedRow.looks < 100


def test_epoch_table_has_a_column_for_what_is_not_measured_each_epoch() -> None:
    title, newest, *_ = (plain(row) for row in epochs(with_epochs(19), 100))
    assert "val/loss" in title
    assert newest.split() == ["19", "1.0s", "0.0526▼0.0029", NOTHING]


def test_bookkeeping_comes_after_every_metric() -> None:
    state = RunState(Path("run"))
    state.apply(METRICS, {"step": 1, "train/samples_per_s": 9.0, "lr": 0.1, "train/loss": 0.5})
    state.apply(EPOCHS, {"step": 1, "epoch": 1, "train/duration_s": 3.0, "val/loss": 0.25})
    shown = [plain(row).split()[0] for row in details.last_step(state, 40, 0.0)[2:]]
    assert shown == ["train/loss", "lr", "val/loss", "train/samples_per_s", "train/duration_s"]


def test_long_reason_is_told_to_its_end_in_few_columns() -> None:
    state = RunState(Path("run"))
    reason = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB; inside epoch 4 of 6"
    state.status = Status("failed", reason)
    rows = [plain(row) for row in details.status(state, 48)]
    assert max(map(len, rows)) <= 48
    assert reason in " ".join(" ".join(rows).split())
    state.status = Status("failed", "why " * 10_000)
    rows = [plain(row) for row in details.status(state, 48)]
    assert len(rows) < 8 and any(row.endswith("…") for row in rows)


def test_rows_that_the_disk_does_not_take_are_told_in_the_list_and_in_the_pane() -> None:
    state = RunState(Path("run"))
    told = []
    for word in ("running", "crashed", "finished"):
        state.status = Status(word, "")
        state.progress = Progress(attempt=1, degraded="disk full: 1,234 rows wait in memory")
        if word == "finished":
            state.apply(EVENTS, {"event": "end", "time": 1.0, "status": "finished"})
        warnings = [
            plain(row) for row in details.progress(state, 80, 0.0) if "disk full" in plain(row)
        ]
        told.append((facts_of(state).damaged, *warnings))
    assert told == [
        (True, "! disk full: 1,234 rows wait in memory"),
        (True, "! at the last heartbeat, disk full: 1,234 rows wait in memory: now lost"),
        (False,),
    ]


def test_warning_that_comes_again_and_again_leaves_room_for_the_others() -> None:
    state = RunState(Path("run"))
    for message in ("clock went back", "loss is NaN", "loss is NaN", "disk is slow", "loss is NaN"):
        state.apply(EVENTS, {"event": "warning", "time": 1.0, "message": message})
    assert details.trouble(state) == ["clock went back", "disk is slow", "loss is NaN (×3)"]
    for number in range(4):
        state.apply(EVENTS, {"event": "warning", "time": 1.0, "message": f"batch {number}"})
    assert details.trouble(state)[-1] == "6 more warnings: see the view Run"
    for _ in range(1000):
        state.apply(EVENTS, {"event": "warning", "time": 1.0, "message": "loss is NaN"})
    assert details.trouble(state) == ["loss is NaN (×100+)"]


def test_event_of_a_kind_that_is_no_word_is_told_like_any_other() -> None:
    state = RunState(Path("run"))
    for kind in ({"a": 1}, ["split_end"], None, "checkpoint", "split_end"):
        state.apply(EVENTS, {"event": kind, "time": 1.0, "step": 5}, size_bytes=50)
    rows = [plain(row) for row in details.events(state, 80)]
    assert [row[10:16] for row in rows[:-1]] == ["checkp", "None  ", "['spli", "{'a': "]
    assert rows[-1] == "and 1 starts and ends of epochs and splits"


def test_parameters_have_the_names_by_which_they_are_filtered() -> None:
    state = RunState(Path("run"))
    state.info = {"params": {"model": {"width": 64}, "lr": 0.1}}
    assert "model.width=64  lr=0.1" in plain(details.parameters(state, 80)[0])
    state.info = {"params": {"deep": {f"name{number}": number for number in range(10_000)}}}
    first, second, last = map(plain, details.parameters(state, 80))
    assert "deep.name0=0" in first
    assert "deep.name" in second
    assert last.strip() == "…"


def test_stalled_run_has_neither_speed_nor_time_left() -> None:
    """Its heartbeat goes on with those from before the stall, as if it ran."""
    state = RunState(Path("run"))
    state.progress = Progress(
        attempt=1, epoch=3, epochs=9, split="train", batch=5, batches=20, it_per_s=7.5, eta_s=3600
    )
    told = {}
    for word in ("running", "stalled"):
        state.status = Status(word, "")
        facts, kept = facts_of(state), Kept.of(state, Kept(), Pool())
        bars = " ".join(plain(row) for row in details.bars(state, 80))
        told[word] = (facts.it_per_s, facts.eta_s, kept.position("eta_s"), "it/s" in bars)
        assert "5/20" in bars and ("left" in bars) == (word == "running")
    assert told == {"running": (7.5, 3600, 3600, True), "stalled": (None, None, None, False)}
