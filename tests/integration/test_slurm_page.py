"""The commands of docs/slurm.md, as written, on a real Slurm of one node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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


def test_page_is_true_as_written(slurm: Slurm, tmp_path: Path, wait_until: WaitUntil) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "slurm.md").read_text())
    assert len(blocks) == 4

    def do(block: str) -> str:
        done = slurm.tried("bash", "-euo", "pipefail", "-c", block, cwd=tmp_path)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    def statuses() -> list[str]:
        told = slurm.runstore("ls", "--json", "runs/digits", cwd=tmp_path)
        return [run["status"] for run in json.loads(told.stdout)]

    sweeps, lists, cancels, owns = blocks
    do(sweeps)
    listed = do(lists)
    assert len(re.findall(r"Slurm job \d+_\d", listed)) == 4
    do(cancels)
    wait_until(lambda: not slurm.jobs(), 60, what="the end of what was cancelled")
    assert set(statuses()) <= {"planned", "interrupted", "finished"}
    do(owns)
    wait_until(lambda: not slurm.jobs(), 60, what="the end of the script's tasks")
    assert statuses() == ["finished"] * 4
