"""Which file system a path is on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runstore.environment import mounts

TABLE = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:25 / /home rw,nosuid shared:5 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/me/scratch rw - ext4 /dev/sdb1 rw
32 21 0:27 / /mnt/my\040disk rw - cifs //server/share rw
33 21 0:28 / /mnt/ssh rw - fuse.sshfs host:/ rw
34 21 0:29 / /mnt/over rw - nfs server:/x rw
35 21 0:30 / /mnt/over rw - tmpfs tmpfs rw
garbage
"""


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    monkeypatch.setattr(mounts, "_MOUNTINFO", path)
    mounts._mounts.cache_clear()
    yield
    mounts._mounts.cache_clear()


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/x", "ext4", False),
        ("/home/me/runs", "nfs4", True),
        ("/home/me/scratch/runs", "ext4", False),
        ("/homestead", "ext4", False),
        ("/mnt/my disk/runs", "cifs", True),
        ("/mnt/ssh/x", "fuse.sshfs", True),
        ("/mnt/over/x", "tmpfs", False),
    ],
)
def test_innermost_and_latest_mount_decides(path: str, kind: str, network: bool) -> None:
    assert mounts.file_system_type(Path(path)) == kind
    assert mounts.is_network(Path(path)) is network


def test_unknown_counts_as_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_MOUNTINFO", Path("/nonexistent"))
    mounts._mounts.cache_clear()
    assert not mounts.is_network(Path("/home"))
