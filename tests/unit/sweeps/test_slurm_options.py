"""What `--slurm KEY=VALUE …` asks for, and what it refuses."""

from __future__ import annotations

import pytest

from runstore.errors import SweepError
from runstore.sweeps.slurm.options import SlurmOptions, slurm_options, slurm_words


def asked(*texts: str) -> SlurmOptions:
    return slurm_options(slurm_words(texts))


def test_keys_become_options_of_sbatch() -> None:
    typed = "partition=gpu time=4:00:00 gpus=a100:1 cpus=8 memory=32G parallel=8 mail_type=END"
    options = asked(*typed.split())
    assert (options.time_s, options.time_min, options.parallel) == (4 * 3600, 240, 8)
    assert options.requeues is None
    assert options.sbatch == {
        "partition": "gpu",
        "gpus": "a100:1",
        "cpus-per-task": "8",
        "mem": "32G",
        "mail-type": "END",
    }


@pytest.mark.parametrize(
    ("time", "minutes"), [("10", 10), ("10:30", 11), ("1-0", 24 * 60), ("1:00:01", 61)]
)
def test_time_is_read_as_sbatch_reads_it_and_counts_in_whole_minutes(
    time: str, minutes: int
) -> None:
    assert asked(f"time={time}").time_min == minutes


def test_exclusive_needs_no_value_for_sbatch() -> None:
    assert asked("time=10", "exclusive=true").sbatch == {"exclusive": True}
    assert asked("time=10", "exclusive=user").sbatch == {"exclusive": "user"}


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("partition=gpu", "--slurm needs time=LIMIT, such as time=4:00:00"),
        ("time", "--slurm time: no KEY=VALUE, such as time=4:00:00"),
        ("=4", "--slurm =4: no KEY=VALUE"),
        ("time=10 partiton=gpu", "--slurm partiton=gpu: no such key; near: partition"),
        ("time=10 xyzzy=1", "--slurm xyzzy=1: no such key; there are: account, "),
        ("time=10 gpus=1 gpus=2", "--slurm gpus=2: gpus is given twice"),
        ("time=10 mem=1G memory=2G", "--slurm memory=2G: mem is given twice"),
        ("time=soon", "--slurm time is 'soon', expected MINUTES, "),
        ("time=3", "--slurm time 3 is 180 s; with signal 120 the job would be asked to end as "),
        ("time=10 parallel=0", "--slurm parallel=0: expected a whole number, 1 or more"),
        ("time=10 parallel=٣", "--slurm parallel=٣: expected a whole number"),
        ("time=10 signal=5", "--slurm signal=5: expected a whole number, from 20 to 65535"),
        ("time=10 partition=", "--slurm partition=: sbatch takes one word"),
        ("time=10 comment=a'b", "--slurm comment=a'b: sbatch takes one word"),
        ("time=10 comment=a#b", "--slurm comment=a#b: sbatch takes one word"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(typed: str, why: str) -> None:
    with pytest.raises(SweepError) as refused:
        asked(*typed.split())
    assert str(refused.value).startswith(why)
    assert "\n" not in str(refused.value)
