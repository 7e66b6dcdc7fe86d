"""The pool of this machine: where no further process can be started, and how it is stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runstore.sweeps.cells import Task, look
from runstore.sweeps.devices import Slot
from runstore.sweeps.document import Cell, Sweep, write
from runstore.sweeps.local import Pool
from runstore.sweeps.plan import plan
from runstore.sweeps.standing import Ended, Standing

WAIT_FOR_GO = ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]
TOO_LONG = "x" * 200_000
"""As the value of a variable: Linux starts no program with one above 128 KiB (E2BIG)."""


class Heard:
    """Notes what a pool tells, and makes room when it was once told how all stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, go: Path) -> None:
        self.said: list[str] = []
        self._monkeypatch, self._go = monkeypatch, go

    def started(self, cell: Cell, slot: Slot) -> None:
        self.said.append(f"{cell.id} started")
        if not self._go.exists():
            self._monkeypatch.setenv("TOO_LONG", TOO_LONG)

    def waits(self, task: Task) -> None:
        self.said.append(f"{task.cell.id} waits")

    def stalls(self, task: Task) -> None:
        self.said.append(f"{task.cell.id} stalls")

    def ended(self, ended: Ended) -> None:
        self.said.append(f"{ended.cell.id} {ended.status}")

    def stands(self, standing: Standing) -> None:
        self._monkeypatch.delenv("TOO_LONG", raising=False)
        self._go.touch()

    def stops(self, running: int, *, is_hard: bool) -> None:
        self.said.append("stops")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runstore.sweeps.local.LOOK_S", 0.05)
    return write(plan(WAIT_FOR_GO, [{"x": 1}, {"x": 2}], root=Path("runs")))


def test_cell_waits_where_no_process_can_be_started_beside_those_that_run(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch, Path("go"))
    pool = Pool(sweep, look(sweep), [Slot(0), Slot(1)], heard)
    assert pool.run() is None
    assert heard.said[:1] == ["x=1 started"]
    assert sorted(heard.said) == ["x=1 finished", "x=1 started", "x=2 finished", "x=2 started"]


def test_cells_are_not_started_where_no_process_can_be(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOO_LONG", TOO_LONG)
    pool = Pool(sweep, look(sweep), [Slot(0)], Heard(monkeypatch, Path("go")))
    assert pool.run() is None
    found = [(one.cell.id, one.status, one.reason) for one in pool.ended]
    why = "no process for it (Argument list too long)"
    assert found == [("x=1", "not started", why), ("x=2", "not started", why)]


SAVE = """
trap 'while [ ! -e go ]; do sleep 0.02; done; touch saved; exit 0' TERM
touch ready
while :; do sleep 0.02; done
"""


class Closing(Heard):
    """Ctrl-C when the cell runs, then a terminal that goes away, then time to save."""

    def started(self, cell: Cell, slot: Slot) -> None:
        """Nothing."""

    def stands(self, standing: Standing) -> None:
        if "asked" in self.said:
            Path("go").touch()
        elif Path("ready").exists():
            os.kill(os.getpid(), signal.SIGINT)

    def stops(self, running: int, *, is_hard: bool) -> None:
        self.said.append("killed" if is_hard else "asked")
        if not is_hard:
            os.kill(os.getpid(), signal.SIGHUP)


def test_terminal_that_goes_behind_ctrl_c_leaves_cells_the_time_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = write(plan(["sh", "-c", SAVE], [{"x": 1}], root=Path("runs")))
    closing = Closing(monkeypatch, Path("go"))
    assert Pool(sweep, look(sweep), [Slot(0)], closing).run() == signal.SIGINT
    assert closing.said == ["asked", "x=1 interrupted"]
    assert Path("saved").exists()
