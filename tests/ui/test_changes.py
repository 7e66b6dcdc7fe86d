"""`runstore-tui --plain`: a line for each change, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import runstore
from tests.conftest import ROOT
from tui.catalog import Catalog
from tui.changes import RUN_EVERY_S, ChangeLog

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


class Watched:
    """A catalog that is looked at by hand, and the lines that come of it."""

    def __init__(self, *roots: Path) -> None:
        self.catalog = Catalog(roots)
        self.now = 0.0
        self.log = ChangeLog(self.catalog, self.now)

    def look(self, passed_s: float = 1.0) -> list[str]:
        """Read everything, let time pass, and return the new lines without their times."""
        self.catalog.scan()
        for entry in self.catalog.entries:
            self.catalog.glance(entry)
        self.now += passed_s
        lines = list(self.log.lines(self.now))
        assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
        return [line[9:] for line in lines]


def test_lines_tell_of_starts_values_and_ends(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.look() == [f"0 runs in {tmp_path}"]
    with runstore.init(root=tmp_path, name="digits") as run:
        run.log({"train/loss": 0.5, "val/accuracy": 0.75, "epoch": 1}, step=10)
        (line,) = watched.look()
        assert line == "digits running epoch 1 step 10 train/loss 0.5000 val/accuracy 0.7500"
        assert watched.look() == []
        run.log({"train/loss": 0.25, "epoch": 2}, step=20)
        (line,) = watched.look(RUN_EVERY_S)
        assert line == "digits epoch 2 step 20 train/loss 0.2500 val/accuracy 0.7500"
    (line,) = watched.look()
    assert re.match(r"digits finished after [\d.]+s epoch 2 step 20 train/loss 0\.2500", line)


def test_run_has_one_line_in_some_seconds_and_the_newest_values_come_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    with runstore.init(root=tmp_path, name="fast") as run:
        run.log({"loss": 1.0}, step=1)
        watched.look()
        for step in range(2, 12):
            run.log({"loss": 1 / step}, step=step)
            if step < 6:
                assert watched.look(RUN_EVERY_S / 10) == []
        assert watched.look(RUN_EVERY_S) == ["fast step 11 loss 0.0909"]


def test_ended_runs_are_only_counted_at_first_and_told_when_they_come_later(tmp_path: Path) -> None:
    runstore.init(root=tmp_path, name="old").finish()
    watched = Watched(tmp_path)
    assert watched.look() == [f"1 run in {tmp_path}: 1 finished"]
    runstore.init(root=tmp_path, name="new").finish()
    (line,) = watched.look()
    assert line.startswith("new finished after")


def test_runs_of_one_name_are_told_apart_and_why_one_failed_is_told(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.look()
    for reason in ("out of memory", "no data"):
        with pytest.raises(RuntimeError), runstore.init(root=tmp_path, name="twin"):
            raise RuntimeError(reason)
    lines = sorted(watched.look(), key=len)
    assert {line.split()[0] == "twin" for line in lines} == {True, False}
    assert re.search(r"^twin-\w{8} failed \(RuntimeError: ", "\n".join(lines), re.MULTILINE)


def test_root_that_goes_and_comes_back_is_told_once_each(tmp_path: Path) -> None:
    root, away = tmp_path / "a", tmp_path / "away"
    with runstore.init(root=root, name="live") as run:
        run.log({"loss": 1.0}, step=1)
        watched = Watched(root, tmp_path / "b")
        assert watched.look() == [
            f"{tmp_path}/b: no such directory; waiting",
            f"1 run in {root}, {tmp_path}/b: 1 running",
            "a/live running step 1 loss 1.0000",
        ]
        root.rename(away)
        assert watched.look() == [f"{root}: no such directory; waiting"]
        assert watched.look() == []
        away.rename(root)
        assert watched.look() == [f"{root}: is there again"]
        run.log({"loss": 0.5}, step=2)
        assert watched.look() == []  # five seconds have not passed


# ---- as a process ------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A monitor of plain lines, without a terminal."""
    (tmp_path / "runs").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "runstore.tui_launcher", "--plain", str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_lines_come_into_a_pipe_at_once_and_ctrl_c_ends_them(
    plain: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert "0 runs in" in output(plain).readline()
    runstore.init(root=tmp_path / "runs", name="digits").finish()
    line = output(plain).readline()
    assert "digits finished" in line and "\x1b" not in line
    plain.send_signal(signal.SIGINT)
    _, errors = plain.communicate(timeout=30)
    assert (plain.returncode, errors) == (130, "")


def test_closed_pipe_ends_it_without_a_change(plain: subprocess.Popen[str]) -> None:
    output(plain).readline()
    output(plain).close()
    assert plain.wait(30) == 0
    assert plain.stderr is not None and plain.stderr.read() == ""


def test_sigterm_ends_it(plain: subprocess.Popen[str]) -> None:
    output(plain).readline()
    plain.terminate()
    assert plain.wait(30) == -signal.SIGTERM


def test_only_wanted_run_is_told_of(tmp_path: Path, wait_until: WaitUntil) -> None:
    one = runstore.init(root=tmp_path, name="one", resume="never")
    two = runstore.init(root=tmp_path, name="two", resume="never")
    told = tmp_path / "told"
    with told.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "runstore.tui_launcher", tmp_path, "--plain", "--run", one.id],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
        )
    try:
        wait_until(lambda: "one running" in told.read_text())
        two.finish()
        one.finish()
        wait_until(lambda: "one finished" in told.read_text())
    finally:
        process.kill()
        process.wait()
    assert "two" not in told.read_text()
