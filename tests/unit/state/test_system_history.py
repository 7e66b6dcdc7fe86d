from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from runstore.files.paths import StreamFile
from runstore.state.series import Series
from runstore.state.stragglers import silent_ranks, slow_ranks
from runstore.state.system_history import (
    PIECE_S,
    PIECES,
    STEPS_PER_S,
    SystemFiles,
    SystemHistory,
)

FILE = StreamFile(1, 0, "system")


def never() -> bool:
    return False


def row(time: float, **values: float) -> dict[str, object]:
    return {"step": int(time), "time": time, **{k.replace("__", "/"): v for k, v in values.items()}}


def append(path: Path, *rows: dict[str, object]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)


def extremes(pieces: list[Series]) -> tuple[float, float]:
    ranges = [found for piece in pieces if (found := piece.y_range) is not None]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def test_spike_of_one_sample_in_a_week_is_kept_in_bounded_memory() -> None:
    history = SystemHistory()
    for start in range(0, 60_480, 1000):
        times = range(start, start + 1000)
        history.add(FILE, [row(10.0 * t, cpu__percent=99.0 if t == 31_415 else 5.0) for t in times])
    assert extremes(history.curve(0, "cpu/percent", None)) == (5.0, 99.0)
    assert extremes(history.curve(0, "cpu/percent", 3600)) == (5.0, 5.0)
    curve = history.files[FILE].curves["cpu/percent"]
    assert len(curve.pieces) <= PIECES
    kept = [curve.whole, *curve.pieces.values()]
    assert sum(sys.getsizeof(getattr(series, "_lows")) for series in kept) < 20_000  # noqa: B009
    assert history.newest(0).steps_per_s() == pytest.approx(1.0)


def test_last_hour_is_fine_while_the_whole_grows_coarse() -> None:
    history = SystemHistory()
    history.add(FILE, [row(float(t), cpu__percent=float(t % 2)) for t in range(86_400)])
    pieces = history.curve(0, "cpu/percent", 3600)
    columns = [piece.columns(60).lows for piece in pieces[:-1]]
    assert all(sum(low == low for low in lows) > 30 for lows in columns)
    assert sum(piece.count for piece in pieces) >= 3600


@pytest.mark.parametrize("jump_s", [1e9, -1e9, 7200.0])
def test_clock_that_jumps_and_comes_back_leaves_the_newest_in_view(jump_s: float) -> None:
    history = SystemHistory()
    times = [1e9 + 10 * n for n in range(50)]
    rows = [row(t, cpu__percent=10.0) for t in times]
    rows.append(row(times[-1] + jump_s, cpu__percent=50.0))
    rows += [row(times[-1] + 10 * n, cpu__percent=20.0) for n in (1, 2, 3)]
    history.add(FILE, rows[:40])
    history.add(FILE, rows[40:])
    assert history.last_time == times[-1] + 30
    assert history.newest_value(0, "cpu/percent") == 20.0
    columns = history.curve(0, "cpu/percent", PIECE_S)
    assert any(piece.last == (times[-1] + 30, 20.0) for piece in columns)


def test_rows_that_tell_nothing_are_passed_over(tmp_path: Path) -> None:
    history = SystemHistory()
    path = tmp_path / "system-0001.jsonl"
    path.write_text('not json\n[1]\n{"cpu/percent":1}\n{"time":1e300,"cpu/percent":1}\n{"step":3')
    files = SystemFiles(tmp_path, history)
    assert files.read(never)
    assert history.ranks == []
    assert files.damage.startswith("system-0001.jsonl:1: not JSON: ")
    assert files.damage.endswith(" (and 3 lines more)")
    history.add(FILE, [{"time": 5.0, "cpu/percent": None, "_nonfinite": {"cpu/percent": "nan"}}])
    assert history.curve(0, "cpu/percent", None)[0].nonfinite == 1


def test_lines_that_are_no_samples_are_told_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "system-0001.jsonl"
    files = SystemFiles(tmp_path, SystemHistory())
    path.write_bytes(b"\xff garbage without an end")
    assert files.read(never)
    assert files.damage == "system-0001.jsonl:1: the line has no end"
    append(tmp_path / "system-0002.jsonl", row(100.0, cpu__percent=1.0), {"cpu/percent": 2.0})
    assert files.read(never)
    assert files.damage == "system-0002.jsonl:2: no 'time' in Unix seconds"
    (tmp_path / "system-0002.jsonl").write_text("")
    append(path, row(100.0, cpu__percent=1.0))
    append(path, row(110.0, cpu__percent=1.0))
    assert files.read(never)
    assert files.damage.startswith("system-0001.jsonl:1: not JSON: ")
    path.unlink()
    assert files.read(never)
    assert not files.damage


def test_files_of_all_attempts_and_ranks_are_read_on(tmp_path: Path) -> None:
    history = SystemHistory()
    files = SystemFiles(tmp_path, history)
    assert files.read(never) and history.ranks == []
    append(tmp_path / "system-0001.jsonl", row(100.0, cpu__percent=1.0))
    append(tmp_path / "system.rank3-0001.jsonl", row(100.0, cpu__percent=3.0))
    assert files.read(never) and history.ranks == [0, 3]
    append(tmp_path / "system-0002.jsonl", row(200.0, cpu__percent=2.0))
    assert files.read(never)
    assert history.newest(0).last == {"cpu/percent": 2.0}
    assert len(history.curve(0, "cpu/percent", None)) == 2
    assert history.span() == (100.0, 200.0)


def test_truncated_and_removed_files_leave_no_old_curve(tmp_path: Path) -> None:
    history = SystemHistory()
    files = SystemFiles(tmp_path, history)
    path = tmp_path / "system-0001.jsonl"
    append(path, *(row(float(t), cpu__percent=90.0) for t in range(100)))
    files.read(never)
    path.unlink()
    append(path, row(500.0, cpu__percent=10.0))
    files.read(never)
    assert extremes(history.curve(0, "cpu/percent", None)) == (10.0, 10.0)
    path.unlink()
    files.read(never)
    assert history.ranks == []


def test_many_curves_share_the_memory_of_few() -> None:
    history = SystemHistory()
    for rank in range(64):
        keys = {f"gpu{n}__busy_percent": 50.0 for n in range(8)}
        rows = [row(10.0 * t, **keys) for t in range(100)]
        history.add(StreamFile(1, 0, "system", rank), rows)
    buckets = [
        len(getattr(series, "_lows"))  # noqa: B009
        for samples in history.files.values()
        for curve in samples.curves.values()
        for series in (curve.whole, *curve.pieces.values())
    ]
    assert sum(buckets) <= 1 << 18


def test_pace_is_worked_out_of_steps_and_never_of_a_step_back() -> None:
    history = SystemHistory()
    history.add(FILE, [{"step": 0, "time": 0.0}, {"step": 50, "time": 10.0}])
    history.add(FILE, [{"step": 20, "time": 20.0}, {"step": 20, "time": 20.0}])
    assert [piece.last for piece in history.curve(0, STEPS_PER_S, None)] == [(10.0, 5.0)]


def test_slow_rank_is_well_below_the_median_and_a_little_is_not() -> None:
    assert slow_ranks({0: 10.0, 1: 10.0, 2: 4.0}) == {2: 0.4}
    assert slow_ranks({0: 10.0, 1: 9.0, 2: 8.1}) == {}
    assert slow_ranks({0: 90.0, 1: 40.0}, least=10.0) == {1: pytest.approx(40 / 65)}
    assert slow_ranks({0: 2.0, 1: 2.0, 2: 1.0}, least=10.0) == {}
    assert slow_ranks({0: 10.0, 1: None, 2: float("nan")}) == {}
    assert slow_ranks({0: 0.0, 1: 0.0}) == {}


def test_rank_is_silent_when_its_samples_have_stopped() -> None:
    assert silent_ranks({0: 1000.0, 1: 995.0, 2: 900.0}, 10.0) == {2: 100.0}
    assert silent_ranks({0: 1000.0, 1: 900.0}, 60.0) == {}
    assert silent_ranks({}) == {}
