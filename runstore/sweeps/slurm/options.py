"""What is typed behind `--slurm`, as the options of sbatch(1)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runstore.errors import RunStoreError, SweepError
from runstore.slurm.script import BATCH_VALUE, REQUEUE_S, checked_limit_s

SIGNAL_S = 120
LEAST_SIGNAL_S = REQUEUE_S + 5
MOST_SIGNAL_S = 65535
"""As sbatch(1) has it."""
_OTHER_NAMES = {"cpus": "cpus-per-task", "memory": "mem", "job-name": "name"}
_OWN = ("time", "name", "parallel", "requeues", "signal")
_SBATCH = (
    "account",
    "begin",
    "comment",
    "constraint",
    "cpus-per-gpu",
    "cpus-per-task",
    "dependency",
    "exclude",
    "exclusive",
    "gpu-bind",
    "gpus",
    "gpus-per-node",
    "gpus-per-task",
    "gres",
    "hint",
    "licenses",
    "mail-type",
    "mail-user",
    "mem",
    "mem-per-cpu",
    "mem-per-gpu",
    "nice",
    "nodelist",
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "partition",
    "prefer",
    "qos",
    "reservation",
    "threads-per-core",
    "tmp",
    "wckey",
)
KEYS = tuple(sorted({*_OWN, *_SBATCH, *_OTHER_NAMES}))
"""What may be typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """What Slurm is asked for, the same for every cell."""

    time_s: int
    """The time limit of one start. Before it the cell saves and goes back into the queue."""
    name: str | None = None
    """The job's; None for the sweep's."""
    parallel: int | None = None
    """How many cells run at once at most."""
    requeues: int | None = None
    """How often a cell may come to its time limit; None for as often as it gets on."""
    signal_s: int = SIGNAL_S
    """So long before the time limit, or up to a minute earlier, a cell is asked to save."""
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)
    """Further options of sbatch(1), without their dashes."""

    @property
    def time_min(self) -> int:
        """The time limit in minutes, the unit in which Slurm counts."""
        return math.ceil(self.time_s / 60)

    @property
    def grace_s(self) -> int:
        """Seconds that a cell has to save and end, before it is requeued."""
        return self.signal_s - REQUEUE_S


def slurm_words(texts: Iterable[str]) -> dict[str, str]:
    """Return the values of `partition=gpu time=4:00:00 gpus=1 parallel=8` by sbatch's own names.

    Raises:
        SweepError: a key is unknown or comes twice, or a value is none.
    """
    given: dict[str, str] = {}
    for text in texts:
        key, value = _pair(text)
        if key in given:
            raise SweepError(f"--slurm {text}: {key} is given twice; give each key once")
        given[key] = value
    return given


def slurm_options(given: Mapping[str, str]) -> SlurmOptions:
    """Return what these values, as `slurm_words` returned them, ask for.

    Raises:
        SweepError: a number is out of its range, or there is no time limit, or a bad one.
    """
    if "time" not in given:
        raise SweepError(
            "--slurm needs time=LIMIT, such as time=4:00:00: before it a cell saves, and goes back "
            "into the queue"
        )
    signal_s = _whole(given, "signal", LEAST_SIGNAL_S, MOST_SIGNAL_S)
    return SlurmOptions(
        time_s=_time_s(given["time"], SIGNAL_S if signal_s is None else signal_s),
        name=given.get("name"),
        parallel=_whole(given, "parallel", 1),
        requeues=_whole(given, "requeues", 0),
        signal_s=SIGNAL_S if signal_s is None else signal_s,
        sbatch={
            key: value if value != "true" or key != "exclusive" else True
            for key, value in given.items()
            if key in _SBATCH
        },
    )


def _pair(text: str) -> tuple[str, str]:
    typed, equals, value = text.partition("=")
    key = typed.strip().lower().replace("_", "-")
    if not equals or not key:
        raise SweepError(f"--slurm {text}: no KEY=VALUE, such as time=4:00:00")
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=3)
        hint = f"near: {', '.join(near)}" if near else f"there are: {', '.join(KEYS)}"
        raise SweepError(f"--slurm {text}: no such key; {hint}")
    if BATCH_VALUE.fullmatch(value) is None:
        raise SweepError(f"--slurm {text}: sbatch takes one word, without spaces and quotes")
    return _OTHER_NAMES.get(key, key), value


def _whole(given: Mapping[str, str], key: str, least: int, most: int | None = None) -> int | None:
    text = given.get(key)
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number < least or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise SweepError(f"--slurm {key}={text}: expected a whole number, {bounds}")
    return number


def _time_s(text: str, signal_s: int) -> int:
    try:
        return checked_limit_s(text, signal_s, option="--slurm time", signal="signal")
    except RunStoreError as error:
        raise SweepError(str(error)) from None
