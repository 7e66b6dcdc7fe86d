"""How the log view does with an output of ten million lines: opening, jumping, searching, memory.

A file of 740 MB is written as `output.log` of a run and read as the monitor reads it, through the
thread beside the screen. Exit status 1 above the budget. The file is in the page cache; on a disk
that is slow, a search takes as long as reading the file does.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tui.log_reading import LogReading, Page, Shape
from tui.side_reader import SideReader

LINES = int(os.environ.get("BENCH_LINES", "10000000"))
RARE = LINES * 98 // 100
"""The one line with the rare word: a search from the end goes all around."""
BUDGET = {
    "the end is shown": 0.25,
    "the top is shown": 0.1,
    "one page up": 0.1,
    "a line in the middle": 0.1,
    "a rare word is found": 10.0,
    "all lines and hits are counted": 20.0,
}
"""Seconds. A machine that is shared takes several times what it would take alone."""
BUDGET_MIB = 24
"""More than the program had before the file was opened."""


def write_output(path: Path) -> None:
    """Write lines of 74 bytes; one, far behind the beginning, has the rare word."""
    with path.open("wb") as file:
        for start in range(0, LINES, 100_000):
            numbers = range(start, min(LINES, start + 100_000))
            file.write(b"".join(_line(number) for number in numbers))


def _line(number: int) -> bytes:
    word = "NEEDLE" if number == RARE else "INFO"
    text = f"2026-11-29 12:00:00 {word} step {number:,} loss 0.31840 lr 3.0e-04"
    return f"{text:<73}\n".encode()


def memory_mib() -> float:
    """Return what this process has of memory now, or the most it had where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Watch:
    """Reads as the pane does, and takes the times."""

    def __init__(self, run_dir: Path) -> None:
        self.reading = LogReading(run_dir)
        self.seconds: dict[str, float] = {}
        self._side = SideReader()

    def until(self, what: str, ask: Callable[[], object], is_so: Callable[[Page], bool]) -> None:
        begun = time.perf_counter()
        ask()
        self._side.ask(self.reading, now=True)
        while not is_so(self.reading.page):
            time.sleep(0.001)
            self._side.ask(self.reading)
        self.seconds[what] = time.perf_counter() - begun


def measure(run_dir: Path) -> tuple[dict[str, float], float]:
    """Return the seconds that each thing took, and how much memory came on top, in MiB."""
    before = memory_mib()
    watch = Watch(run_dir)
    reading, last, rare = watch.reading, f"step {LINES - 1:,}", f"step {RARE:,} "

    def shows(text: str) -> Callable[[Page], bool]:
        return lambda page: any(text in row.text for row in page.rows)

    watch.until("the end is shown", lambda: reading.reshape(Shape(110, 40)), shows(last))
    watch.until("the top is shown", reading.go_to_top, shows("step 0 "))
    watch.until("one page up", lambda: (reading.follow(True), reading.move(-40)), shows("loss"))
    reading.search("needle")
    watch.until("a rare word is found", lambda: None, shows(rare))
    reading.search("")
    watch.until("a line in the middle", lambda: reading.move(100), shows(f"{RARE + 110:,}"))
    reading.search("LOSS 0.3184")
    watch.until(
        "all lines and hits are counted",
        lambda: None,
        lambda page: page.lines == LINES and page.hits is not None and page.hits.count == LINES,
    )
    return watch.seconds, memory_mib() - before


def main() -> int:
    """Write the file, measure, and print."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        run_dir = Path(directory)
        write_output(run_dir / "output.log")
        size = (run_dir / "output.log").stat().st_size
        seconds, grown_mib = measure(run_dir)
    print(f"{LINES:,} lines, {size / 1e6:,.0f} MB")
    is_ok = grown_mib <= BUDGET_MIB
    for what, taken in seconds.items():
        is_ok &= taken <= BUDGET[what]
        verdict = "ok" if taken <= BUDGET[what] else "TOO SLOW"
        print(f"{what:32} {taken:8.3f} s   budget {BUDGET[what]:g} s, {verdict}")
    verdict = "ok" if grown_mib <= BUDGET_MIB else "TOO MUCH"
    print(f"{'more memory':32} {grown_mib:8.1f} MiB budget {BUDGET_MIB} MiB, {verdict}")
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
