"""The lab of the matrix, one a worker, and how much of the matrix is run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Lab


@dataclass(frozen=True)
class Sample:
    """Which of the N are tried: all, or every few from a random one on."""

    share: float
    seed: str

    def numbers(self, case: str) -> Iterator[int]:
        """Yield the N of a case, for ever."""
        stride = max(1, round(1 / self.share))
        number = 1 + random.Random(f"{self.seed} {case}").randrange(stride)
        while True:
            yield number
            number += stride


def _sample() -> Sample:
    return Sample(float(os.environ.get("FAULTS_SAMPLE") or 1), _seed())


def _seed() -> str:
    given = os.environ.get("FAULTS_SEED")
    if given:
        return given
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() or "0"


def pytest_report_header() -> str:
    """Say what to give to have the same sample again."""
    sample = _sample()
    return f"faults: FAULTS_SAMPLE={sample.share:g} FAULTS_SEED={sample.seed}"


@pytest.fixture(scope="session")
def sample() -> Sample:
    """How much of the matrix is run, from FAULTS_SAMPLE and FAULTS_SEED."""
    return _sample()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with a process that has imported everything; without strace there is none."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    lab = Lab(Path(tmp_path_factory.mktemp("lab")))
    yield lab
    lab.close()
