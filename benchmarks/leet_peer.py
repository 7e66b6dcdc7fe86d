"""The monitor beside W&B's LEET: start, memory, and what either sends to the terminal.

A hundred runs of 300 steps, with the same values in either tool's own files, and one that is being
written at ten steps a second. Both viewers are started as users do, in turn, in a terminal of
160×45. A viewer counts as started when it says that there are a hundred runs and the newest one's
chart is drawn; bytes are those sent by then. LEET is what `make peers` installs: without it nothing
is measured. Exit status 1 when the monitor needs longer than LEET to start, or sends more than
`IDLE_BUDGET` bytes a second when nothing happens.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from monitor_start import COLUMNS, LINES, Printed, Screen, first_drawn, run_in_terminal, screens

RUNS = 100
ROUNDS = 5
PATIENCE_S = (4.0, 12.0, 40.0)
"""How long a start is waited for: a longer time when it was not drawn within a shorter one."""
SETTLED_S = 6.0
"""By then nothing of the start is left to be sent."""
LONGEST_FLUSH_S = 16.0
"""W&B has written a row to the disk by then."""
IDLE_S, LIVE_S = 15.0, 35.0
IDLE_BUDGET = 100.0
PEERS = Path(__file__).resolve().parent.parent / ".venv-peers"
VALUES = str(Path(__file__).with_name("_leet_values.py"))


class Viewer(NamedTuple):
    name: str
    tool: str
    """Whose runs it reads."""
    writer: str
    """The Python that writes them."""
    command: list[str]
    is_started: Callable[[Screen], bool]
    step: re.Pattern[str]
    """Finds the newest step that it shows."""


def viewers(root: Path) -> list[Viewer]:
    """Return both, each on its own directory below `root`."""
    ours, theirs = root / "runstore", root / "wandb"
    leet = [str(PEERS / "bin" / "wandb"), "leet", str(theirs / "wandb")]
    monitor = [sys.executable, "-m", "runstore.tui_launcher", str(ours)]
    return [
        Viewer(
            "W&B LEET",
            "wandb",
            str(PEERS / "bin" / "python"),
            leet,
            lambda screen: (
                f"of {RUNS}]" in screen[0] and _says(screen, "train/loss", "│⡀", "_step")
            ),
            re.compile(r"_step +(\d+)"),
        ),
        Viewer(
            "runstore-tui",
            "runstore",
            sys.executable,
            monitor,
            lambda screen: f"{RUNS} runs" in screen[0] and _says(screen, "train/loss", " 300"),
            re.compile(r"step ([\d,]+)"),
        ),
    ]


def _says(screen: Screen, *texts: str) -> bool:
    return all(any(text in line for line in screen) for text in texts)


def write(viewer: Viewer, root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    directory = root / viewer.tool
    directory.mkdir(exist_ok=True)
    command = [viewer.writer, VALUES, viewer.tool, str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start(viewer: Viewer) -> tuple[float, int]:
    """Start a viewer and end it; return when it was drawn, and the bytes sent by then."""
    for patience_s in PATIENCE_S[:-1]:
        with suppress(SystemExit):
            return first_drawn(
                run_in_terminal(viewer.command, patience_s).chunks, viewer.is_started
            )
    return first_drawn(run_in_terminal(viewer.command, PATIENCE_S[-1]).chunks, viewer.is_started)


@contextmanager
def being_written(both: list[Viewer], root: Path) -> Iterator[None]:
    """Have a live run in either tool's directory, all of whose kinds of rows are on the disk."""
    writers = [write(viewer, root, "live", "--pause", "0.1") for viewer in both]
    try:
        time.sleep(LONGEST_FLUSH_S)
        yield
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def sent_per_s(printed: Printed, seconds: float) -> float:
    """Return bytes a second from when the viewer had settled to its end."""
    sent = sum(len(data) for at, data in printed.chunks if at > SETTLED_S)
    return sent / (seconds - SETTLED_S)


def updates(viewer: Viewer, printed: Printed) -> int:
    """Return how often the newest step on the screen changed once the viewer had settled."""
    shown = []
    for at, screen in screens(printed.chunks):
        found = viewer.step.search("\n".join(screen))
        if at > SETTLED_S and found and found[1] not in shown[-1:]:
            shown.append(found[1])
    return max(0, len(shown) - 1)


def main() -> int:
    """Measure both in turn and print what was found."""
    if not (PEERS / "stamp").exists():
        print("not measured: W&B is not installed; `make peers` does it")
        return 0
    os.environ.update(WANDB_MODE="offline", WANDB_ERROR_REPORTING="false")
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        root = Path(directory)
        os.environ["WANDB_CONFIG_DIR"] = str(root / "config")
        both = viewers(root)
        for viewer in both:
            if write(viewer, root, "--many", str(RUNS)).wait():
                raise SystemExit(f"the runs of {viewer.tool} could not be written")
        starts: dict[str, list[tuple[float, int]]] = {viewer.name: [] for viewer in both}
        for _ in range(ROUNDS):
            for viewer in both:
                starts[viewer.name].append(start(viewer))
        idle = [run_in_terminal(viewer.command, SETTLED_S + IDLE_S) for viewer in both]
        with being_written(both, root):
            live = [run_in_terminal(viewer.command, SETTLED_S + LIVE_S) for viewer in both]
    return _report(both, starts, idle, live)


def _report(
    both: list[Viewer],
    starts: dict[str, list[tuple[float, int]]],
    idle: list[Printed],
    live: list[Printed],
) -> int:
    print(f"{RUNS} runs, {COLUMNS}x{LINES}, {ROUNDS} starts in turn; live: {LIVE_S:g} s")
    print(
        f"{'':14} {'start s':>8} {'min..max':>12} {'bytes':>8} {'MiB':>6} {'idle B/s':>9}"
        f" {'live B/s':>9} {'updates':>8}"
    )
    for viewer, at_rest, busy in zip(both, idle, live, strict=True):
        seconds, sizes = zip(*starts[viewer.name], strict=True)
        spread = f"{min(seconds):.2f}..{max(seconds):.2f}"
        print(
            f"{viewer.name:14} {statistics.median(seconds):8.2f} {spread:>12}"
            f" {statistics.median(sizes):8,.0f} {at_rest.family_mib:6.0f}"
            f" {sent_per_s(at_rest, SETTLED_S + IDLE_S):9.0f}"
            f" {sent_per_s(busy, SETTLED_S + LIVE_S):9.0f} {updates(viewer, busy):8}"
        )
    return _verdict(starts, sent_per_s(idle[-1], SETTLED_S + IDLE_S))


def _verdict(starts: dict[str, list[tuple[float, int]]], idle_per_s: float) -> int:
    leet, monitor = (statistics.median(at for at, _ in found) for found in starts.values())
    is_ok = monitor <= leet and idle_per_s <= IDLE_BUDGET
    print(
        f"the monitor starts in at most LEET's time, and sends at most {IDLE_BUDGET:g} B/s when"
        f" nothing happens: {'ok' if is_ok else 'MISSED'}"
    )
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
