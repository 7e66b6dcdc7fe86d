"""The view System: what is drawn of samples, and the pane."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore.files.paths import StreamFile
from runstore.state.system_history import SystemHistory
from tests.ui.test_app import monitor, press, write_plain
from tests.ui.test_log import until_shown
from tui.renderables.system import draw
from tui.renderables.system_charts import View
from tui.renderables.text import line_width, plain

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor

NOW = 1_795_000_000.0


def sample(at: float, gpus: int = 1, busy: float = 90.0, step: int = 0) -> dict[str, float]:
    values = {
        "step": step,
        "time": at,
        "cpu/percent": 37.0,
        "cpu/load_1min": 4.1,
        "memory/used_gib": 21.3,
        "memory/total_gib": 62.0,
        "disk/read_mib_per_s": 1.5,
        "network/sent_mib_per_s": 0.5,
    }
    for gpu in range(gpus):
        values |= {
            f"gpu{gpu}/busy_percent": busy,
            f"gpu{gpu}/memory_used_gib": 18.2,
            f"gpu{gpu}/memory_total_gib": 80.0,
            f"gpu{gpu}/slowed_by_heat": float(gpu == 1),
        }
    return values


def history_of(ranks: Mapping[int, float], gpus: int = 1, count: int = 60) -> SystemHistory:
    """Return samples of ranks, each with its speed, 1 being full."""
    history = SystemHistory()
    for rank, speed in ranks.items():
        rows = [
            sample(NOW + 10 * n, gpus, 90.0 * speed, int(120 * n * speed)) for n in range(count)
        ]
        history.add(StreamFile(1, 0, "system", rank), rows)
    return history


def text_of(history: SystemHistory, view: View | None = None) -> str:
    return "\n".join(plain(line) for line in draw(history, view or View()).lines)


def test_newest_figures_and_charts_are_drawn() -> None:
    text = text_of(history_of({0: 1.0}))
    assert "cpu 37 %" in text and "memory 21.3/62.0 GiB" in text
    assert "18.2/80.0 GiB" in text and "90 %" in text
    assert "steps/s  ━ 12.00" in text
    assert any("\u2800" < char <= "\u28ff" for char in text)
    assert "-5" in text and "0 min" in text


def test_eight_gpus_have_a_line_each_and_say_what_slows_them() -> None:
    text = text_of(history_of({0: 1.0}, gpus=8), View(width=110))
    assert all(f"gpu{n}" in text for n in range(8))
    assert text.count("slowed by heat") == 1


@pytest.mark.parametrize("width", [58, 78, 110, 300])
@pytest.mark.parametrize("window", [0, 1, 2])
def test_no_line_is_wider_than_the_pane(width: int, window: int) -> None:
    for history in (
        history_of({0: 1.0}, 8),
        history_of(dict.fromkeys(range(64), 1.0)),
        SystemHistory(),
    ):
        for line in draw(history, View(width, window)).lines:
            assert line_width(line) <= max(width, 78)


def strips_of(history: SystemHistory, view: View) -> dict[str, str]:
    """Return the load over time of each line that has one, by the first word of the line."""
    lines = text_of(history, view).splitlines()
    found = [(line.split(), re.search("[ ▁-█]*[▁-█]", line)) for line in lines]
    return {words[0]: match[0].strip() for words, match in found if match}


def idle_in_the_middle(gpu: int, sample_at: int) -> float:
    """Return the load of GPUs of which the second waits while the third part of the time."""
    return 3.0 if gpu == 1 and 20 <= sample_at < 40 else 97.0


def test_load_of_each_gpu_is_drawn_over_the_time() -> None:
    history = SystemHistory()
    rows = [sample(NOW + 10 * n, 2) for n in range(60)]
    for n, row in enumerate(rows):
        row |= {f"gpu{gpu}/busy_percent": idle_in_the_middle(gpu, n) for gpu in (0, 1)}
    history.add(StreamFile(1, 0, "system"), rows)
    strips = strips_of(history, View(width=110, window=0))
    assert set(strips["gpu0"]) == {"▇"}
    third = len(strips["gpu1"]) // 3
    assert set(strips["gpu1"][third + 2 : 2 * third - 2]) == {"▁"}
    assert set(strips["gpu1"][: third - 2] + strips["gpu1"][2 * third + 2 :]) == {"▇"}
    assert len(strips["gpu0"]) == len(strips["gpu1"]) > 30


def test_load_of_each_rank_is_drawn_over_the_time() -> None:
    history = SystemHistory()
    for rank in (0, 1):
        rows = [sample(NOW + 10 * n, 0) for n in range(60)]
        for n, row in enumerate(rows):
            row[f"gpu{rank}/busy_percent"] = idle_in_the_middle(rank, n)
        history.add(StreamFile(1, 0, "system", rank), rows)
    strips = strips_of(history, View(width=110, window=0))
    assert set(strips["0"]) == {"▇"}
    assert set(strips["1"]) == {"▇", "▁"} | set(strips["1"]) & set("▂▃▄▅▆")
    assert not strips_of(history_of({0: 1.0, 1: 1.0}, gpus=0), View(width=110))


class Counted(SystemHistory):
    """Samples, and how often all files were gone through for the time that they span."""

    spans = 0

    def span(self) -> tuple[float, float] | None:
        self.spans += 1
        return super().span()


def test_time_that_is_drawn_is_not_looked_for_at_each_rank() -> None:
    """Each look goes through the files of all ranks: for each of 512 it took seconds."""
    looks = []
    for ranks in (16, 64):
        history = Counted()
        for rank in range(ranks):
            history.add(StreamFile(1, 0, "system", rank), [sample(NOW), sample(NOW + 10)])
        draw(history, View(160))
        looks.append(history.spans)
    assert looks[0] == looks[1], looks


def test_charts_of_ranks_with_several_gpus_say_what_the_table_says() -> None:
    history = SystemHistory()
    for rank, load in ((0, 90.0), (1, 30.0)):
        rows = [sample(NOW + 10 * n, gpus=4) | {"gpu2/busy_percent": load} for n in range(60)]
        history.add(StreamFile(1, 0, "system", rank), rows)
    text = text_of(history, View(width=110))
    assert "━r0 90.00  ━r1 75.00" in text, "the mean load of a rank's GPUs"
    assert "━r0 72.80  ━r1 72.80" in text and "72.8/320.0 GiB" in text, "the memory of all"
    strips = [one.split()[-1] for one in text.splitlines() if re.match(r"\s*[01]\s", one)]
    assert set(strips[0]) != set(strips[1])


def test_ranks_of_several_hosts_say_which_they_are_on() -> None:
    history = history_of({0: 1.0, 1: 1.0, 2: 0.5}, gpus=0)
    hosts = ((0, "node07.cluster"), (1, "node07.cluster"), (2, "node11\x1b[2J.cluster"))
    lines = [line.split() for line in text_of(history, View(110, hosts=hosts)).splitlines()]
    assert ["RANK", "HOST", "STEPS/S"] in [words[:3] for words in lines]
    assert [words[1] for words in lines[2:5]] == [r"node11\x1b[2J", "node07", "node07"]
    addresses = tuple((rank, f"10.0.0.{rank}") for rank in range(3))
    assert all(address in text_of(history, View(110, hosts=addresses)) for _, address in addresses)
    one = tuple((rank, "node07") for rank in range(3))
    assert "HOST" not in text_of(history, View(110, hosts=one))


def test_long_names_of_hosts_leave_room_for_the_word_and_keep_their_numbers() -> None:
    history = history_of({0: 1.0, 1: 1.0, 2: 0.5}, gpus=0)
    hosts = tuple((rank, f"gpu-node-a100-partition-{rank:03d}") for rank in range(3))
    for width in (78, 100, 160):
        lines = [line[:width] for line in text_of(history, View(width, hosts=hosts)).splitlines()]
        assert "▼ steps/s 50% of" in lines[2], width
        told = [line.split()[1] for line in lines[2:5]]
        assert [host[-3:] for host in told] == ["002", "000", "001"], width


async def test_pane_names_the_hosts_of_the_newest_attempt(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    for attempt, hosts in ((1, ("node1", "node2")), (2, ("node3", "node4"))):
        processes = [{"rank": rank, "host": host} for rank, host in enumerate(hosts)]
        ranks = {"event": "ranks", "time": NOW, "world_size": 2, "processes": processes}
        (run / f"events-{attempt:04d}.jsonl").write_text(json.dumps(ranks) + "\n")
    for name in ("system-0002.jsonl", "system.rank1-0002.jsonl"):
        (run / name).write_text(json.dumps(sample(time.time())) + "\n")
    async with monitor(tmp_path) as screen:
        await press(screen, "7")
        text = await until_shown(screen, "node3", "node4")
        assert "node1" not in text


def test_time_without_samples_is_left_blank() -> None:
    history = SystemHistory()
    times = [10 * n for n in range(20)] + [2000 + 10 * n for n in range(20)]
    history.add(StreamFile(1, 0, "system"), [sample(NOW + at) for at in times])
    strip = strips_of(history, View(width=110, window=1))["gpu0"]
    assert re.fullmatch("▇+ {20,}▇+", strip)


def test_slow_rank_is_marked_by_word_and_sign() -> None:
    history = history_of({0: 1.0, 1: 1.0, 2: 0.5, 3: 1.0})
    text = text_of(history)
    assert "▼ 1 of 4 ranks behind: 2" in text
    assert "▼ steps/s 50% of the median" in text
    assert text.count("▼") == 2
    before = draw(history, View(), is_whole=False)
    assert "▼" not in "\n".join(plain(line) for line in before.lines)


def test_rank_that_says_nothing_any_more_is_silent() -> None:
    history = history_of({0: 1.0, 1: 1.0})
    history.add(StreamFile(1, 0, "system"), [sample(NOW + 3600)])
    assert "silent for" in text_of(history)


def test_rank_that_waits_for_a_silent_one_is_not_called_slow() -> None:
    history = history_of({0: 1.0, 1: 1.0}, gpus=0, count=10)
    waiting = [sample(NOW + 10 * n, 0, step=1080) for n in range(10, 40)]
    history.add(StreamFile(1, 0, "system"), waiting)
    text = text_of(history)
    assert "▼ 1 of 2 ranks behind: 1" in text
    assert "silent for" in text and "of the median" not in text


def test_charts_of_one_rank_are_a_choice_and_others_are_told_together() -> None:
    history = history_of(dict.fromkeys(range(64), 1.0), gpus=2)
    assert draw(history, View()).ranks == tuple(range(64))
    assert "━r0" in text_of(history)
    assert "━gpu1" in text_of(history, View(rank=17))
    assert "━r0" in text_of(history, View(rank=99))  # there is none such


def test_single_sample_and_no_sample_are_drawn() -> None:
    history = SystemHistory()
    assert draw(history, View()).lines == ()
    history.add(StreamFile(1, 0, "system"), [sample(NOW, 0)])
    assert "cpu 37 %" in text_of(history)


def test_figures_of_other_tools_have_charts_too() -> None:
    history = SystemHistory()
    rows = [{"time": NOW + n, "proc.memory\x1b[2J": float(n)} for n in range(5)]
    history.add(StreamFile(1, 0, "system"), rows)
    assert r"proc.memory\x1b[2J" in text_of(history)


async def test_pane_reads_on_and_keys_change_time_and_rank(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    path = run / "system-0001.jsonl"
    now = time.time()
    path.write_text("".join(json.dumps(sample(now - 60 + 10 * n)) + "\n" for n in range(6)))
    async with monitor(tmp_path) as screen:
        await press(screen, "7")
        await until_shown(screen, "cpu 37 %", "last hour", "18.2/80.0 GiB")
        with path.open("a") as file:
            file.write(json.dumps({**sample(now + 10), "cpu/percent": 88.0}) + "\n")
        await until_shown(screen, "cpu 88 %")
        await press(screen, "t")
        await until_shown(screen, "System · all")
        (run / "system.rank1-0001.jsonl").write_text(json.dumps(sample(now + 10)) + "\n")
        await until_shown(screen, "all ranks")
        await press(screen, "l", "l")
        await until_shown(screen, "rank 1")


async def test_run_without_samples_says_so_and_metrics_below_system_are_drawn(
    tmp_path: Path,
) -> None:
    write_plain(tmp_path, 1)
    other = tmp_path / "20260101-000000-other-aaaaaa"
    other.mkdir()
    rows = [{"step": n, "system/gpu.0.temp": 60 + n} for n in range(5)]
    (other / "metrics-0001.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    async with monitor(tmp_path) as screen:
        await press(screen, "7")
        await until_shown(screen, "no system samples")
        await press(screen, "J")
        await until_shown(screen, "gpu.0.temp 64")


async def test_damaged_file_of_samples_is_told_by_file_and_line(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    path = run / "system-0001.jsonl"
    path.write_bytes(b"\xff\x00 garbage\n" * 3)
    # Zeros in a file that was just written may still become data, so they are waited for.
    os.utime(path, (time.time() - 3600,) * 2)
    async with monitor(tmp_path) as screen:
        await press(screen, "7")
        await until_shown(screen, "no samples that can be read: system-0001.jsonl:1: not JSON")
        with path.open("a") as file:
            file.write(json.dumps(sample(time.time())) + "\n")
        await until_shown(screen, "cpu 37 %", "system-0001.jsonl:1: not JSON")


async def test_samples_that_mlflow_has_kept_are_drawn(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "0" / ("0123456789abcdef" * 2)
    (run / "metrics" / "system").mkdir(parents=True)
    (run / "params").mkdir()
    (run / "tags").mkdir()
    (run / "meta.yaml").write_text(
        f"run_id: {run.name}\nrun_name: kept\nstatus: 3\nstart_time: 1795000000000\n"
        "end_time: 1795000100000\nlifecycle_stage: active\nartifact_uri: ''\nexperiment_id: '0'\n"
    )
    (run.parent / "meta.yaml").write_text("name: Default\nexperiment_id: '0'\n")
    samples = "".join(f"{1795000000000 + 10_000 * n} {40 + n} {n}\n" for n in range(8))
    (run / "metrics" / "system" / "cpu_utilization_percentage").write_text(samples)
    async with monitor(tmp_path) as screen:
        await press(screen, "7")
        await until_shown(screen, "cpu_utilization_percentage", "47.00")


def test_samples_of_a_real_run_are_on_screen_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    with runstore.init(root=tmp_path, name="sampled", system_interval_s=0.3) as run:
        run.log({"loss": 1.0}, step=1)
        samples = run.path / "system-0001.jsonl"
        wait_until(lambda: samples.exists() and samples.read_bytes().count(b"\n") > 1)
    terminal = start_monitor(tmp_path, columns=160, rows=45)
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.press("7")
    assert wait_until(terminal.shows("System · last hour", "cpu %", "memory", "disk free"))
    terminal.press("t")
    assert wait_until(terminal.shows("System · all"))
