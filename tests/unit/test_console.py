"""Progress where the script runs: a bar on a terminal, few lines in a batch log."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

import runstore
from runstore.console import FREE_LINES, BarDisplay, LineDisplay, LineThrottle, split_display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_batch_log_gets_a_line_per_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("runstore.console.time.monotonic", lambda: now)
    display = split_display("epoch 1/3 train", 1000, LineThrottle())
    assert isinstance(display, LineDisplay)
    for batch in range(1, 1001):
        now += 0.1
        display.advance(batch, {"train/loss": 0.123456})
    display.close("epoch 1/3 train  loss 0.1235  100.0 s")
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "epoch 1/3 train 300/1000 loss 0.1235"
    assert said.count("\n") == 4
    assert "\r" not in said


def test_terminal_gets_a_bar_and_one_line_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    display = split_display("train", 10, LineThrottle())
    assert isinstance(display, BarDisplay)
    for batch in range(1, 11):
        display.advance(batch, {"train/loss": 1.0})
    display.close("train  loss 1.0000")
    assert "\r" in terminal.getvalue()
    assert terminal.getvalue().endswith("train  loss 1.0000\n")


def test_loader_with_a_bar_of_its_own_gets_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(1):
            for x in run.train(tqdm([1.0, 2.0], desc="theirs", file=terminal)):
                run.track(loss=x)
    assert "theirs: 100%" in terminal.getvalue()
    assert "epoch 1/1 train:" not in terminal.getvalue()


def test_many_short_epochs_make_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("runstore.console.time.monotonic", lambda: now)
    throttle = LineThrottle()
    for epoch in range(1, 1001):
        for split in ("train", "val"):
            display = split_display(split, 1, throttle, is_train=split == "train")
            now += 0.05
            display.advance(1, {})
            display.close(f"epoch {epoch} {split}  loss 1.0000")
        throttle.say_if_room(f"epoch {epoch} is the best so far")
    throttle.say_last()
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["epoch 1 train  loss 1.0000", "epoch 1 val  loss 1.0000"]
    assert len(said) <= FREE_LINES + 3 + 3 + 1  # 100 s of progress and of ends, and the last one
    assert said[-1] == "epoch 1000 val  loss 1.0000"


def test_epochs_of_minutes_are_told_with_their_evaluations(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("runstore.console.time.monotonic", lambda: now)
    throttle = LineThrottle()
    for epoch in range(1, 201):
        for split, seconds in (("train", 110), ("val", 10)):
            display = split_display(split, seconds, throttle, is_train=split == "train")
            for second in range(1, seconds + 1):
                now += 1
                display.advance(second, {})
            display.close(f"epoch {epoch} {split}  loss 1.0000")
        throttle.say_if_room(f"epoch {epoch} is the best so far")
    said = capsys.readouterr().err
    for told in ("train  loss 1.0000", "val  loss 1.0000", "is the best so far"):
        assert said.count(told) == 200


def test_short_run_tells_each_evaluation_and_each_best_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [5.0, 3.0, 4.0, 2.0, 2.5]
    with runstore.init(root=tmp_path) as run:
        for epoch in run.epochs(5):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
            for _ in run.val(range(2)):
                run.track(loss=losses[epoch - 1])
    said = capsys.readouterr().err.splitlines()[1:]
    assert [line.partition("  ")[0] for line in said if " val " in line] == [
        f"epoch {epoch}/5 val" for epoch in range(1, 6)
    ]
    assert [line for line in said if "best so far" in line] == [
        "epoch 2 is the best so far: val/loss 3",
        "epoch 4 is the best so far: val/loss 2",
    ]


def test_last_evaluation_is_told_however_many_there_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runstore.init(root=tmp_path) as run:
        for epoch in run.epochs(100):
            for _ in run.val(range(1)):
                run.track(loss=float(epoch))
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("epoch 100/100 val  loss 100.0")
    assert said[-1].startswith("runstore: finished")
    assert len(said) <= FREE_LINES + 4


class Tee:
    """What scripts put in the place of stderr to copy it into a file."""

    def __init__(self) -> None:
        self.said = ""

    def write(self, text: str) -> None:
        self.said += text


def test_stderr_that_is_only_written_to_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    tee = Tee()
    monkeypatch.setattr(sys, "stderr", tee)
    display = split_display("train", 1, LineThrottle())
    assert isinstance(display, LineDisplay)
    display.close("train  loss 1.0000")
    assert tee.said == "train  loss 1.0000\n"


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_missing_stderr_is_no_fault(monkeypatch: pytest.MonkeyPatch, stderr: str | None) -> None:
    stream = None
    if stderr == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    display = split_display("train", None, LineThrottle())
    assert isinstance(display, LineDisplay)
    display.close("done")
    assert sys.stderr is stream
