"""Which file system a path is on, as far as it changes how files are written and watched."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path

NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "panfs", "afs"}
    | {"9p", "virtiofs", "ncpfs", "orangefs"}
)
_MOUNTINFO = Path("/proc/self/mountinfo")


def is_network(path: Path) -> bool:
    """Tell whether `path` lies on a file system that other machines write to too.

    There an fsync is what makes rows visible, file events never arrive, and every stat is a
    round trip. Unknown (no mount table, as on macOS) counts as local.
    """
    kind = file_system_type(path)
    return kind in NETWORK_TYPES or kind.startswith("fuse.")


def file_system_type(path: Path) -> str:
    """Return the type of the file system that holds `path` (`ext4`, `nfs4`, …), or `unknown`."""
    if not sys.platform.startswith("linux"):
        return "unknown"
    target = path.resolve()
    best, kind = "", "unknown"
    for mount_point, mount_type in _mounts():
        inside = mount_point == "/" or target.is_relative_to(mount_point)
        # A later mount on the same point hides the earlier one, hence >=.
        if inside and len(mount_point) >= len(best):
            best, kind = mount_point, mount_type
    return kind


@lru_cache(maxsize=1)
def _mounts() -> tuple[tuple[str, str], ...]:
    try:
        text = _MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return tuple(_parse_mountinfo(text))


def _parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """Parse proc(5)'s mountinfo: field 5 is the mount point, the type follows ` - `."""
    mounts = []
    for line in text.splitlines():
        head, separator, tail = line.partition(" - ")
        fields = head.split()
        if separator and len(fields) >= 5 and tail.split():
            mounts.append((_unescape(fields[4]), tail.split()[0]))
    return mounts


def _unescape(mount_point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), mount_point)
