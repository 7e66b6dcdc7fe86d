"""How much of the long fault tests is run: all, or a part that a seed chooses."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.harness import ROOT


@dataclass(frozen=True)
class Sample:
    """Which of the N, and which of the named cases, are tried."""

    share: float
    seed: str

    def numbers(self, case: str) -> Iterator[int]:
        """Yield the N of a case, for ever: all, or every few from a random one on."""
        stride = max(1, round(1 / self.share))
        number = 1 + random.Random(f"{self.seed} {case}").randrange(stride)
        while True:
            yield number
            number += stride

    def __contains__(self, case: str) -> bool:
        return random.Random(f"{self.seed} {case}").random() < self.share


def chosen_sample() -> Sample:
    """Return the sample of FAULTS_SAMPLE and FAULTS_SEED; the seed is else the commit's."""
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
