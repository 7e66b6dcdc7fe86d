"""Disk images: made, checked for damage."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# XFS wants 300 MB. The files are sparse: they take what is written.
IMAGE_BYTES = 320 << 20


def tool_environment(cache: Path) -> Mapping[str, str]:
    """Return the environment in which the unpacked programs find their libraries."""
    tools = cache / "tools"
    libraries = [tools / part / "x86_64-linux-gnu" for part in ("lib", "usr/lib")]
    return {
        "PATH": f"{tools / 'sbin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "MKE2FS_CONFIG": str(tools / "etc/mke2fs.conf"),
    }


def make_disk(cache: Path, image: Path, kind: str, *options: str, size: int = IMAGE_BYTES) -> Path:
    """Make an image with an empty file system, `ext4` or `xfs`; or of zeros, if `kind` is empty."""
    with image.open("wb") as file:
        file.truncate(size)
    if kind:
        _run(cache, [f"mkfs.{kind}", "-q", *options, str(image)])
    return image


def damage(cache: Path, image: Path, kind: str) -> str:
    """Return what the file system's own check finds wrong; empty when it is sound.

    Its journal was replayed by the guest that mounted it after the power loss.
    """
    check = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"]}[kind]
    done = subprocess.run(
        [*check, str(image)], capture_output=True, text=True, env=dict(tool_environment(cache))
    )
    return "" if done.returncode == 0 else f"{check[0]}: {(done.stdout + done.stderr)[-300:]}"


def _run(cache: Path, command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(tool_environment(cache))
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
