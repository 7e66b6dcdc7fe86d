"""Runs of TensorBoard: how long the monitor takes to show them, beside TensorBoard's own server.

1,000 runs of 2,000 steps and one of 200,000, as event files. The monitor counts as done when it has
read each run of the list, and the chart of the long one is drawn to its last value; the server,
with its fast reader, when its interface on this machine lists all runs and has that value; the
browser that would draw it is not counted. Both start in turn, on the same files. Exit status 1
above the budget.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from monitor_start import Drawn, Screen, time_to_draw

from runstore.sources.tfrecord import masked_crc32c

RUNS, STEPS, LONG_STEPS = 1000, 2000, 200_000
ROUNDS = 5
BUDGET = 1.25
BEGUN = 1.79e9
LAST_LOSS = 0.4321
NAME = "events.out.tfevents.1790000000.bench.1.0"
ASKED_EVERY_S = 0.05
GIVEN_UP_S = 300.0


def make_runs(root: Path) -> None:
    """Write the runs as SummaryWriter of torch does, the long one last: so it is selected."""
    body = b"".join(_events(STEPS, val_every=200))
    for number in range(RUNS):
        last = _scalar(STEPS + 1, "train/loss", 0.1 + number / 10_000)
        _write(root / f"sweep/run{number:04d}", body + last)
    _write(
        root / "long",
        b"".join(_events(LONG_STEPS - 1)) + _scalar(LONG_STEPS, "train/loss", LAST_LOSS),
    )


def _write(directory: Path, data: bytes) -> None:
    directory.mkdir(parents=True)
    (directory / NAME).write_bytes(data)


def _events(steps: int, val_every: int = 0) -> Iterator[bytes]:
    yield _record(b"\x09" + struct.pack("<d", BEGUN) + b"\x1a\x0dbrain.Event:2")
    for step in range(1, steps + 1):
        yield _scalar(step, "train/loss", 1 + 1 / step)
        if not val_every:
            yield _scalar(step, "lr", 0.001)
        elif step % val_every == 0:
            yield _scalar(step, "val/loss", 1 + 2 / step)


def _scalar(step: int, tag: str, value: float) -> bytes:
    named = b"\x0a" + _sized(tag.encode()) + b"\x15" + struct.pack("<f", value)
    when = b"\x09" + struct.pack("<d", BEGUN + step) + b"\x10" + _varint(step)
    return _record(when + b"\x2a" + _sized(b"\x0a" + _sized(named)))


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _record(event: bytes) -> bytes:
    size = struct.pack("<Q", len(event))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (size, event)]
    return size + checksums[0] + event + checksums[1]


def all_is_shown(screen: Screen) -> bool:
    """Tell whether each run was read, and the chart of the long one to its end."""
    text = "\n".join(screen)
    return (
        f"{RUNS + 1:,} runs" in text
        and f"{RUNS + 1:,} unknown" in text
        and "reading" not in text
        and f"━━ train/loss {LAST_LOSS}" in text
        and f"step {LONG_STEPS:,}" in text
    )


def server_time(root: Path) -> Drawn:
    """Start TensorBoard, ask it until it has all, and end it; return when, and its memory then."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--load_fast=true"]
    command += ["--host=127.0.0.1", f"--port={port}"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _has_all(f"http://127.0.0.1:{port}/data/"):
            if process.poll() is not None or time.perf_counter() - begun > GIVEN_UP_S:
                raise SystemExit("TensorBoard did not show the runs")
            time.sleep(ASKED_EVERY_S)
        seconds = time.perf_counter() - begun
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        return Drawn(seconds, sum(one.memory_info().rss for one in family) / (1 << 20))
    finally:
        process.terminate()
        process.wait()


def _has_all(url: str) -> bool:
    try:
        if len(_asked(f"{url}runs")) <= RUNS:
            return False
        tag = quote("train/loss", safe="")
        points = _asked(f"{url}plugin/scalars/scalars?run=long&tag={tag}")
    except OSError:
        return False
    return bool(points) and points[-1][1] == LONG_STEPS


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def list_time(root: Path) -> float:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "runstore.cli", "ls", str(root)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main() -> int:
    """Measure all in turn and print the medians."""
    directory = Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR")))
    try:
        make_runs(directory)
        monitor = [sys.executable, "-m", "runstore.tui_launcher", str(directory)]
        served, drawn, listed = [], [], []
        for _ in range(ROUNDS):
            served.append(server_time(directory))
            patience_s = max(5.0, 3 * served[-1].seconds)
            drawn.append(time_to_draw(monitor, all_is_shown, patience_s))
            listed.append(list_time(directory))
    finally:
        shutil.rmtree(directory)
    return _report(served, drawn, listed)


def _report(served: list[Drawn], drawn: list[Drawn], listed: list[float]) -> int:
    print(
        f"{RUNS:,} runs x {STEPS:,} steps and one of {LONG_STEPS:,}, {ROUNDS} starts in turn"
        "   median s   min..max   MiB"
    )
    for name, values in (("TensorBoard's server", served), ("runstore-tui", drawn)):
        _print_line(name, [one.seconds for one in values], max(one.peak_mib for one in values))
    _print_line("runstore ls", listed)
    ratio = statistics.median(one.seconds for one in drawn) / statistics.median(
        one.seconds for one in served
    )
    verdict = "ok" if ratio <= BUDGET else "TOO SLOW"
    print(f"ratio of the monitor to the server, at most {BUDGET:g}: {ratio:.2f}, {verdict}")
    return 0 if ratio <= BUDGET else 1


def _print_line(name: str, seconds: list[float], mib: float | None = None) -> None:
    spread = f"{min(seconds):.2f}..{max(seconds):.2f}"
    memory = "" if mib is None else f"{mib:6.0f}"
    print(f"{name:62} {statistics.median(seconds):8.2f}   {spread:14} {memory}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
