"""The GPUs that a sweep's processes are given, each its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runstore.environment.gpus import load_nvml, open_gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one cell at a time."""

    number: int
    gpus: tuple[str, ...] = ()
    """As they stand in `CUDA_VISIBLE_DEVICES`; none: the variable is left alone."""

    @property
    def devices(self) -> str:
        """The value of `CUDA_VISIBLE_DEVICES`; empty where it is left alone."""
        return ",".join(self.gpus)


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that CUDA shows to a process with this environment.

    Those of `CUDA_VISIBLE_DEVICES` as they are named there, or else all of the machine by number.
    """
    named = environment.get(VISIBLE)
    if named is None:
        return [str(index) for index in range(_count())]
    gpus: list[str] = []
    for entry in named.split(","):
        # CUDA C++ Programming Guide: the first that names no device ends the list.
        if not entry.strip() or entry.strip().startswith("-"):
            break
        gpus.append(entry.strip())
    return gpus


def _count() -> int:
    found = open_gpus(load_nvml(), None)
    if found is None:
        return _listed_by_driver()
    count = len(found.describe())
    found.close()
    return count


def _listed_by_driver() -> int:
    """Ask the program that comes with the driver: the package nvidia-ml-py is an extra."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--list-gpus"],
            capture_output=True,
            timeout=ANSWER_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return sum(line.startswith(b"GPU ") for line in lines)


def slots(jobs: int | None, gpus: Sequence[str], each: int = 1) -> list[Slot]:
    """Return the places for cells, the GPUs handed out to them.

    Args:
        jobs: how many; None for as many as there are GPUs for, one without GPUs.
        gpus: what there is. With more jobs than GPUs several cells share one.
        each: GPUs of a cell; 0 leaves all of them to every cell.
    """
    if not gpus or not each:
        return [Slot(number) for number in range(jobs or 1)]
    each = min(each, len(gpus))
    jobs = jobs or len(gpus) // each
    handed = [
        tuple(gpus[(number * each + n) % len(gpus)] for n in range(each)) for number in range(jobs)
    ]
    return [Slot(number, own) for number, own in enumerate(handed)]


def threads_each(jobs: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that keeps several cells from using every core each; maybe none."""
    if jobs < 2 or THREADS in environment:
        return {}
    return {THREADS: str(max(1, _cores() // jobs))}


def _cores() -> int:
    if sys.platform == "darwin":
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0))
