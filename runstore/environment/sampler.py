"""How the machine does while a run trains: CPU, memory, disk, network and GPUs.

Sampled in a thread of its own and written as rows of the stream `system`. A sample costs about a
millisecond of CPU; where it costs more (many processes, many GPUs), samples come more rarely, so
that all of it stays below a thousandth of one core.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstore.environment.cgroups import memory_group
from runstore.environment.device_memory import devices_in_use
from runstore.environment.gpus import GIB, Gpus, load_nvml, open_gpus
from runstore.environment.process import descendants
from runstore.threads import start_daemon

if TYPE_CHECKING:
    import psutil

MIB = 1 << 20
DEFAULT_INTERVAL_S = 10.0
PRIME_S = 0.25
"""A run that is shorter has no samples, and pays for none."""
FIRST_S = 1.0
SHORTEST_WINDOW_S = 0.25
"""Over less than that, a rate is noise: no last sample follows so soon upon another."""
MOST_OF_A_CORE = 0.001
STOP_S = 2.0
"""How long the run's end waits for the last sample: a broken GPU or file server may hang."""

Write = Callable[[Mapping[str, float]], object]
Tell = Callable[[str, Mapping[str, Any]], object]
Complain = Callable[[str, str], object]


class Meter:
    """Reads the machine's and the process's figures; rates are means since the last reading."""

    def __init__(self, directory: Path, complain: Complain) -> None:
        """Take the first readings, from which the rates count.

        Args:
            directory: the run's; its file system is the one whose free space is told.
            complain: told `(key, message)` when a part of a sample fails; the others go on.
        """
        import psutil

        self._psutil = psutil
        self._directory, self._complain = directory, complain
        self._process = psutil.Process()
        self._host_bytes = psutil.virtual_memory().total
        self._group = memory_group(self._host_bytes)
        self._then = time.monotonic()
        self._counters: dict[str, float] = {}
        self.sample()

    def sample(self) -> dict[str, float]:
        """Return what can be read now; what this platform does not tell is left out."""
        now = time.monotonic()
        elapsed_s, self._then = now - self._then, now
        values: dict[str, float] = {}
        counters: dict[str, float] = {}
        for part in (
            self._add_cpu,
            self._add_memory,
            self._add_processes,
            self._add_disk,
            self._add_network,
        ):
            try:
                part(values, counters)
            except Exception as error:  # noqa: BLE001 - what /proc has differs between machines
                what = part.__name__.removeprefix("_add_")
                reason = f"{type(error).__name__}: {error}"
                self._complain(f"system {what}", f"system metrics: no {what} ({reason})")
        return values | self._rates(counters, elapsed_s)

    def _rates(self, counters: dict[str, float], elapsed_s: float) -> dict[str, float]:
        """Return how much each counter grew a second; one that was set back has no rate."""
        before, self._counters = self._counters, counters
        if elapsed_s <= 0:
            return {}
        grown = {key: counters[key] - before[key] for key in counters.keys() & before.keys()}
        return {key: growth / elapsed_s for key, growth in sorted(grown.items()) if growth >= 0}

    def _add_cpu(self, values: dict[str, float], _counters: dict[str, float]) -> None:
        values["cpu/percent"] = float(self._psutil.cpu_percent(None))
        values["cpu/load_1min"] = os.getloadavg()[0]

    def _add_memory(self, values: dict[str, float], _counters: dict[str, float]) -> None:
        memory = self._psutil.virtual_memory()
        used, total = memory.total - memory.available, memory.total
        if self._group is not None:
            used = self._group.used_bytes() or used
            total = min(total, self._group.limit_bytes() or total)
        values["memory/used_gib"] = used / GIB
        values["memory/total_gib"] = total / GIB

    def _add_processes(self, values: dict[str, float], counters: dict[str, float]) -> None:
        """Add up this process and those below it: DataLoader workers.

        The time of a child that has ended is in its parent's, so the sum goes on growing.
        """
        cpu_s, resident_bytes, count = 0.0, 0, 0
        for process in (self._process, *self._children()):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    resident_bytes += process.memory_info().rss
            except self._psutil.Error:
                continue
            cpu_s += times.user + times.system
            cpu_s += times.children_user + times.children_system
            count += 1
        counters["process/cpu_percent"] = 100 * cpu_s
        values["process/rss_gib"] = resident_bytes / GIB
        values["process/count"] = float(count)

    def _children(self) -> list[psutil.Process]:
        """Return all processes below this one.

        psutil looks through every process of the machine, of which a large node has thousands.
        """
        pids = descendants(self._process.pid)
        if pids is None:
            return self._process.children(recursive=True)
        found = []
        for pid in pids:
            with suppress(self._psutil.Error):
                found.append(self._psutil.Process(pid))
        return found

    def _add_disk(self, values: dict[str, float], counters: dict[str, float]) -> None:
        usage = self._psutil.disk_usage(os.fspath(self._directory))
        values["disk/free_gib"] = usage.free / GIB
        # nowrap takes a lock, and a fork in that moment would leave it held in the child.
        disk = self._psutil.disk_io_counters(nowrap=False)
        if disk is not None:
            counters["disk/read_mib_per_s"] = disk.read_bytes / MIB
            counters["disk/written_mib_per_s"] = disk.write_bytes / MIB

    def _add_network(self, _values: dict[str, float], counters: dict[str, float]) -> None:
        cards = self._psutil.net_io_counters(pernic=True, nowrap=False)
        outward = [card for name, card in cards.items() if not name.startswith("lo")]
        if outward:
            counters["network/received_mib_per_s"] = sum(c.bytes_recv for c in outward) / MIB
            counters["network/sent_mib_per_s"] = sum(c.bytes_sent for c in outward) / MIB


class SystemSampler:
    """The thread that samples, from a run's start to its end."""

    def __init__(
        self,
        directory: Path,
        interval_s: float,
        *,
        of_several: bool,
        write: Write,
        tell: Tell,
        complain: Complain,
    ) -> None:
        """Start the thread.

        Args:
            directory: the run's.
            interval_s: seconds between two samples; longer where a sample is costly.
            of_several: this is one of several processes. Only the GPUs on which it has memory are
                sampled, so that ranks can be compared, where a machine shows all of its GPUs to
                each; all where nobody knows which these are. And nothing where it does not see
                the directory.
            write: writes a row of the stream `system`; called by the thread, like the others.
            tell: writes an event.
            complain: warns, once for each key.
        """
        # Here and not in the thread: a fork in the middle of an import leaves its lock held in the
        # child for ever.
        import psutil  # noqa: F401

        self._nvml = load_nvml()
        self._directory, self._interval_s = directory, interval_s
        self._of_several = of_several
        self._write, self._tell, self._complain = write, tell, complain
        self._gpus: Gpus | None = None
        self._cost_s = 0.0
        self._last = 0.0
        self._pid = os.getpid()
        self._stop = threading.Event()
        self._thread = start_daemon(self._serve, "runstore-system")

    def stop(self) -> None:
        """Take the last sample and end the thread; in a forked child, where it is not, nothing."""
        if os.getpid() == self._pid:
            self._stop.set()
            self._thread.join(STOP_S)

    def _serve(self) -> None:
        if self._stop.wait(PRIME_S):
            return
        try:
            self._sample_until_stopped()
        except Exception as error:  # noqa: BLE001 - the boundary of the thread
            reason = f"{type(error).__name__}: {error}"
            # The user's logging handler may raise; that may have been the error, too.
            with suppress(Exception):
                self._complain("system", f"system metrics: no more samples ({reason})")

    def _sample_until_stopped(self) -> None:
        # A rank on another machine, without a disk that both share: there is nowhere to write.
        # os.path, which is False also where it may not look.
        if self._of_several and not os.path.isdir(self._directory):  # noqa: PTH112
            return
        meter = Meter(self._directory, self._complain)
        self._last = time.monotonic()
        self._gpus = open_gpus(self._nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if self._gpus is not None:
            self._tell("gpus", {"gpus": self._gpus.describe()})
        pause_s = min(FIRST_S, self._interval_s) - PRIME_S
        while not self._stop.wait(max(0.0, pause_s)):
            self._sample(meter)
            pause_s = pause_after(self._cost_s, self._interval_s)
        if time.monotonic() - self._last >= SHORTEST_WINDOW_S:
            self._sample(meter)
        if self._gpus is not None:
            self._gpus.close()

    def _sample(self, meter: Meter) -> None:
        begun = time.thread_time()
        values = meter.sample()
        if self._gpus is not None:
            values |= self._gpus.sample(devices_in_use() if self._of_several else None)
        self._write(values)
        self._last = time.monotonic()
        self._cost_s = time.thread_time() - begun


def pause_after(cost_s: float, interval_s: float) -> float:
    """Return the seconds until the next sample, when one takes `cost_s` of CPU time."""
    return max(interval_s, cost_s / MOST_OF_A_CORE)
