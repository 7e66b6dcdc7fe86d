"""The lab of the matrix, one a worker, and how much of the matrix is run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Lab
from tests.faults.sample import Sample, chosen_sample


def pytest_report_header() -> str:
    """Say what to give to have the same sample again."""
    sample = chosen_sample()
    return f"faults: FAULTS_SAMPLE={sample.share:g} FAULTS_SEED={sample.seed}"


@pytest.fixture(scope="session")
def sample() -> Sample:
    """How much of the matrix is run, from FAULTS_SAMPLE and FAULTS_SEED."""
    return chosen_sample()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with a process that has imported everything; without strace there is none."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    lab = Lab(Path(tmp_path_factory.mktemp("lab")))
    yield lab
    lab.close()
