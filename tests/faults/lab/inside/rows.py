"""A training loop without the training: rows whose values follow from their step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import runstore
from runstore import Run
from tests.faults.lab.acks import AckFile

PAUSE_S = 0.002


class Logs(Protocol):
    """A run, or what stands for one."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write one row."""


def values_of(step: int) -> dict[str, float]:
    """Return the metrics of a step; about 200 bytes as a row."""
    return {f"train/metric_{index}": step + index / 8 for index in range(6)}


def log_rows(
    run: Logs,
    acks: AckFile,
    *,
    first: int = 0,
    until: Callable[[int], bool],
    pause_s: float = PAUSE_S,
) -> int:
    """Log a row a step, acknowledge each when `log()` has returned; return the next step."""
    step = first
    while not until(step):
        run.log(values_of(step), step=step)
        acks.tell(step)
        step += 1
        time.sleep(pause_s)
    return step


def start_run(root: Path, **options: Any) -> Run:
    """Open a run as a script would, without the rows about the machine."""
    return runstore.init({"lr": 0.1}, root=root, system_interval_s=None, **options)


def steps_found(run_dir: Path) -> set[int]:
    """Return the steps whose rows are read back as they were logged."""
    rows = runstore.load(run_dir).metrics()
    return {row["step"] for row in rows if values_of(row["step"]).items() <= row.items()}


def bad_files(run_dir: Path) -> list[str]:
    """Return what other tools would refuse: files that are not whole lines of JSON objects."""
    return [bad for path in sorted(run_dir.glob("*.jsonl")) if (bad := _first_bad_line(path))]


def _first_bad_line(path: Path) -> str:
    lines = path.read_bytes().split(b"\n")
    if lines.pop():
        return f"{path.name} ends inside a line"
    for number, line in enumerate(lines, 1):
        try:
            good = isinstance(json.loads(line), dict)
        except ValueError:
            good = False
        if not good:
            return f"{path.name}:{number} is no JSON object"
    return ""
