"""How long the monitor takes to show 1,000 runs, beside the smallest possible Textual app.

Both start in a pseudo-terminal of 160×45, in turn. The monitor counts as drawn when every visible
row has its true status and its last metric; the app, when its one word is there. Exit status 1
above the budget.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil
import pyte

RUNS = 1000
ROWS = 2000
ROUNDS = 7
BUDGET_S = 0.25
COLUMNS, LINES = 160, 45
ENDINGS = ("finished", "failed", "interrupted", "crashed")
TINY_APP = """
from textual.app import App
from textual.widgets import Static
class Tiny(App):
    def compose(self):
        yield Static("drawn")
Tiny().run()
"""

Screen = list[str]


def make_runs(root: Path) -> dict[str, tuple[str, str]]:
    """Write the runs; return each name's status and last loss as they should be shown."""
    rows = b"".join(_row(step, 1.0 + step / ROWS) for step in range(1, ROWS))
    expected = {}
    for number in range(RUNS):
        name, loss = f"bench{number:04d}", 0.1 + number / 10_000
        status = ENDINGS[number % len(ENDINGS)]
        _write_run(root, number, name, status, rows + _row(ROWS, loss))
        expected[name] = status, f"{loss:.4f}"
    return expected


def _row(step: int, loss: float) -> bytes:
    row = {"step": step, "epoch": 1 + step // 201, "time": 1.79e9 + step, "train/loss": loss}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _write_run(root: Path, number: int, name: str, status: str, rows: bytes) -> None:
    run = (
        root
        / f"20261120-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}-{name}-abcdefgh"
    )
    run.mkdir()
    about = {"format": 1, "id": run.name, "name": name, "created": 1.79e9, "params": {"lr": 0.1}}
    (run / "run.json").write_bytes(orjson.dumps(about))
    (run / "metrics-0001.jsonl").write_bytes(rows)
    events = run / "events-0001.jsonl"
    events.touch()
    # A pid beyond the kernel's largest, on this boot: the process is provably gone.
    opened = {
        "event": "open",
        "time": 1.79e9,
        "format": 1,
        "attempt": 1,
        "rank": 0,
        "host": "bench",
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid": 2**22 + 1,
        "pid_start": 1,
        "pid_ns": str(Path("/proc/self/ns/pid").readlink()),
        "inode": events.stat().st_ino,
        "lock": True,
    }
    starts = [
        {"event": "epoch_start", "time": 1.79e9, "epoch": e, "epochs": 10} for e in range(1, 11)
    ]
    end = {"event": "end", "time": 1.79e9 + ROWS, "status": status, "reason": "bench", "files": {}}
    lines = [opened, *starts, *([] if status == "crashed" else [end])]
    events.write_bytes(b"".join(orjson.dumps(e, option=orjson.OPT_APPEND_NEWLINE) for e in lines))
    epochs = (
        {"step": e * 200, "epoch": e, "time": 1.79e9, "val/loss": 1 / e} for e in range(1, 11)
    )
    (run / "epochs-0001.jsonl").write_bytes(
        b"".join(orjson.dumps(e, option=orjson.OPT_APPEND_NEWLINE) for e in epochs)
    )


class Drawn(NamedTuple):
    seconds: float
    """From the start of the program until its screen was as it should be."""
    peak_mib: float
    """The most memory that it had."""


class Printed(NamedTuple):
    chunks: list[tuple[float, bytes]]
    """What it printed, with the seconds since its start."""
    peak_mib: float
    """The most memory that it had."""
    family_mib: float
    """The memory that it and the programs that it started had at the end."""


def time_to_draw(command: list[str], drawn: Callable[[Screen], bool], patience_s: float) -> Drawn:
    """Start `command` in a terminal, and end it after so many seconds; tell when it was drawn."""
    printed = run_in_terminal(command, patience_s)
    seconds, _ = first_drawn(printed.chunks, drawn)
    return Drawn(seconds, printed.peak_mib)


def run_in_terminal(command: list[str], seconds: float) -> Printed:
    """Start `command` in a terminal, and end it after so many seconds."""
    begun = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.execv(command[0], command)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    try:
        chunks = _collect(fd, begun, seconds)
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        family_mib = sum(one.memory_info().rss for one in family) / (1 << 20)
    finally:
        os.killpg(pid, signal.SIGKILL)  # also what it has started: `wandb leet` is two programs
        _, _, usage = os.wait4(pid, 0)
        os.close(fd)
    per_mib = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Printed(chunks, usage.ru_maxrss / per_mib, family_mib)


def _collect(fd: int, begun: float, seconds: float) -> list[tuple[float, bytes]]:
    """Read what the program prints, with times, answering like a terminal does."""
    chunks = []
    while (left := begun + seconds - time.perf_counter()) > 0:
        if not select.select([fd], [], [], left)[0]:
            break
        try:
            data = os.read(fd, 1 << 16)
        except OSError:
            break
        chunks.append((time.perf_counter() - begun, data))
        os.write(fd, b"\x1b[1;1R" * data.count(b"\x1b[6n"))
    return chunks


def first_drawn(
    chunks: list[tuple[float, bytes]], drawn: Callable[[Screen], bool]
) -> tuple[float, int]:
    """Return when the screen was as it should be, and how many bytes had been printed by then."""
    screen: Screen = []
    for seconds, screen in screens(chunks):
        if drawn(screen):
            return seconds, sum(len(data) for at, data in chunks if at <= seconds)
    raise SystemExit("never drawn; the screen was:\n" + "\n".join(screen))


def screens(chunks: list[tuple[float, bytes]]) -> Iterator[tuple[float, Screen]]:
    """Yield the screen behind each of the chunks, with its time."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    for seconds, data in chunks:
        stream.feed(_without_what_pyte_lacks(data))
        yield seconds, screen.display


def _without_what_pyte_lacks(data: bytes) -> bytes:
    import re

    return re.sub(
        rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9]+\$p|\x1b\]22;[^\x07\x1b]*(\x07|\x1b\\)",
        b"",
        data,
    )


def all_rows_true(expected: dict[str, tuple[str, str]]) -> Callable[[Screen], bool]:
    """Return a test of a screen: at least eight run rows, each with its status and last loss."""

    def drawn(screen: Screen) -> bool:
        rows = [line for line in screen if "bench0" in line and "metrics" not in line]
        listed = [line for line in rows if any(word in line for word in ENDINGS)]
        shown = sum("1,000 runs" in line for line in screen)
        return (
            shown > 0 and len(rows) >= 8 and len(listed) == len(rows) and all(map(true_row, rows))
        )

    def true_row(line: str) -> bool:
        name = line[line.index("bench0") :][: len("bench0000")]
        status, loss = expected[name]
        return status in line and loss in line

    return drawn


def main() -> int:
    """Measure both in turn and print the medians."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        root = Path(directory)
        expected = make_runs(root)
        tiny = [sys.executable, "-c", TINY_APP]
        monitor = [sys.executable, "-m", "runstore.tui_launcher", directory]
        tiny_s, monitor_s = [], []
        for _ in range(ROUNDS):
            app = time_to_draw(tiny, lambda s: any("drawn" in line for line in s), 2.0)
            tiny_s.append(app.seconds)
            monitor_s.append(time_to_draw(monitor, all_rows_true(expected), 4.0).seconds)
    return _report(tiny_s, monitor_s)


def _report(tiny_s: list[float], monitor_s: list[float]) -> int:
    print(f"{RUNS:,} runs x {ROWS:,} rows, {ROUNDS} starts in turn   median s   min..max")
    for name, values in (("smallest Textual app", tiny_s), ("runstore-tui", monitor_s)):
        spread = f"{min(values):.3f}..{max(values):.3f}"
        print(f"{name:44} {statistics.median(values):8.3f}   {spread}")
    extra = statistics.median(monitor_s) - statistics.median(tiny_s)
    verdict = "ok" if extra <= BUDGET_S else "TOO SLOW"
    print(f"budget: at most {BUDGET_S:g} s more: {extra:.3f}, {verdict}")
    return 0 if extra <= BUDGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
