"""The guest's machine: mounts, kernel modules, disks of the device mapper."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.faults.lab.disks import tool_environment

SHARE = Path("/mnt/share")
"""A folder of the host."""

_mounted: list[Path] = []


def tool(*command: str) -> str:
    """Run one of the unpacked programs and return what it printed."""
    cache = Path(os.environ["LAB_CACHE"])
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(tool_environment(cache))
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def load_modules(*names: str) -> None:
    """Load kernel modules and what they need."""
    for name in names:
        tool("modprobe", "-d", os.environ["LAB_CACHE"] + "/tools", name)


def mount(device: str, kind: str, name: str, options: str = "") -> Path:
    """Mount `device` at `name`, below /mnt when that is no whole path; return where it is."""
    point = Path("/mnt") / name
    point.mkdir(exist_ok=True)
    tool("mount", "-i", "-t", kind, *(["-o", options] if options else []), device, str(point))
    _mounted.append(point)
    return point


def unmount(point: Path, *options: str) -> None:
    """Unmount what `mount` has mounted."""
    tool("umount", *options, str(point))
    _mounted.remove(point)


def unmount_all() -> None:
    """Leave clean disks behind, so that the host can check them."""
    for point in reversed(_mounted):
        subprocess.run(["umount", str(point)], check=False)
