"""Progress where the script runs: a bar on a terminal, few lines in a batch log."""

from __future__ import annotations

import io
import sys

import pytest

from runstore.console import BarDisplay, LineDisplay, LineThrottle, split_display


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


def test_many_short_epochs_make_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("runstore.console.time.monotonic", lambda: now)
    throttle = LineThrottle()
    for epoch in range(1, 1001):
        for split in ("train", "val"):
            display = split_display(split, 1, throttle)
            now += 0.05
            display.advance(1, {})
            display.close(f"epoch {epoch} {split}  loss 1.0000")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "epoch 1 train  loss 1.0000"
    assert len(said) == 1 + 3  # 100 s


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
