"""Damaged and hostile runs: every view shows the good rows, counts the others, and ends soon."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.corpus import CASES, make
from tests.faults.sample import chosen_sample

# A heavy case is built and shown within a minute where nothing else runs.
pytestmark = pytest.mark.timeout(900)

PEAK_MIB = 200
LOOK_S = 600
"""All views of the heaviest case take a tenth of it; a walk that does not end never comes here."""


@dataclass(frozen=True)
class Seen:
    """What all views made of a run."""

    out: Path
    results: dict[str, tuple[int, float]]

    def text(self, view: str, stream: str = "out") -> str:
        return (self.out / f"{view}.{stream}").read_text("utf-8", "surrogateescape")


def look(root: Path, run: Path, out: Path) -> Seen:
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests/faults/views.py"), root, run, out],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LOOK_S,
        check=True,
    )
    return Seen(out, json.loads(done.stdout))


def look_once(shared: Path, name: str) -> Seen:
    """Show a case to all views, unless a test of this session or another worker has."""
    folder = shared / f"corpus-{name}"
    folder.mkdir(exist_ok=True)
    out, results = folder / "out", folder / "results.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not results.exists():
            try:
                seen = look(folder / "runs", make(folder / "runs", name), out)
            finally:
                shutil.rmtree(folder / "runs")
            results.write_text(json.dumps(seen.results))
    return Seen(out, json.loads(results.read_text()))


SAMPLE = chosen_sample()


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.faults if found.heavy else ())
        for name, found in CASES.items()
        if not found.heavy or name in SAMPLE
    ],
)
def case_seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> tuple[str, Seen]:
    """Each case as all views show it."""
    base = tmp_path_factory.getbasetemp()
    # Each worker has a folder of its own in one that they share.
    shared = base if worker_id == "master" else base.parent
    return request.param, look_once(shared, request.param)


def test_every_view_ends_in_little_memory_and_without_a_traceback(
    case_seen: tuple[str, Seen],
) -> None:
    name, seen = case_seen
    for view, (status, peak_mib) in seen.results.items():
        assert "Traceback" not in seen.text(view, "err"), seen.text(view, "err")
        assert "Error" not in seen.text(view, "err"), seen.text(view, "err")
        assert status == 0, (view, seen.text(view, "err"))
        assert peak_mib < PEAK_MIB, (name, view, peak_mib)
    assert "pane error" not in seen.text("once")


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


def test_what_is_left_out_is_told(case_seen: tuple[str, Seen]) -> None:
    name, seen = case_seen
    assert CASES[name].told in seen.text("show"), seen.text("show")
    assert CASES[name].told in seen.text("once"), seen.text("once")
