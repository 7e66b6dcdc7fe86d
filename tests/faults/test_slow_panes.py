"""A file server that does not answer for the run whose log or system samples are on screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import WaitUntil
from tests.faults.test_slow_server import beside_dead_server, make_run
from tests.terminal import Terminal

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("unshare")]


def test_log_and_system_say_so_and_show_the_next_run(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    root = tmp_path / "runs"
    older, hung = make_run(root, "older"), make_run(root, "newest")
    (older / "output.log").write_text("printed by the older one\n")
    sample = '{"step":1,"time":1795000000.0,"cpu/percent":37.0}\n'
    (older / "system-0001.jsonl").write_text(sample)
    command = beside_dead_server(hung, "runstore.tui_launcher", root)
    monitor = Terminal(command, 120, 30, {"PYTHONPATH": str(repo_root)})
    try:
        wait_until(monitor.shows("1 finished"))
        monitor.press("6")
        wait_until(monitor.shows("does not answer", "Log"))
        monitor.press("J")
        wait_until(monitor.shows("printed by the older one"))
        monitor.press("K7")
        wait_until(monitor.shows("the samples does not answer"))
        monitor.press("J")
        wait_until(monitor.shows("cpu 37 %"))
    finally:
        monitor.close()
