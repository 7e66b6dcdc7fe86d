"""What one logged row of four scalars costs, beside the least it could cost and other writers.

The floor is orjson and one write(2) of the same row. All writers take turns in one process on the
same disk, so the ratios hold where absolute times do not. Exit status 1 above the budget.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import orjson
from torch.utils.tensorboard import SummaryWriter

import runstore

ROUNDS = 40
ROWS = 2000
BUDGET = 3.0
VALUES = {"train/loss": 0.3121, "train/accuracy": 0.9012, "lr": 1e-3, "grad_norm": 1.2345}

LogRow = Callable[[int], None]


def floor(directory: Path, stack: ExitStack) -> LogRow:
    """Return orjson and one write(2) of a row that is there already."""
    row = {"step": 1, "time": time.time(), **VALUES}
    fd = os.open(directory / "floor.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stack.callback(os.close, fd)

    def log(step: int) -> None:
        os.write(fd, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    return log


def ours(directory: Path, stack: ExitStack) -> LogRow:
    """Return `run.log`, with everything that belongs to it: checks, CRC, replay, sync thread."""
    run = stack.enter_context(runstore.init(root=directory / "runs"))

    def log(step: int) -> None:
        run.log(
            {"train/loss": 0.3121, "train/accuracy": 0.9012, "lr": 1e-3, "grad_norm": 1.2345},
            step=step,
        )

    return log


def json_lines(directory: Path, stack: ExitStack) -> LogRow:
    """Return what a script without runstore does: json.dumps, a buffered file, a flush."""
    file = stack.enter_context((directory / "stdlib.jsonl").open("a"))

    def log(step: int) -> None:
        file.write(json.dumps({"step": step, "time": time.time(), **VALUES}) + "\n")
        file.flush()

    return log


def csv_rows(directory: Path, stack: ExitStack) -> LogRow:
    """Return the csv module on a buffered file, with a flush."""
    file = stack.enter_context((directory / "stdlib.csv").open("a", newline=""))
    writer = csv.writer(file)

    def log(step: int) -> None:
        writer.writerow([step, time.time(), *VALUES.values()])
        file.flush()

    return log


def summary_writer(directory: Path, stack: ExitStack) -> LogRow:
    """Return TensorBoard's SummaryWriter: four add_scalar calls, written by its own thread."""
    writer = SummaryWriter(str(directory / "tensorboard"))
    stack.callback(writer.close)

    def log(step: int) -> None:
        for name, value in VALUES.items():
            writer.add_scalar(name, value, step)

    return log


def main() -> int:
    """Measure all writers in turn and print the table."""
    makers = {
        "orjson + write(2)": floor,
        "runstore run.log": ours,
        "stdlib json + flush": json_lines,
        "stdlib csv + flush": csv_rows,
        "SummaryWriter": summary_writer,
    }
    with ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"))
        )
        loggers = {name: make(Path(directory), stack) for name, make in makers.items()}
        times: dict[str, list[float]] = {name: [] for name in loggers}
        for _ in range(ROUNDS):
            for name, log in loggers.items():
                rows = ROWS // 20 if name == "SummaryWriter" else ROWS
                times[name].append(_per_row_us(log, rows))
        return _report(times)


def _per_row_us(log: LogRow, rows: int) -> float:
    begun = time.perf_counter()
    for step in range(rows):
        log(step)
    return (time.perf_counter() - begun) / rows * 1e6


def _report(times: dict[str, list[float]]) -> int:
    base = statistics.median(times["orjson + write(2)"])
    print(f"one row of 4 scalars, {ROUNDS} rounds in turn   median µs   min..max      ratio")
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f}..{max(values):.2f}"
        print(f"{name:48} {median:8.2f}   {spread:14} {median / base:5.2f}")
    ratio = statistics.median(times["runstore run.log"]) / base
    verdict = "ok" if ratio <= BUDGET else "TOO SLOW"
    print(f"budget: run.log at most {BUDGET:g} times orjson + write(2): {ratio:.2f}, {verdict}")
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
