"""System metrics: what is sampled, at what price, and that it never touches the training."""

from __future__ import annotations

import logging
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.environment.process import descendants
from runstore.environment.sampler import MOST_OF_A_CORE, Meter, SystemSampler, pause_after
from runstore.runs.lookup import find
from runstore.runs.reader import visible_rows
from runstore.sources import RunRef
from tests.conftest import WaitUntil

ROOT = Path(__file__).resolve().parents[3]
LINUX = sys.platform.startswith("linux")
GPU_KEYS = {
    f"gpu0/{name}"
    for name in (
        "busy_percent memory_busy_percent memory_used_gib memory_total_gib power_w temperature_c "
        "sm_clock_mhz memory_clock_mhz slowed_by_power slowed_by_heat slowed_by_hardware"
    ).split()
}
"""What tests/unit/environment/test_gpus.py finds a device to say."""
BURN = "print(flush=True)\nwhile True: pass"


def no_complaint(key: str, message: str) -> None:
    raise AssertionError(f"{key}: {message}")


def system_rows(path: Path) -> list[dict[str, Any]]:
    ref: RunRef = find(str(path), path.parent)
    return [line.row for line in visible_rows(ref, "system") if line.row is not None]


@pytest.fixture
def burning() -> Iterator[subprocess.Popen[str]]:
    """A child that uses one core."""
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


@pytest.mark.parametrize("is_there", [True, False])
def test_machine_that_does_not_see_the_directory_has_no_samples(
    tmp_path: Path, is_there: bool
) -> None:
    samples: list[object] = []
    complaints: list[str] = []
    sampler = SystemSampler(
        tmp_path if is_there else tmp_path / "elsewhere",
        0.3,
        of_several=True,
        write=samples.append,
        tell=lambda event, fields: None,
        complain=lambda key, message: complaints.append(message),
    )
    time.sleep(1.0)
    sampler.stop()
    assert bool(samples) == is_there
    assert complaints == []


def test_values_are_floats_in_their_ranges(tmp_path: Path) -> None:
    meter = Meter(tmp_path, no_complaint)
    time.sleep(0.1)
    values = meter.sample()
    assert {type(value) for value in values.values()} == {float}
    assert all(value >= 0 for value in values.values())
    assert values["cpu/percent"] <= 100
    assert 0 < values["memory/used_gib"] < values["memory/total_gib"]
    assert 0 < values["process/rss_gib"] < values["memory/total_gib"]
    assert values["disk/free_gib"] > 0


def test_children_are_part_of_the_process(
    tmp_path: Path, burning: subprocess.Popen[str], wait_until: WaitUntil
) -> None:
    meter = Meter(tmp_path, no_complaint)

    def is_child_seen() -> bool:
        time.sleep(0.5)
        values = meter.sample()
        assert values["process/count"] >= 2
        return values["process/cpu_percent"] > 10

    # On a machine with much to do, half a second may pass without a turn for the child.
    wait_until(is_child_seen)


def test_time_of_a_child_that_ended_stays_in_the_sum(tmp_path: Path) -> None:
    meter = Meter(tmp_path, no_complaint)
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", busy], check=True)
    values = meter.sample()
    cpu_s = values["process/cpu_percent"] / 100 * (time.monotonic() - begun)
    assert cpu_s >= 0.25


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_descendants_are_those_psutil_finds(burning: subprocess.Popen[str]) -> None:
    psutil = pytest.importorskip("psutil")
    nested = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    with subprocess.Popen(nested) as child:
        own = psutil.Process()
        while len(psutil.Process(child.pid).children()) < 1:
            time.sleep(0.01)
        found = descendants(own.pid)
        expected = {process.pid for process in own.children(recursive=True)}
        for process in psutil.Process(child.pid).children():
            process.kill()
    assert found is not None
    assert set(found) == expected
    assert {child.pid, burning.pid} < expected


def test_descendants_of_nobody_are_unknown() -> None:
    assert descendants(2**22 + 1) is None


def test_run_of_half_a_second_has_a_row(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(1):
            time.sleep(0.6)
    (row,) = system_rows(run.path)
    assert (row["step"], row["epoch"]) == (0, 1)
    assert row["memory/used_gib"] > 0
    data = runstore.load(run.path)
    assert (data.status, data.metrics()) == ("finished", [])
    assert data.state.warnings == []


def test_first_row_comes_after_a_second_and_the_last_at_the_end(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        begun = run.now()
        time.sleep(1.6)
    first, last = (row["time"] - begun for row in system_rows(run.path))
    assert 0.8 < first < last
    assert last > 1.6


def test_rows_keep_the_interval(tmp_path: Path, wait_until: WaitUntil) -> None:
    """Not more often; and more rarely only while a busy machine makes a sample costly."""
    begun = time.monotonic()
    with runstore.init(root=tmp_path, system_interval_s=0.5) as run:
        wait_until(lambda: len(system_rows(run.path)) >= 3)
    assert len(system_rows(run.path)) <= 2 + (time.monotonic() - begun) / 0.5


@pytest.mark.parametrize("interval_s", [None, 10.0])
def test_run_of_a_moment_and_one_without_an_interval_have_no_file(
    tmp_path: Path, interval_s: float | None
) -> None:
    with runstore.init(root=tmp_path, system_interval_s=interval_s) as run:
        if interval_s is None:
            time.sleep(0.5)
    assert not list(run.path.glob("system-*"))


@pytest.mark.parametrize("interval_s", [0, -1, float("nan")])
def test_interval_that_is_none_is_refused(tmp_path: Path, interval_s: float) -> None:
    with pytest.raises(ValueError, match="expected seconds, or None"):
        runstore.init(root=tmp_path, system_interval_s=interval_s)


def test_part_that_fails_costs_one_warning_and_no_other_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path, system_interval_s=0.3) as run:
        sampler = run._sampler
        assert sampler is not None
        sampler._directory = tmp_path / "gone"
        time.sleep(1.2)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "no disk (FileNotFoundError" in warned[0]
    rows = system_rows(run.path)
    assert len(rows) >= 2
    assert all("cpu/percent" in row and "disk/free_gib" not in row for row in rows)


def test_sample_costs_little_and_a_costly_one_comes_rarely(tmp_path: Path) -> None:
    meter = Meter(tmp_path, no_complaint)
    costs = []
    for _ in range(20):
        begun = time.thread_time()
        meter.sample()
        costs.append(time.thread_time() - begun)
    assert statistics.median(costs) / 10 < MOST_OF_A_CORE
    assert pause_after(0.001, 10) == 10
    assert pause_after(0.05, 10) == pytest.approx(50)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_threads_of_a_run_take_no_signals_and_the_main_thread_all(tmp_path: Path) -> None:
    wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
    # A monitor that another test closed may have a reader that still waits for its file.
    before = set(threading.enumerate())
    with runstore.init(root=tmp_path):
        ours = {t.name: t.native_id for t in threading.enumerate() if t not in before}
        assert set(ours) == {"runstore-writer", "runstore-system"}
        for number in ours.values():
            mask = int(fields(Path(f"/proc/self/task/{number}/status"))["SigBlk"], 16)
            assert all(mask >> (number - 1) & 1 for number in wanted)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint(wanted)


def fields(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_child_neither_samples_nor_waits(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, system_interval_s=0.3) as run:
        child = os.fork()
        if child == 0:
            begun = time.monotonic()
            run._sampler.stop()  # type: ignore[union-attr]
            os._exit(0 if time.monotonic() - begun < 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        time.sleep(0.8)
    rows = system_rows(run.path)
    assert rows
    assert len({row["time"] for row in rows}) == len(rows)


def test_documents_name_each_key_and_no_other(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "format.md").read_text("utf-8")
    section = page.partition("\n### system\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    machine = {key for key in named if not key.startswith("gpuN/")}
    assert {key.replace("gpu0/", "gpuN/") for key in GPU_KEYS} == named - machine
    sampled = set(Meter(tmp_path, no_complaint).sample())
    assert sampled <= machine
    if LINUX:
        # In some containers there are no disks and no cards to be seen.
        assert all(key.startswith(("disk/", "network/")) for key in machine - sampled)
