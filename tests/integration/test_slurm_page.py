"""The commands of README.md and docs/slurm.md, as written, on a real Slurm of one node."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import WaitUntil
from tests.integration.one_node_slurm import NEEDS_SLURM, ROOT, Slurm, started

pytestmark = NEEDS_SLURM

NOTE = "on Slurm: tests/integration/test_slurm_page.py runs it"
BLOCK = re.compile(rf"^<!-- {NOTE} -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with started(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def do(slurm: Slurm, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that runs a block of a page, and returns what it prints."""

    def run(block: str) -> str:
        done = slurm.tried("bash", "-euo", "pipefail", "-c", block, cwd=tmp_path)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    return run


def statuses(slurm: Slurm, folder: Path) -> list[str]:
    told = slurm.runstore("ls", "--json", "runs", cwd=folder)
    return [run["status"] for run in json.loads(told.stdout)]


def test_readme_submits_lists_and_cancels(
    slurm: Slurm, tmp_path: Path, do: Callable[[str], str], wait_until: WaitUntil
) -> None:
    page = (ROOT / "README.md").read_text()
    (script,) = re.findall(r"^cat > lr.py <<'END'\n.*?^END$", page, re.MULTILINE | re.DOTALL)
    (block,) = BLOCK.findall(page)
    do(script)
    assert len(re.findall(r"Slurm job \d+_\d", do(block))) == 4
    wait_until(lambda: not slurm.jobs(), 60, what="the end of what was cancelled")
    assert set(statuses(slurm, tmp_path)) <= {"planned", "interrupted", "finished"}
    do("bash -n rates.sbatch")


def test_page_is_true_as_written(
    slurm: Slurm, tmp_path: Path, do: Callable[[str], str], wait_until: WaitUntil
) -> None:
    sweeps, lists, cancels, owns = BLOCK.findall((ROOT / "docs" / "slurm.md").read_text())
    do(sweeps)
    listed = do(lists)
    assert len(re.findall(r"Slurm job \d+_\d", listed)) == 4
    do(cancels)
    wait_until(lambda: not slurm.jobs(), 60, what="the end of what was cancelled")
    assert set(statuses(slurm, tmp_path)) <= {"planned", "interrupted", "finished"}
    do(owns)
    wait_until(lambda: not slurm.jobs(), 60, what="the end of the script's tasks")
    assert statuses(slurm, tmp_path) == ["finished"] * 4
