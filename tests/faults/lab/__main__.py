"""`make faults-lab`: real power loss, full disks and file servers, in virtual machines.

TRIALS=5 for more trials of each, ONLY=power-loss-ext4 (or a part of names: ONLY=nfs) for some of
them. It needs Linux on x86-64, Debian's packages and root; docs/lab.md says what it does.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.faults.lab.guest import HERE, TREE, Guest, GuestError
from tests.faults.lab.scenarios import SCENARIOS, Bench, Scenario, Trial
from tests.faults.lab.table import Row, markdown, plain

CACHE = TREE / ".lab"
REPORT = TREE / "docs/reliability.md"
HIDDEN = ("/mnt/", "/run/", "/proc/", "/sys/")
"""Where guests mount something of their own."""
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def main() -> int:
    """Run the scenarios, print the table; 1 when a promise is broken."""
    options = _options()
    chosen = [one for one in SCENARIOS if any(part in one.name for part in options.only)]
    if not chosen:
        names = " ".join(scenario.name for scenario in SCENARIOS)
        print(
            f"make faults-lab: ONLY={' '.join(options.only)} is none of: {names}", file=sys.stderr
        )
        return 2
    if obstacle := _obstacle():
        print(f"make faults-lab: {obstacle}", file=sys.stderr)
        return 2
    if subprocess.run([str(HERE / "build.sh"), str(CACHE)], check=False).returncode != 0:
        return 2
    begun = time.monotonic()
    with _work_folder() as work:
        rows = _run_all(chosen, options.trials, options.jobs, work)
    return _report(rows, time.monotonic() - begun, write=options.write)


def _obstacle() -> str:
    """Return why nothing can be tried here; empty when it can."""
    if os.geteuid() != 0:
        return "run it as root (sudo make faults-lab)"
    for path in (str(TREE), sys.executable):
        if shlex.quote(path) != path:
            return f"{path!r} stands on a kernel's command line, which has no quotes; move it"
        if path.startswith(HIDDEN):
            return f"{path!r} is hidden in the guests by what they mount; move it"
    return ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3, help="of each scenario (default 3)")
    parser.add_argument("--jobs", type=int, default=3, help="guests at a time (default 3)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {REPORT.name}")
    parser.add_argument("only", nargs="*", default=[""], help="scenarios whose name has this part")
    return parser.parse_args()


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Give a folder for images; whatever happens, no guest and no image is left behind."""
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="trials-", dir=CACHE) as folder:
        try:
            yield Path(folder)
        finally:
            Guest.kill_all()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run_all(chosen: Sequence[Scenario], trials: int, jobs: int, work: Path) -> list[Row]:
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        futures = [
            [pool.submit(_one, scenario, number, work) for number in range(trials)]
            for scenario in chosen
        ]
        return [_row(scenario, of) for scenario, of in zip(chosen, futures, strict=True)]
    finally:
        # Before the pool's threads are waited for: a guest that runs may take minutes.
        Guest.kill_all()
        pool.shutdown(cancel_futures=True)


def _one(scenario: Scenario, number: int, work: Path) -> Trial:
    folder = work / f"{scenario.name}-{number}"
    folder.mkdir()
    try:
        return scenario.trial(Bench(CACHE, folder))
    except GuestError as error:
        return Trial(0, 0, problems=(str(error),))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _row(scenario: Scenario, futures: Sequence[Future[Trial]]) -> Row:
    row = Row(scenario, [future.result() for future in futures])
    print(f"{scenario.name}: {row.cells()[-1]}", file=sys.stderr, flush=True)
    for problem in row.problems:
        print(f"  {problem}", file=sys.stderr, flush=True)
    return row


def _report(rows: list[Row], duration_s: float, *, write: bool) -> int:
    broken = sum(bool(row.problems) for row in rows)
    print(plain(rows))
    print(f"{len(rows) - broken} kept, {broken} broken, in {duration_s / 60:.1f} min")
    if write:
        head, _, rest = REPORT.read_text().partition(BEGIN)
        REPORT.write_text(head + BEGIN + markdown(rows) + END + rest.partition(END)[2])
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
