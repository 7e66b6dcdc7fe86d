"""How a machine does: its GPUs and who is on them, its load and memory.

One script of a POSIX shell asks `nvidia-smi`, `ps` and `/proc`, here or over ssh, and its output is
read here. What a machine does not have is missing, and said so.

`nvidia-smi`'s columns: https://docs.nvidia.com/deploy/nvidia-smi/index.html
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runstore.text import printable

LEAST_USED_MIB, LEAST_USED_SHARE = 512.0, 0.02
"""A GPU on which nobody is keeps so much for itself: the larger of both."""
MOST_GPUS, MOST_PROCESSES = 64, 256
_GPU_COLUMNS = "uuid,index,name,memory.total,memory.used,utilization.gpu"
_CSV = "--format=csv,noheader,nounits"
SCRIPT = f"""
exec 2>/dev/null
export LC_ALL=C
limit=
command -v timeout >/dev/null && limit='timeout 10'
echo @name; uname -n
echo @load; cat /proc/loadavg
echo @cores; getconf _NPROCESSORS_ONLN || nproc
echo @memory; grep -E '^Mem(Total|Available):' /proc/meminfo
echo @gpus
if command -v nvidia-smi >/dev/null; then
  $limit nvidia-smi --query-gpu={_GPU_COLUMNS} {_CSV}
  echo "@status $?"
  apps=$($limit nvidia-smi --query-compute-apps=gpu_uuid,pid,used_memory {_CSV})
  echo @apps; printf '%s\\n' "$apps"
  pids=$(printf '%s\\n' "$apps" | cut -d, -f2 | tr -cd '0-9\\n' | sort -u | tr '\\n' ',')
  pids=${{pids#,}}; pids=${{pids%,}}
  if test -n "$pids"; then
    echo @processes
    ps -o pid= -o ppid= -o user:32= -o args= -p "$pids" ||
      ps -o pid= -o ppid= -o user= -o args= -p "$pids"
  fi
else
  echo '@status none'
fi
echo @end
"""
NO_GPU_PROGRAM = "no nvidia-smi"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU."""

    pid: int
    user: str = ""
    """Empty where `ps` does not show it, as from inside a container."""
    command: str = ""
    used_mib: float | None = None
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. What it does not tell is None."""

    index: int
    name: str
    total_mib: float | None = None
    used_mib: float | None = None
    util_pct: float | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether nobody is on it."""
        if self.processes:
            return False
        own = max(LEAST_USED_MIB, LEAST_USED_SHARE * (self.total_mib or 0.0))
        return (self.used_mib or 0.0) <= own


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at a machine; texts are safe to draw."""

    name: str = ""
    """What it calls itself."""
    load: float | None = None
    """Processes that want to run, on average over a minute."""
    cores: int | None = None
    memory_gib: float | None = None
    available_gib: float | None = None
    gpus: tuple[Gpu, ...] = ()
    gpu_problem: str = ""
    """Why there are none to show."""

    @property
    def free_gpus(self) -> int:
        """How many GPUs nobody is on."""
        return sum(gpu.is_free for gpu in self.gpus)


@dataclass(slots=True)
class _Parts:
    lines: dict[str, list[str]] = field(default_factory=dict)
    status: str = ""

    def of(self, name: str) -> Sequence[str]:
        return self.lines.get(name, ())

    def first(self, name: str) -> str:
        return next(iter(self.of(name)), "")


def parse(output: str) -> Machine | None:
    """Return what `SCRIPT` has printed; None where it did not come to its end.

    What stands before its first line, as the greeting of a login, is passed over.
    """
    parts = _parts(output.splitlines())
    if parts is None:
        return None
    memory = _memory(parts.of("memory"))
    load, cores = _number(parts.first("load").partition(" ")[0]), _number(parts.first("cores"))
    gpus = _gpus(parts)
    return Machine(
        name=printable(parts.first("name"), limit=64),
        load=load,
        cores=int(cores) if cores else None,
        memory_gib=memory.get("MemTotal"),
        available_gib=memory.get("MemAvailable"),
        gpus=gpus,
        gpu_problem="" if gpus else _why_none(parts),
    )


def _parts(lines: Iterable[str]) -> _Parts | None:
    parts, current, is_whole = _Parts(), "", False
    for line in lines:
        if line.startswith("@status "):
            parts.status = line.partition(" ")[2]
        elif re.fullmatch(r"@[a-z]+", line):
            current, is_whole = line[1:], line == "@end"
            parts.lines.setdefault(current, [])
        elif current and line.strip():
            parts.lines[current].append(line.strip())
    return parts if is_whole else None


def _memory(lines: Iterable[str]) -> Mapping[str, float]:
    found = {}
    for line in lines:
        match = re.fullmatch(r"(Mem\w+):\s+([0-9]{1,15}) kB", line)
        if match is not None:
            found[match[1]] = int(match[2]) / (1 << 20)
    return found


def _why_none(parts: _Parts) -> str:
    if parts.status == "none":
        return NO_GPU_PROGRAM
    said = parts.first("gpus")  # `No devices were found`, `NVIDIA-SMI has failed because …`
    return printable(said, limit=120) or f"nvidia-smi has failed ({printable(parts.status)})"


def _gpus(parts: _Parts) -> tuple[Gpu, ...]:
    processes = _processes(parts)
    found = []
    for row in csv.reader(parts.of("gpus")[:MOST_GPUS], skipinitialspace=True):
        if len(row) < 6 or not row[1].strip().isdecimal():
            continue
        uuid, index, name, total, used, util = (cell.strip() for cell in row[:6])
        found.append(
            Gpu(
                int(index[:6]),
                printable(name, limit=64),
                _number(total),
                _number(used),
                _number(util),
                tuple(processes.get(uuid, ())),
            )
        )
    return tuple(found)


def _processes(parts: _Parts) -> Mapping[str, Sequence[GpuProcess]]:
    """Return the processes on each GPU, by its uuid."""
    told: dict[str, tuple[int | None, str, str]] = {}
    for line in parts.of("processes")[:MOST_PROCESSES]:
        pid, parent, user, *command = [*line.split(None, 3), "", "", ""][:4]
        told[pid] = (
            int(parent) if parent.isdecimal() else None,
            printable(user, limit=32),
            printable(" ".join(command), limit=200),
        )
    found: dict[str, list[GpuProcess]] = {}
    for row in csv.reader(parts.of("apps")[:MOST_PROCESSES], skipinitialspace=True):
        if len(row) < 3 or not row[1].strip().isdecimal():
            continue
        uuid, pid, used = (cell.strip() for cell in row[:3])
        parent_pid, who, what = told.get(pid, (None, "", ""))
        one = GpuProcess(int(pid[:12]), who, what, _number(used), parent_pid)
        found.setdefault(uuid, []).append(one)
    return found


def _number(text: str) -> float | None:
    """Return a number; None for `[N/A]`, `[Not Supported]`, `[Insufficient Permissions]`."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", text.strip()) else None
