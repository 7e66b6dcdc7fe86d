"""Two hosts and a file server: who may write, who sees what and when, and what a stall costs."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

import runstore
from runstore.doctor import two_hosts
from runstore.errors import AttemptError
from runstore.runs.follow import RowFollower
from runstore.runs.lookup import find
from tests.faults.lab.acks import AckFile, read_acks
from tests.faults.lab.inside import machine
from tests.faults.lab.inside.children import ACKS, log_for_ever, wait_until
from tests.faults.lab.inside.full_disk import BALLAST, ROOM_BYTES, after, fill, log_through
from tests.faults.lab.inside.hosts import start_on
from tests.faults.lab.inside.nfs_server import mount_share, serve, set_network
from tests.faults.lab.inside.outcome import outcome
from tests.faults.lab.inside.power_loss import go_on
from tests.faults.lab.inside.rows import log_rows, start_run

SEEN = machine.SHARE / "seen"
RUNNING = Path("/run/not-running")
ROUNDS = 5
REFUSED = 3
ATTEMPT_S = 3.0
POLL_S = 1.0
SILENCE_S = 95.0
STALL_S = 30.0
LATEST_S = 6.0
"""Longer than a row may take to reach the other host."""


def export_full(kind: str) -> dict[str, Any]:
    """ENOSPC from the server, which only fdatasync tells, until there is room again."""
    share = serve("/dev/ubda")
    return log_through(
        start_run(share.first / "runs"),
        errno.ENOSPC,
        break_it=lambda: fill(share.on_server, ROOM_BYTES),
        heal=(share.on_server / BALLAST).unlink,
    )


def server_stalls(kind: str) -> dict[str, Any]:
    """Nothing from the server for half a minute; the figure is the longest call of `log()`."""
    run = start_run(serve("/dev/ubda").first / "runs")
    timed, acks = _Timed(run), AckFile(ACKS)
    step = log_rows(timed, acks, until=after(3.0))
    set_network(up=False)
    step = log_rows(timed, acks, first=step, until=after(STALL_S))
    set_network(up=True)
    log_rows(timed, acks, first=step, until=after(3.0))
    run.finish()
    return outcome(run.path, ACKS, "finished", []) | {"figure": timed.longest_s}


def unmounted(kind: str) -> dict[str, Any]:
    """The mount goes, lazily, and is mounted again, while the run logs into what it has open."""
    share = serve("/dev/ubda")
    run, acks = start_run(share.first / "runs"), AckFile(ACKS)
    step = log_rows(run, acks, until=after(3.0))
    machine.unmount(share.first, "--lazy")
    step = log_rows(run, acks, first=step, until=after(5.0))
    mount_share("first")
    log_rows(run, acks, first=step, until=after(5.0))
    run.finish()
    events = (run.path / "events-0001.jsonl").read_text()
    missing = [word for word in ("is out of sight", "is back") if word not in events]
    return outcome(run.path, ACKS, "finished", [f"nobody said it {word}" for word in missing])


class _Timed:
    """Measures how long `log()` takes."""

    def __init__(self, run: runstore.Run) -> None:
        self._run = run
        self.longest_s = 0.0

    def log(self, values: Mapping[str, float], step: int) -> None:
        begun = time.monotonic()
        self._run.log(values, step=step)
        self.longest_s = max(self.longest_s, time.monotonic() - begun)


def two_hosts_start(kind: str) -> dict[str, Any]:
    """Two hosts go on with the same run at the same moment, several times; one of them may."""
    share = serve("/dev/ubda")
    roots = share.first / "runs", share.second / "runs"
    os.waitpid(start_on("first", lambda: start_run(roots[0]).finish()), 0)
    (run_dir,) = (share.on_server / "runs").iterdir()
    rounds = [_both_start(roots, run_dir, number) for number in range(2, ROUNDS + 2)]
    return {
        "acknowledged": sum(found["acknowledged"] for found in rounds),
        "lost": sum(found["lost"] for found in rounds),
        "oldest_s": max((found["oldest_s"] for found in rounds if found["lost"]), default=None),
        "problems": [problem for found in rounds for problem in found["problems"]],
    }


def _both_start(roots: Sequence[Path], run_dir: Path, attempt: int) -> dict[str, Any]:
    """Have two hosts start `attempt` of one run; exactly one gets it, and its rows are there."""
    ready, gate, waiting_for = os.pipe(), os.pipe(), len(roots)

    def compete(root: Path) -> None:
        os.write(ready[1], b".")
        os.read(gate[0], 1)
        try:
            run = start_run(root, resume=str(root / run_dir.name))
        except AttemptError:
            os._exit(REFUSED)
        # Until the other one has been refused: behind the end it may have the next attempt.
        log_rows(run, AckFile(ACKS), until=after(ATTEMPT_S))
        run.finish()

    children = [
        start_on(name, partial(compete, root))
        for name, root in zip(("first", "second"), roots, strict=True)
    ]
    while waiting_for:
        waiting_for -= len(os.read(ready[0], waiting_for))
    os.write(gate[1], b"go")
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for descriptor in (*ready, *gate):
        os.close(descriptor)
    told = [] if sorted(ends) == [0, REFUSED] else [f"the two ended with {ends}, not one refused"]
    attempts = len(list(run_dir.glob("events-*.jsonl")))
    told += [] if attempts == attempt else [f"{attempts} attempts, expected {attempt}"]
    return outcome(run_dir, ACKS, "finished", told)


def other_host_sees(kind: str) -> dict[str, Any]:
    """One host logs ten rows a second, is silent, logs again; another one watches.

    The figure is the longest time between the return of `log()` and the row's being read there.
    """
    share = serve("/dev/ubda")
    writer = start_on("first", lambda: _log_silence_log(share.first / "runs"))
    wait_until(lambda: read_acks(ACKS), "logging")
    watcher = start_on("second", lambda: _watch(share.second / "runs"))
    os.waitpid(writer, 0)
    time.sleep(LATEST_S)
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    (run_dir,) = (share.on_server / "runs").iterdir()
    acks, seen = read_acks(ACKS), read_acks(SEEN)
    problems = [f"the watcher found it {RUNNING.read_text()}"] if RUNNING.exists() else []
    found = outcome(run_dir, ACKS, "finished", problems)
    unseen = len(acks.keys() - seen.keys())
    found["problems"] += [f"{unseen} rows were not seen by the other host"] if unseen else []
    # Those that were there when the watcher came say nothing.
    came = [seen[step] - acks[step] for step in seen if acks[step] > min(seen.values())]
    return found | {"figure": max(came)}


def _log_silence_log(root: Path) -> None:
    run, acks = start_run(root), AckFile(ACKS)
    step = log_rows(run, acks, until=lambda step: step >= 150, pause_s=0.1)
    time.sleep(SILENCE_S)
    log_rows(run, acks, first=step, until=lambda now: now >= step + 1)
    time.sleep(LATEST_S)
    run.finish()


def _watch(root: Path) -> None:
    """Read what comes each second, and tell when it did; note a status that is not `running`."""
    (run_dir,) = root.iterdir()
    follower, seen = RowFollower(find(str(run_dir), root)), AckFile(SEEN)
    while True:
        for line in follower.poll():
            seen.tell(orjson.loads(line)["step"])
        status = runstore.load(run_dir).status
        if status not in ("running", "stalled", "finished"):
            RUNNING.write_text(status)
        time.sleep(POLL_S)


def two_hosts_try_the_mount(kind: str) -> dict[str, Any]:
    """`runstore doctor --fs` on both hosts at once; the figure is the longest lag it measured.

    What counts here as rows are the signs that one gave and the other saw; one that is replaced by
    the next within the time that a mount remembers is not seen.
    """
    share, root = serve("/dev/ubda"), Path(__file__).resolve().parents[4]

    def try_out(name: str, directory: Path) -> None:
        os.chdir(root)
        told = os.open(f"/run/doctor-{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 1)
        command = ("-m", "runstore.cli", "doctor", "--fs", directory, "--wait", "60", "--json")
        os.execv(sys.executable, (sys.executable, *map(str, command)))

    sides = {"first": share.first, "second": share.second}
    children = [start_on(name, partial(try_out, name, place)) for name, place in sides.items()]
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    told = [orjson.loads(Path(f"/run/doctor-{name}").read_bytes()) for name in sides]
    met = [(one["host"], one["other"]) for one in told]
    problems = [] if met == [("first", "second"), ("second", "first")] else [f"met: {met}"]
    checks = [check for one in told for check in one["checks"]]
    lags = [check["values"] for check in checks if check["name"].startswith("lag_")]
    locks = [check["values"] for check in checks if check["name"] == "lock_between_hosts"]
    works = bool(locks) and all(lock["works"] for lock in locks)
    problems += [] if works else [f"locks: {locks}, the two ended with {ends}"]
    left = os.listdir(share.on_server)
    problems += [f"left behind: {left}"] if left != ["lost+found"] else []
    seen = sum(lag["seen"] for lag in lags)
    problems += [] if seen * 2 > two_hosts.ROUNDS * len(lags) else [f"only {seen} signs were seen"]
    return {
        "acknowledged": seen,
        "lost": 0,
        "oldest_s": None,
        "problems": problems,
        "figure": max(lag["max_s"] for lag in lags),
    }


def killed_on_other_host(kind: str) -> dict[str, Any]:
    """SIGKILL on one host; the other one sees by the lock that it is gone, and goes on."""
    share = serve("/dev/ubda")
    root = share.first / "runs"
    child = start_on("first", lambda: log_for_ever(root))
    wait_until(lambda: read_acks(ACKS), "logging")
    time.sleep(random.uniform(3.0, 6.0))
    (run_dir,) = (share.second / "runs").iterdir()
    alive = _as_seen_from("second", run_dir)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    dead = _as_seen_from("second", run_dir)
    problems = [] if alive == "running" else [f"alive, it is judged {alive} from the other host"]
    problems += [] if dead == "crashed" else [f"dead, it is judged {dead} from the other host"]
    found = outcome(run_dir, ACKS, "crashed", problems, strict=False)
    found["problems"] += go_on(run_dir)
    return found


def _as_seen_from(name: str, run_dir: Path) -> str:
    """Return the status that a host gives to a run."""
    told = Path(f"/run/status-{time.monotonic()}")
    child = start_on(name, lambda: told.write_text(runstore.load(run_dir).status))
    os.waitpid(child, 0)
    return told.read_text()
