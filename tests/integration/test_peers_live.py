"""Runs that the real libraries write, live: on screen, in the commands, and what reading costs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runstore.files.cursor import GUARD_BYTES
from runstore.files.paths import Stream
from runstore.numbers import exact
from runstore.runs.store import discover
from runstore.sources import SOURCES, RunRef, open_run
from tests.conftest import WaitUntil
from tests.integration.counted_reads import ToldReader, Trace
from tests.integration.peer_writers import PEERS_PYTHON, PEERS_STAMP, ROOT, Logged, Writer
from tests.terminal import MONITOR, Terminal

LOSSES = {"train/loss": "train/loss", "val/accuracy": "val/accuracy"}
"""Of tools whose users give metrics such names: they are kept."""


pytestmark = pytest.mark.peers


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A tool, and what runstore is expected to make of its files."""

    tool: str
    """The script in peers/."""
    arguments: tuple[str, ...] = ()
    """What the script is told beside its directory."""
    source: str
    """The source that reads it."""
    metrics: Mapping[str, str]
    """The tool's names, and ours; values without a name here are not compared."""
    watched: str = "."
    """What of the writer's directory the monitor is started on."""
    stream: Stream = "metrics"
    step: str = "step"
    """The key that the tool's step has in our rows."""
    parts: tuple[int, int] = (5, 5)
    """How many steps are logged while somebody watches."""
    many: int = 0
    """How many make at least `large` bytes; 0 where that takes minutes."""
    large: int = 200_000
    files: str = "*"
    """The names of the files that are logs, all of which may be read."""
    ended: str = "source:"
    """What the monitor says when the tool has ended its run."""
    python: str = str(PEERS_PYTHON)

    @property
    def id(self) -> str:
        watched = () if self.watched == "." else (self.watched,)
        return "-".join((self.tool, *watched, *self.arguments))

    def newest(self, logged: Sequence[Logged]) -> dict[str, float]:
        """Return the last value of each metric, under our names."""
        values = [row.values for row in logged]
        return {self.metrics[k]: v for row in values for k, v in row.items() if k in self.metrics}

    def curves(self, logged: Sequence[Logged]) -> dict[str, list[tuple[int, float]]]:
        """Return each metric's steps and values, under our names."""
        return {
            ours: [(row.step, row.values[theirs]) for row in logged if theirs in row.values]
            for theirs, ours in self.metrics.items()
        }


PEERS = (
    Peer(
        tool="native", source="native", metrics=LOSSES, many=5000, ended="✓ finished",
        python=sys.executable,
    ),
    Peer(tool="jsonl", source="jsonl", metrics=LOSSES, many=5000, python=sys.executable),
    Peer(tool="tensorboard", source="tensorboard", metrics=LOSSES, many=2500),
    Peer(tool="tensorboardx", source="tensorboard", metrics=LOSSES, many=2500),
    Peer(tool="flax", source="tensorboard", metrics=LOSSES, many=2500),
    Peer(
        tool="keras", watched="logs", source="tensorboard", stream="epochs", step="epoch",
        metrics={"loss": "train/loss", "val_loss": "val/loss", "val_mae": "val/mae"},
    ),
    Peer(
        tool="keras", watched="csv", source="csv", stream="epochs", step="epoch",
        metrics={"val_loss": "val/loss", "val_mae": "val/mae"},
    ),
    Peer(
        tool="lightning", watched="csv", source="lightning", parts=(100, 100), many=2500,
        large=150_000,
        metrics={"train_loss": "train/loss", "val_loss": "val/loss", "val_mae": "val/mae"},
    ),
    Peer(
        tool="lightning", watched="tensorboard", source="tensorboard", parts=(100, 100),
        metrics={"train_loss": "train/loss", "val_loss": "val/loss", "val_mae": "val/mae"},
    ),
    Peer(
        tool="transformers", source="transformers", parts=(20, 20),
        metrics={"grad_norm": "grad_norm", "eval_loss": "val/loss"},
    ),
    Peer(
        tool="wandb", source="wandb", metrics=LOSSES, many=800, parts=(100, 100),
        ended="✓ finished",
    ),
    Peer(
        tool="mlflow", source="mlflow", metrics=LOSSES, parts=(5, 2), many=3500,
        ended="✓ finished",
    ),
    Peer(
        tool="mmengine", source="jsonl", parts=(40, 40), many=1000,
        large=150_000, files="scalars.json",
        metrics={"loss": "loss", "lr": "lr"},
    ),
    Peer(
        tool="stable_baselines3", source="tensorboard", many=400,
        metrics={"train/loss": "train/loss", "train/value_loss": "train/value_loss"},
    ),
    Peer(
        tool="stable_baselines3", arguments=("csv",), source="csv",
        parts=(5, 2), many=900, large=140_000,
        metrics={"train/loss": "train/loss", "train/value_loss": "train/value_loss"},
    ),
)  # fmt: skip

SETTLED_BYTES = 10_000
"""What a poll may read of a file beside what is new: the 4 KiB by which it sees that the file
is still the same, and a record of which it had the half."""
MONITOR_POLLS = 10
"""So often at most the monitor has the half of a record, while the second part is written."""


def chosen(*peers: Peer) -> list[object]:
    """Return parameters for peers."""
    return [pytest.param(peer, id=peer.id) for peer in peers]


Start = Callable[..., Writer]
Sizes = dict[tuple[Path, int], int]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path, opened: ExitStack) -> Start:
    """Return a function that starts a peer's writer in `tmp_path / "logs"`."""

    def started(peer: Peer, *more: str) -> Writer:
        _require(peer.python)
        directory = tmp_path / "logs"
        directory.mkdir(exist_ok=True)
        writer = Writer(peer.python, peer.tool, directory, *peer.arguments, *more)
        opened.callback(writer.kill)
        return writer

    return started


def _require(python: str) -> None:
    if python == sys.executable or PEERS_STAMP.exists():
        return
    missing = "the other tools are not installed: `make peers` does it"
    if os.environ.get("RUNSTORE_REQUIRE_TOOLS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def shows_values(monitor: Terminal, values: Mapping[str, float]) -> Callable[[], bool]:
    """Return a predicate: each metric's value stands beside its name."""
    patterns = [
        rf"(?<![\w/]){re.escape(name)} +{re.escape(exact(value))}(?![\w.])"
        for name, value in values.items()
    ]

    def predicate() -> bool:
        monitor.seen = "\n".join(monitor.lines())
        return all(re.search(pattern, monitor.seen) for pattern in patterns)

    return predicate


def runstore(*arguments: object) -> str:
    """Run a command as users do, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "runstore.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def curves(peer: Peer, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return each metric's steps and values in rows."""
    return {
        name: [
            (int(row[peer.step]), float(row[name]))
            for row in rows
            if row.get(name) not in (None, "")
        ]
        for name in peer.metrics.values()
    }


@pytest.mark.parametrize("peer", chosen(*PEERS))
def test_values_are_on_screen_while_they_are_logged_and_in_every_command(
    peer: Peer, start: Start, tmp_path: Path, opened: ExitStack, wait_until: WaitUntil
) -> None:
    writer = start(peer)
    watched = tmp_path / "logs" / peer.watched
    monitor = Terminal((*MONITOR, str(watched)), 160, 45, {})
    opened.callback(monitor.close)
    opened.callback(lambda: sys.stdout.write(f"the last screen:\n{monitor.seen}\n"))
    logged: list[Logged] = []
    for steps in peer.parts:
        logged += writer.log(steps)
        wait_until(shows_values(monitor, peer.newest(logged)), 60, what=f"{peer.newest(logged)}")
    assert monitor.shows(f"source: {peer.source}")() or peer.source == "native"
    logged += writer.end()
    wait_until(monitor.shows(peer.ended), 60, what=peer.ended)
    check_commands(peer, watched, logged)


def check_commands(peer: Peer, watched: Path, logged: Sequence[Logged]) -> None:
    """What `ls`, `show`, `cat` and `export` say of the only run is what was logged."""
    (listed,) = json.loads(runstore("ls", watched, "--json"))
    run = listed["path"]
    shown = json.loads(runstore("show", run, "--json"))
    newest = peer.newest(logged)
    for told in (listed, shown):
        assert {name: told["last"].get(name) for name in newest} == newest
    rows = [json.loads(line) for line in runstore("cat", run, peer.stream).splitlines()]
    assert curves(peer, rows) == peer.curves(logged)
    table = runstore("export", "--format", "csv", "--table", peer.stream, run)
    assert curves(peer, list(csv.DictReader(io.StringIO(table)))) == peer.curves(logged)


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize("peer", chosen(*(peer for peer in PEERS if peer.many)))
def test_second_part_costs_no_more_than_its_own_bytes(
    peer: Peer,
    start: Start,
    tmp_path: Path,
    opened: ExitStack,
    tool: Callable[[str], str],
    wait_until: WaitUntil,
) -> None:
    """A reader that polls when it is told, and the monitor, which polls when it likes."""
    writer = start(peer)
    logged = writer.log(peer.many)
    watched = tmp_path / "logs" / peer.watched
    run = only_run(watched, peer.newest(logged), wait_until)
    poll, watch = (Trace(tool("strace"), run, tmp_path / name) for name in ("poll", "watch"))
    reader = ToldReader(poll, run)
    opened.callback(reader.close)
    monitor = Terminal((*watch.options, *MONITOR, str(watched)), 160, 45, {})
    opened.callback(monitor.close)
    opened.callback(quit_traced, monitor)
    assert peer.newest(logged).items() <= reader.poll().items()
    wait_until(shows_values(monitor, peer.newest(logged)), 60, what=f"{peer.newest(logged)}")
    first = sizes(peer, run)
    assert poll.bytes_read() >= peer.large
    wait_until(has_read(watch, peer.large), 60, what="the monitor to have read the first part")
    logged = writer.log(peer.parts[1])
    wait_until(shows_values(monitor, peer.newest(logged)), 60, what=f"{peer.newest(logged)}")
    assert peer.newest(logged).items() <= reader.poll().items()
    second = sizes(peer, run)
    assert 0 < poll.bytes_read() <= appended(first, second) + settled(second)
    allowed = appended(first, second) + MONITOR_POLLS * settled(second)
    # How often the monitor looks while the second part comes is its own affair, and each look
    # compares the bytes in front of what is new.
    reads = watch.reads()
    assert sum(reads) > 0
    assert sum(size for size in reads if size > GUARD_BYTES) <= allowed < sum(first.values())


def quit_traced(monitor: Terminal) -> None:
    """End a monitor under strace: when strace is killed, it stays there and can read no more."""
    monitor.press("q")
    with suppress(subprocess.TimeoutExpired):
        monitor.process.wait(30)


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize("peer", chosen(*(peer for peer in PEERS if peer.id == "transformers")))
def test_checkpoint_with_all_of_the_log_is_read_a_few_times_and_left_alone(
    peer: Peer, start: Start, tmp_path: Path, opened: ExitStack, tool: Callable[[str], str]
) -> None:
    """To see that it is whole, and that it begins with the log that is known."""
    writer = start(peer)
    writer.log(600)
    trace = Trace(tool("strace"), tmp_path / "logs", tmp_path / "trace")
    reader = ToldReader(trace, tmp_path / "logs")
    opened.callback(reader.close)
    reader.poll()
    trace.bytes_read()
    logged = writer.log(10)
    assert peer.newest(logged).items() <= reader.poll().items()
    newest = max(path.stat().st_size for path in tmp_path.rglob("trainer_state.json"))
    assert newest <= trace.bytes_read() <= 3 * newest + SETTLED_BYTES
    reader.poll()
    assert trace.bytes_read() == 0


def has_read(trace: Trace, size_bytes: int) -> Callable[[], bool]:
    """Return a predicate: so much was read, and hardly anything more for a second.

    The monitor shows the newest values before it has read all that is before them.
    """
    read, since = 0, time.monotonic()

    def predicate() -> bool:
        nonlocal read, since
        new = trace.bytes_read()
        read += new
        if new > SETTLED_BYTES:
            since = time.monotonic()
        return read >= size_bytes and time.monotonic() - since > 1

    return predicate


def appended(first: Sizes, second: Sizes) -> int:
    """Return how many bytes are new."""
    return sum(size - first.get(file, 0) for file, size in second.items())


def settled(files: Sizes) -> int:
    """Return how many bytes a poll may read beside what is new."""
    return sum(min(size, SETTLED_BYTES) for size in files.values())


def only_run(watched: Path, values: Mapping[str, float], wait_until: WaitUntil) -> Path:
    """Return the directory of the only run, once its files have these newest values."""

    def has_values() -> list[RunRef]:
        found = discover([watched])
        assert len(found) < 2, found
        return [ref for ref in found if values.items() <= last_values(ref).items()]

    return wait_until(has_values, 60, what=f"{values}")[0].path


def last_values(ref: RunRef) -> Mapping[str, float]:
    reader = open_run(ref)
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader.state.last


def sizes(peer: Peer, run: Path) -> Sizes:
    """Return the size of each log below a directory; a file that was replaced is another one."""
    files = [path for path in run.rglob(peer.files) if path.is_file() and not path.is_symlink()]
    return {(path, path.stat().st_ino): path.stat().st_size for path in files}


@pytest.mark.parametrize("name", ["tensorboard", "tensorboardx"])
def test_steps_that_a_restarted_training_purges_are_left_out(
    name: str, start: Start, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Killed at step 10, started anew at step 6 with `purge_step`."""
    (peer,) = (peer for peer in PEERS if peer.id == name)
    first = start(peer)
    logged = first.log(10)
    watched = tmp_path / "logs"
    only_run(watched, peer.newest(logged), wait_until)
    first.kill()
    second = start(peer, "6")
    again = second.log(3)
    second.end()
    check_commands(peer, watched, [*logged[:5], *again])


def test_every_source_is_tried() -> None:
    assert {peer.source for peer in PEERS} == {source.name for source in SOURCES}
