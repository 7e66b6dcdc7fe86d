"""What a frame of the Charts view costs: eight runs of two curves in one chart, and grids of them.

Nothing is on screen: the states are folded from rows, and the frames are drawn as the pane draws
them. A frame is measured twice: with nothing kept from the one before, and as the next one when
no row came in between, as for a moved cursor. Exit status 1 above the budget.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runstore.files.paths import StreamFile
from runstore.state.run_state import RunState
from tui.renderables.board import Board, Seen
from tui.renderables.drawn_runs import CURVE_ROLES, Identity

RUNS = 8
ROWS = 20_000
LAYERS = 20
ROUNDS = 15
ALONE, BESIDE = (158, 41), (109, 41)
"""Of the pane that has a terminal of 160x45 to itself, and of the one beside the list."""
BUDGETS_MS = {"one chart, 8 runs x 2 curves": 25.0, "grid of 12 charts, 8 runs": 60.0}


def make_run(number: int) -> RunState:
    """Return a run of noisy curves: `loss` in training and validation, and some of one kind."""
    state, noise = RunState(Path(f"run{number}")), random.Random(number)
    file = StreamFile(1, 0, "metrics")
    for step in range(1, ROWS + 1):
        loss = math.exp(-step / ROWS * (2 + number)) + noise.random() * 0.2
        row = {"step": step, "epoch": 1 + step * 10 // ROWS, "time": 1.79e9 + step}
        row |= {"train/loss": loss, "val/loss": loss * 1.1 + 0.1}
        row |= {
            f"layer{k}/norm": math.sin(step / ROWS * 9 + k) + noise.random() for k in range(LAYERS)
        }
        state.apply(file, row)
    return state


def cpu_ms(frame: Callable[[], object]) -> tuple[float, float]:
    """Return the median and the largest CPU time of a frame."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        frame()
        times.append((time.process_time() - begun) * 1000)
    return statistics.median(times), max(times)


def frame_of(board: Board, states: list[RunState]) -> Callable[[], object]:
    """Return what draws a frame of some runs on a board."""
    seen = [
        Seen(Identity(f"run{i}", "ABCDEFGH"[i], CURVE_ROLES[i], i == 0), state)
        for i, state in enumerate(states)
    ]

    def draw() -> object:
        board.take(seen, *(ALONE if board.is_single else BESIDE))
        return board.draw()

    return draw


def fresh(
    states: list[RunState], *, single: bool, smoothing: int, axis: int
) -> Callable[[], object]:
    """Return what draws a frame on a board that has drawn none before."""

    def draw() -> object:
        board = Board()
        board.is_single = single
        board.smooth(smoothing)
        for _ in range(axis):
            board.turn_axis()
        return frame_of(board, states)()

    return draw


def main() -> int:
    """Measure, print and judge."""
    states = [make_run(number) for number in range(RUNS)]
    one = states[:1]
    smooth = {"smoothing": 3, "axis": 2}
    plain = {"smoothing": 0, "axis": 0}
    cases = {
        "one chart, 8 runs x 2 curves": fresh(states, single=True, **plain),
        "that chart smoothed, over time": fresh(states, single=True, **smooth),
        "grid of 12 charts, 1 run": fresh(one, single=False, **plain),
        "grid of 12 charts, 8 runs": fresh(states, single=False, **plain),
        "that grid smoothed, over time": fresh(states, single=False, **smooth),
    }
    for single, name in ((True, "one chart"), (False, "grid")):
        board = Board()
        board.is_single = single
        cases[f"next frame of {name}, 8 runs"] = frame_of(board, states)
    print(f"{RUNS} runs x {ROWS:,} rows, {ROUNDS} frames   median ms      max")
    too_slow = False
    for name, draw in cases.items():
        median, most = cpu_ms(draw)
        budget = BUDGETS_MS.get(name)
        verdict = "" if budget is None else f"   budget {budget:g}: "
        if budget is not None:
            verdict += "ok" if median <= budget else "TOO SLOW"
            too_slow = too_slow or median > budget
        print(f"{name:44} {median:10.1f} {most:8.1f}{verdict}")
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())
