"""Runs resumable_training.py, and tells what of a run counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import runstore

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPT = HERE / "resumable_training.py"
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
TIMES = ("duration_s", "samples_per_s")


def command(run: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), str(run), *options]


def train(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the training until it ends or is killed."""
    return subprocess.run(
        command(run, *options),
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=120,
    )


def train_to_the_end(run: Path, *options: str) -> None:
    done = train(run, *options)
    assert done.returncode == 0, done.stderr


def outcome(run: Path) -> dict[str, Any]:
    """Return the rows that count, without times, and the weights."""
    data = runstore.load(run)
    rows = {"metrics": data.metrics(), "epochs": data.epochs(), "reports": data.reports()}
    return {
        "status": data.status,
        "weights": (run / "weights").read_text(),
        **{stream: [_timeless(row) for row in found] for stream, found in rows.items()},
    }


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "time" and not k.endswith(TIMES)}
