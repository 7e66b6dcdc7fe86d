"""Limits on memory, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runstore.environment.cgroups import memory_group, oom_kills

GIB = 1 << 30
HOST = 64 * GIB
UNLIMITED_V1 = "9223372036854771712"


def write(directory: Path, **files: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_tightest_limit_above_the_process_binds(tmp_path: Path, proc: Path) -> None:
    """Slurm sets the limit on the job, above the step in which the process is."""
    mount = tmp_path / "mount"
    proc.write_text("0::/slurm/job_7/step_0\n")
    write(mount / "slurm/job_7/step_0", memory__max="max", memory__current=GIB)
    stat = "anon 5\ninactive_file 1073741824"
    write(mount / "slurm/job_7", memory__max=8 * GIB, memory__current=3 * GIB, memory__stat=stat)
    write(mount / "slurm", memory__max=32 * GIB, memory__current=9 * GIB)
    group = memory_group(HOST, proc, mount)
    assert group is not None
    assert group.limit_bytes() == 8 * GIB
    assert group.used_bytes() == 2 * GIB


def test_version_1_has_other_names(tmp_path: Path, proc: Path) -> None:
    mount = tmp_path / "mount"
    proc.write_text("11:cpu,cpuacct:/a\n4:memory,hugetlb:/a/b\n0::/\n")
    write(
        mount / "memory/a/b",
        memory__limit_in_bytes=4 * GIB,
        memory__usage_in_bytes=2 * GIB,
        memory__stat=f"inactive_file 1\ntotal_inactive_file {GIB}",
    )
    group = memory_group(HOST, proc, mount)
    assert group is not None
    assert (group.limit_bytes(), group.used_bytes()) == (4 * GIB, GIB)


def test_container_sees_its_own_group_at_the_mount(tmp_path: Path, proc: Path) -> None:
    mount = tmp_path / "mount"
    proc.write_text("4:memory:/docker/0123abcd\n")
    write(mount / "memory", memory__limit_in_bytes=4 * GIB, memory__usage_in_bytes=GIB)
    group = memory_group(HOST, proc, mount)
    assert group is not None
    assert (group.limit_bytes(), group.used_bytes()) == (4 * GIB, GIB)


@pytest.mark.parametrize("limit", ["max", UNLIMITED_V1, str(HOST), "", "0x10"])
def test_limit_that_binds_nobody_is_none(tmp_path: Path, proc: Path, limit: str) -> None:
    mount = tmp_path / "mount"
    proc.write_text("4:memory:/a\n0::/a\n")
    write(mount / "memory/a", memory__limit_in_bytes=limit, memory__usage_in_bytes=GIB)
    write(mount / "a", memory__max=limit, memory__current=GIB)
    assert memory_group(HOST, proc, mount) is None


@pytest.mark.parametrize("membership", ["", "0::/../elsewhere\n", "rubbish\n", "0::/gone\n"])
def test_groups_that_cannot_be_seen_are_none(tmp_path: Path, proc: Path, membership: str) -> None:
    proc.write_text(membership)
    assert memory_group(HOST, proc, tmp_path / "mount") is None


def test_machine_without_groups_has_none(tmp_path: Path) -> None:
    assert memory_group(HOST, tmp_path / "missing", tmp_path / "mount") is None


def test_limit_that_is_lifted_leaves_the_usage(tmp_path: Path, proc: Path) -> None:
    mount = tmp_path / "mount"
    proc.write_text("0::/a\n")
    write(mount / "a", memory__max=GIB, memory__current=1000)
    group = memory_group(HOST, proc, mount)
    assert group is not None
    write(mount / "a", memory__max="max")
    assert (group.limit_bytes(), group.used_bytes()) == (None, 1000)


EVENTS = "low 0\nhigh 0\nmax 31\noom 2\noom_kill {}\noom_group_kill 0"


def test_kills_of_version_2_are_those_of_the_nearest_group_that_counts(
    tmp_path: Path, proc: Path
) -> None:
    """`oom` before `oom_kill` counts allocations that failed; nobody died of them."""
    mount = tmp_path / "mount"
    proc.write_text("0::/system.slice/job.scope\n")
    write(mount / "system.slice/job.scope", memory__events=EVENTS.format(0))
    write(mount / "system.slice", memory__events=EVENTS.format(7))
    assert oom_kills(proc, mount) == 0
    write(mount / "system.slice/job.scope", memory__events=EVENTS.format(1))
    assert oom_kills(proc, mount) == 1
    # A controller that is off here, and on above.
    (mount / "system.slice/job.scope/memory.events").unlink()
    assert oom_kills(proc, mount) == 7


def test_kills_of_version_1_are_the_groups_own_beside_an_empty_version_2(
    tmp_path: Path, proc: Path
) -> None:
    mount = tmp_path / "mount"
    proc.write_text("4:memory:/job\n0::/job\n")
    write(mount / "memory/job", memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3")
    assert oom_kills(proc, mount) == 3


def test_kills_without_a_group_are_the_machines_or_unknown(tmp_path: Path, proc: Path) -> None:
    vmstat = tmp_path / "vmstat"
    assert oom_kills(proc, tmp_path / "mount", vmstat) is None
    vmstat.write_text("pgfault 12\noom_kill 5\n")
    assert oom_kills(proc, tmp_path / "mount", vmstat) == 5
