"""A split over two processes amounts to what it does in one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import torch, torch.distributed as dist
import runstore

rank, world = int(sys.argv[1]), int(sys.argv[2])
if world > 1:
    dist.init_process_group("gloo", rank=rank, world_size=world)
g = torch.Generator().manual_seed(0)
batches = [
    (torch.randn(n, 5, generator=g), torch.randint(0, 5, (n,), generator=g)) for n in (8, 8, 3)
]
batches[1][0][0, 0] = float("nan")
with runstore.init(root=sys.argv[3]) as run:
    for split in ("val", "test"):
        # The last split has a single batch: other processes have none.
        mine = batches[rank::world] if split == "val" else batches[:1][rank::world]
        run.begin_split(split)
        for scores, y in mine:
            run.track(loss=float(scores.mean()), n=len(y))
            if y[0] % 2:
                run.track(rare=1.0, n=len(y))
            classes = scores.nan_to_num().argmax(1) + (990 if split == "test" else 0)
            run.track_classification(classes, y)
            run.track_regression(scores[:, 1], y)
        run.end_split()
if world > 1:
    dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def run_processes(tmp_path: Path, world: int) -> list[dict[str, Any]]:
    """Run the script in `world` processes; return the run's metrics and reports rows."""
    root = tmp_path / str(world)
    port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
    env = {**os.environ, **port, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(world), str(root)],
            env=env,
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    for process in started:
        _, told = process.communicate(timeout=90)
        assert process.returncode == 0, told.decode()
    return rows_of(root)


def rows_of(root: Path) -> list[dict[str, Any]]:
    files = sorted(root.glob("*/metrics-*.jsonl")) + sorted(root.glob("*/reports-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_means_reports_and_errors_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    alone, together = run_processes(tmp_path, 1), run_processes(tmp_path, 2)
    assert len(together) == len(alone) == 4
    for row, expected in zip(together, alone, strict=True):
        assert row.keys() == expected.keys()
        for key in row.keys() - {"time"}:
            close = isinstance(expected[key], float)
            found = pytest.approx(expected[key], rel=1e-12) if close else expected[key]
            assert row[key] == found, key
