"""The view of machines: what it says of each, and where its key and its tab are."""

from __future__ import annotations

from pathlib import Path

import pytest

from runstore.hosts.boxes import Gpu, GpuProcess, Machine
from tests.ui.screen_text import screen_text
from tui.app import MonitorApp
from tui.renderables.hosts import Shown, hosts
from tui.renderables.root_names import RootNames
from tui.renderables.text import line_width, plain

BUSY = Gpu(
    1,
    "NVIDIA A100-SXM4-80GB",
    81920,
    63488,
    97,
    (GpuProcess(11, "alice", "python train.py", 61440, 10), GpuProcess(12, used_mib=None)),
)
MACHINE = Machine(
    "gpu-07", 12.3, 64, 504, 100, (Gpu(0, "NVIDIA A100-SXM4-80GB", 81920, 4, 0), BUSY)
)


def shown(app: MonitorApp) -> str:
    return screen_text(app.get_default_screen())


def told(machine: Shown, width: int = 100) -> str:
    return "\n".join(plain(row).rstrip() for row in hosts([machine], width))


def test_machine_tells_free_gpus_memory_and_whose_runs() -> None:
    text = told(Shown("hpc1", MACHINE, 3, runs={("gpu-07", 10): "digits"}, pulled=[("/runs", 4.0)]))
    assert "hpc1  1 of 2 GPUs free  3s ago" in text
    assert "/runs  pulled 4s ago" in text
    assert "load 12.3 of 64 cores  memory 100 of 504 GiB free" in text
    assert "0 NVIDIA A100-SXM4-80GB    free" in text
    assert "62.0 of 80 GiB" in text
    assert "alice 60.0 GiB  ▶ digits  python train.py" in text
    assert "?  process 12" in text


def test_process_of_another_machine_with_the_same_number_is_not_that_run() -> None:
    assert "digits" not in told(Shown("hpc1", MACHINE, runs={("gpu-08", 10): "digits"}))


def test_host_that_is_away_keeps_what_was_known_and_says_why() -> None:
    text = told(Shown("hpc1", MACHINE, 300, "Connection refused", 12.0, [("/runs", None)]))
    assert "Connection refused; again in 12 s" in text
    assert "1 of 2 GPUs free  5m ago" in text
    assert "not pulled yet" in text


def test_problem_is_told_to_its_end_on_a_narrow_screen() -> None:
    why = "me@hpc1: Permission denied (publickey). It may want a code: start this again"
    text = told(Shown("hpc1", None, problem=why, retry_s=15.0), 60)
    assert " ".join(text.split()).endswith("start this again; again in 15 s")


def test_machine_without_gpus_and_without_proc_says_so() -> None:
    text = told(Shown("mac", Machine("mac", gpu_problem="no nvidia-smi"), 1))
    assert "it has no /proc" in text
    assert "no nvidia-smi" in text
    assert "asking …" in told(Shown("hpc1", None))


@pytest.mark.parametrize("width", [20, 34, 60, 80, 160])
def test_lines_fit_whatever_the_width(width: int) -> None:
    shown = Shown("x" * 90, MACHINE, 1, "y" * 200, 3.0, [("/z" * 90, 1.0)])
    assert all(line_width(row) <= width for row in hosts([shown], width))


def test_copies_have_the_names_of_hosts_and_own_roots_theirs() -> None:
    roots = [Path("/c/hpc1/runs"), Path("/home/me/runs")]
    names = RootNames(roots, {"/c/hpc1/runs": "hpc1"})
    assert names.put_before("digits", "/c/hpc1/runs/a") == "hpc1/digits"
    assert names.put_before("digits", "/home/me/runs/a") == "runs/digits"
    alone = RootNames(roots[:1], {"/c/hpc1/runs": "hpc1"})
    assert alone.put_before("digits", "/c/hpc1/runs/a") == "hpc1/digits"


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_nine_shows_this_machine_and_leaves_the_tabs_as_they_were(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = MonitorApp([tmp_path])
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.3)
        assert "9 Hosts" not in shown(app)
        assert "8 Samples" in shown(app)
        await pilot.press("9")
        for _ in range(100):
            await pilot.pause(0.1)
            if "memory" in shown(app):
                break
        text = shown(app)
        assert "9 Hosts" in text
        assert "this machine" in text
        assert "GiB free" in text
        await pilot.press("1")
        assert "9 Hosts" not in shown(app)
