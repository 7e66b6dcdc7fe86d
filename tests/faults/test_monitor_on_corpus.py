"""The live monitor over the whole corpus: every run can be looked at, and keys are answered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.corpus import CASES, make
from tests.faults.sample import Sample
from tests.terminal import MONITOR, Terminal

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

PEAK_MIB = 200


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


@pytest.mark.timeout(1200)
@pytest.mark.faults
@pytest.mark.parametrize("heavy", [False, True], ids=["light", "heavy"])
def test_every_run_can_be_looked_at_live(
    tmp_path: Path, wait_until: WaitUntil, sample: Sample, heavy: bool
) -> None:
    names = [name for name, case in CASES.items() if case.heavy is heavy and "2-gib" not in name]
    if heavy:
        names = [name for name in names if name in sample] or names[:1]
    for name in names:
        make(tmp_path / "runs", name)
    terminal = Terminal((*MONITOR, str(tmp_path / "runs")), 160, 45, {})
    try:
        wait_until(terminal.shows("runs", "? help"), 60)
        for _ in range(len(names) + 2):
            # Behind the last pane the list has the keys again.
            for key in "12345\tj":
                terminal.press(key)
                time.sleep(0.1)
            # The help is drawn by the same thread as everything else.
            terminal.press("?")
            wait_until(terminal.shows("type to search"))
            terminal.press("?")
            wait_until(lambda: not terminal.shows("type to search")())
            terminal.output.clear()
            terminal.press("\x0c")
        peak = peak_mib(terminal.process.pid)
        terminal.press("q")
        output = terminal.finish(30)
    finally:
        terminal.close()
    assert b"Traceback" not in output
    assert b"pane error" not in output
    assert terminal.process.returncode == 0
    assert peak < PEAK_MIB, peak
