"""Damaged and hostile runs: every view shows the good rows, counts the others, and ends soon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.corpus import CASES, make

PEAK_MIB = 200
CPU_S = 5.0
WHOLE_CPU_S = {"cat-events": 20.0, "csv": 20.0, "json": 20.0}
"""What writes all rows of a large run takes as long as there are rows."""


@dataclass(frozen=True)
class Seen:
    """What all views made of a run."""

    out: Path
    results: dict[str, tuple[int, float, float]]

    def text(self, view: str, stream: str = "out") -> str:
        return (self.out / f"{view}.{stream}").read_text("utf-8", "surrogateescape")


def look(root: Path, run: Path, out: Path) -> Seen:
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests/faults/views.py"), root, run, out],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=110,
        check=True,
    )
    return Seen(out, json.loads(done.stdout))


@pytest.fixture(scope="session")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Seen]:
    """Return a function that shows a case to all views, once per session."""
    found: dict[str, Seen] = {}

    def seen(name: str) -> Seen:
        if name not in found:
            folder = tmp_path_factory.mktemp("corpus")
            run = make(folder / "runs", name)
            found[name] = look(folder / "runs", run, folder / "out")
            shutil.rmtree(folder / "runs")
        return found[name]

    return seen


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if found.heavy else ())
        for name, found in CASES.items()
    ],
)
def case_seen(request: pytest.FixtureRequest, looks: Callable[[str], Seen]) -> tuple[str, Seen]:
    """Each case as all views show it."""
    return request.param, looks(request.param)


@pytest.mark.timeout(120)
def test_every_view_ends_soon_in_little_memory_and_without_a_traceback(
    case_seen: tuple[str, Seen],
) -> None:
    name, seen = case_seen
    for view, (status, seconds, peak_mib) in seen.results.items():
        assert "Traceback" not in seen.text(view, "err"), seen.text(view, "err")
        assert "Error" not in seen.text(view, "err"), seen.text(view, "err")
        assert status == 0, (view, seen.text(view, "err"))
        limit = WHOLE_CPU_S.get(view, CPU_S) if CASES[name].heavy else CPU_S
        # A million rows are folded at 10 MB/s.
        limit *= 2 if name.startswith("million") else 1
        assert seconds < limit, (name, view, seconds)
        assert peak_mib < PEAK_MIB, (name, view, peak_mib)
    assert "pane error" not in seen.text("once")


@pytest.mark.timeout(120)
def test_good_rows_are_all_shown_and_bad_ones_are_counted_with_their_place(
    case_seen: tuple[str, Seen],
) -> None:
    name, seen = case_seen
    case = CASES[name]
    if case.steps is not None:
        rows = [json.loads(line) for line in seen.text("cat").splitlines()]
        assert [row["step"] for row in rows] == list(case.steps)
        exported = json.loads(seen.text("json"))
        assert [row["step"] for row in exported[0]["metrics"]] == list(case.steps)
    told = seen.text("cat", "err")
    assert (f"{case.bad} bad line" in told) is (case.bad > 0), told
    assert ("metrics-0001.jsonl:" in told) is (case.bad > 0), told


@pytest.mark.timeout(120)
def test_what_is_left_out_is_told(case_seen: tuple[str, Seen]) -> None:
    name, seen = case_seen
    assert CASES[name].told in seen.text("show"), seen.text("show")
    assert CASES[name].told in seen.text("once"), seen.text("once")
