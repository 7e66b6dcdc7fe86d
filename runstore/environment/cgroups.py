"""The memory that this process may use: inside a container or a Slurm job, its limit.

There the machine's own figures are those of the host. Source of the file names and units: the Linux
kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/memory.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC_CGROUP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A control group with a limit on memory."""

    directory: Path
    limit_name: str
    usage_name: str
    cache_name: str
    """The key in `memory.stat` of file pages that are given up as soon as memory is short."""

    def limit_bytes(self) -> int | None:
        """Return the limit, or None when there is none (any more)."""
        return _number(self.directory / self.limit_name)

    def used_bytes(self) -> int | None:
        """Return what is used, without the pages that can be given up, as `docker stats` does."""
        usage = _number(self.directory / self.usage_name)
        return None if usage is None else max(0, usage - self._cache_bytes())

    def _cache_bytes(self) -> int:
        for line in _text(self.directory / "memory.stat").splitlines():
            key, _, value = line.partition(" ")
            if key == self.cache_name and value.isdecimal():
                return int(value)
        return 0


def memory_group(
    host_bytes: int, proc: Path = PROC_CGROUP, mount: Path = MOUNT
) -> MemoryGroup | None:
    """Return the group whose limit binds this process, or None when only the machine does.

    Args:
        host_bytes: the machine's memory: no limit above it binds, and v1 says `no limit` by a
            number near 2⁶³.
        proc: which groups the process is in.
        mount: where the groups are mounted.
    """
    groups = [(group, group.limit_bytes()) for group in _groups(_text(proc), mount)]
    binding = [(limit, at) for at, (_, limit) in enumerate(groups) if limit and limit < host_bytes]
    return groups[min(binding)[1]][0] if binding else None


def oom_kills(proc: Path = PROC_CGROUP, mount: Path = MOUNT, vmstat: Path = VMSTAT) -> int | None:
    """Return how many processes of this group the kernel has killed for memory, so far.

    Version 2 counts those of groups below too (`memory.events`), version 1 the group's own
    (`memory.oom_control`). Without either, in the root group, the machine's (`/proc/vmstat`); None
    where nothing counts them.
    """
    for group in _groups(_text(proc), mount):
        for name in ("memory.events", "memory.oom_control"):
            found = _keyed_number(_text(group.directory / name), "oom_kill")
            if found is not None:
                return found
    return _keyed_number(_text(vmstat), "oom_kill")


def _keyed_number(text: str, key: str) -> int | None:
    """Return the number behind `key` in lines of a key and a number."""
    pairs = (line.split(" ", 1) for line in text.splitlines() if " " in line)
    return next((int(v) for k, v in pairs if k == key and v.isdecimal()), None)


def _groups(memberships: str, mount: Path) -> Iterator[MemoryGroup]:
    """Yield the groups of `ID:CONTROLLERS:PATH` lines, and those above: each may have a limit."""
    for line in memberships.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            for directory in _upwards(mount, path):
                yield MemoryGroup(directory, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            for directory in _upwards(mount / "memory", path):
                yield MemoryGroup(
                    directory,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                )


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield the directories from `mount`/`path` up to `mount`.

    In a container `path` may be the host's, which is not to be seen; then the mount itself is the
    container's group.
    """
    directory = mount / path.strip("/")
    # `/../other`: a process that was moved out of the namespace that it looks from.
    if ".." not in directory.parts:
        yield from (at for at in (directory, *directory.parents) if at.is_relative_to(mount))


def _number(path: Path) -> int | None:
    """Return a file's number; None when there is no file, or it says `max`."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
