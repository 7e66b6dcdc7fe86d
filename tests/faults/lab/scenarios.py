"""The faults, each with what it may cost: the table's rows, before they have figures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from runstore.writer.stream_writer import QUEUE_INTERVAL_S, SYNC_INTERVAL_S
from tests.faults.lab.acks import loss, read_acks
from tests.faults.lab.disks import IMAGE_BYTES, damage, make_disk
from tests.faults.lab.guest import Guest

BOOT_S = 90.0
POWER_LOSS_S = SYNC_INTERVAL_S + 1.0
STALL_FELT_S = 1.0
"""One processor does all in a guest, the file server too; 30 s are what it must not be."""
SEEN_S = SYNC_INTERVAL_S + 1.0 + 1.0
"""A row is with another host after a sync and a poll; and a second."""
QUEUED_S = QUEUE_INTERVAL_S + 0.4
"""On a network mount rows wait so long in memory, so that no server stalls the training."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial came to."""

    acknowledged: int
    lost: int
    oldest_s: float | None = None
    """How old the oldest lost row was, in seconds; None when none was lost."""
    problems: tuple[str, ...] = ()
    """What went against a promise besides lost rows."""
    figure: float | None = None
    """What the scenario measures besides, as its `measures` says."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What one trial works with: a folder of its own, removed after it."""

    cache: Path
    folder: Path

    def disk(self, name: str, kind: str, *options: str, size: int = IMAGE_BYTES) -> Path:
        """Make a disk image."""
        return make_disk(self.cache, self.folder / f"{name}.img", kind, *options, size=size)

    def boot(self, job: str, *disks: Path, synced: bool = True, **given: Any) -> Guest:
        """Boot a guest that does one job."""
        return Guest(self.cache, self.folder / "share", list(disks), job, synced=synced, **given)

    def acks(self) -> dict[int, float]:
        """Return what the guest has acknowledged so far."""
        return read_acks(self.folder / "share" / "acks")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault on one file system."""

    name: str
    fault: str
    file_system: str
    trial: Callable[[Bench], Trial]
    allowed_s: float = 0.0
    """Acknowledged rows may be lost when they are not older than this; 0: none may."""
    measures: str = ""
    """What `Trial.figure` is."""
    most: float = float("inf")
    """What it must not exceed."""
    control: bool = False
    """A library without fdatasync: a lab that sees no broken promise then sees nothing."""


Disks = Callable[[Bench], list[Path]]


def power_loss(kind: str, bench: Bench, *, synced: bool = True) -> Trial:
    """Cut the power while rows are logged; boot again, read back, go on."""
    disk = bench.disk("disk", kind)
    guest = bench.boot("log_until_power_loss", disk, kind=kind, synced=synced)
    cut_power(guest, bench, random.uniform(3.0, 10.0))
    acks = bench.acks()
    back = bench.boot("read_back", disk, kind=kind).result()
    found = loss(acks, set(back["found"]))
    return Trial(found.acknowledged, found.lost, found.oldest_s, _problems(bench, back, disk, kind))


def documents(kind: str, bench: Bench) -> Trial:
    """Cut the power while documents are replaced and manifest rows appended, all acknowledged."""
    disk = bench.disk("disk", kind)
    guest = bench.boot("replace_documents_until_power_loss", disk, kind=kind)
    cut_power(guest, bench, random.uniform(0.5, 4.0))
    acks = bench.acks()
    back = bench.boot("read_documents_back", disk, kind=kind).result()
    found = loss(acks, set(range(back["version"] + 1)))
    return Trial(found.acknowledged, found.lost, found.oldest_s, _problems(bench, back, disk, kind))


def cut_power(guest: Guest, bench: Bench, after_s: float) -> None:
    """Kill the guest `after_s` seconds behind its first acknowledgement."""
    guest.wait_for(lambda: bool(bench.acks()), BOOT_S, "logging")
    deadline = time.monotonic() + after_s
    guest.wait_for(lambda: time.monotonic() >= deadline, after_s + 5.0, "due")
    guest.kill()


def _problems(bench: Bench, back: dict[str, Any], disk: Path, kind: str) -> tuple[str, ...]:
    damaged = damage(bench.cache, disk, kind)
    return (*back["problems"], *([damaged] if damaged else []))


def in_one_guest(job: str, make_disks: Disks, kind: str, bench: Bench) -> Trial:
    """Have one guest do it all: cause the fault, heal it, read back."""
    disks = make_disks(bench)
    guest = bench.boot(job, *disks, kind=kind)
    found = guest.result()
    problems = found["problems"] and (*found["problems"], guest.last_words())
    return Trial(**found | {"problems": tuple(problems)})


def _power_losses(kind: str) -> list[Scenario]:
    cut = partial(power_loss, kind)
    unsynced = partial(power_loss, kind, synced=False)
    return [
        Scenario(f"power-loss-{kind}", "power loss", kind, cut, POWER_LOSS_S),
        Scenario(f"documents-{kind}", "power loss, documents", kind, partial(documents, kind)),
        Scenario(
            f"control-{kind}",
            "power loss, fdatasync taken out",
            kind,
            unsynced,
            POWER_LOSS_S,
            control=True,
        ),
    ]


def _nfs(name: str, fault: str, job: str, **more: Any) -> Scenario:
    trial = partial(in_one_guest, job, _plain("ext4"), "nfs")
    return Scenario(f"nfs-{name}", fault, "NFS 4.2", trial, **more)


def _local(kind: str, name: str, fault: str, job: str, disks: Disks) -> Scenario:
    return Scenario(f"{name}-{kind}", fault, kind, partial(in_one_guest, job, disks, kind))


def _plain(kind: str, *options: str) -> Disks:
    return lambda bench: [bench.disk("disk", kind, *options)]


def _flaky(bench: Bench) -> list[Path]:
    """The guest makes the file system: its journal is on the second one."""
    return [bench.disk("disk", ""), bench.disk("journal", "", size=68 << 20)]


def _locals(kind: str, *for_quota: str) -> list[Scenario]:
    rest = partial(_local, kind)
    return [
        rest("kill", "kill -9", "kill_while_logging", _plain(kind)),
        rest("oom", "killed for want of memory", "out_of_memory_while_logging", _plain(kind)),
        rest("full", "disk full (ENOSPC), later not", "full_disk", _plain(kind)),
        rest("quota", "over quota (EDQUOT), later not", "over_quota", _plain(kind, *for_quota)),
        rest("error", "fdatasync fails (EIO), later not", "error_once", _flaky),
    ]


def _exec() -> Scenario:
    fault = "`runstore exec`: its command killed for want of memory"
    return _local("ext4", "exec-oom", fault, "out_of_memory_under_exec", _plain("ext4"))


SCENARIOS: tuple[Scenario, ...] = (
    *_power_losses("ext4"),
    *_power_losses("xfs"),
    *_locals("ext4", "-O", "quota", "-E", "quotatype=usrquota"),
    _exec(),
    *_locals("xfs"),
    _nfs("full", "export full, later not", "export_full"),
    _nfs(
        "stall",
        "server silent for 30 s",
        "server_stalls",
        measures="log() took {:.3f} s at most",
        most=STALL_FELT_S,
    ),
    _nfs("unmounted", "unmounted lazily, mounted again", "unmounted"),
    _nfs(
        "doctor",
        "`runstore doctor --fs` on two hosts",
        "two_hosts_try_the_mount",
        measures="a lag of {:.1f} s at most",
    ),
    _nfs("starts", "two hosts start one run", "two_hosts_start"),
    _nfs(
        "sees",
        "another host watches, also after 95 s of silence",
        "other_host_sees",
        measures="seen after {:.1f} s at most",
        most=SEEN_S,
    ),
    _nfs("kill", "kill -9, judged by another host", "killed_on_other_host", allowed_s=QUEUED_S),
)
