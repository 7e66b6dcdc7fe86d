"""Damaged and hostile runs, built by code so that nothing big lies in git.

Each case makes one run directory below a root, and says which of its metrics rows are good and how
many lines are damaged. Run it to look at one: `python tests/faults/corpus.py ROOT [CASE]…`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
GIB = 1 << 30
TIME = 1_790_000_000.0


@dataclass(frozen=True)
class Case:
    """What is in one run."""

    name: str
    build: Callable[[Path], None]
    steps: Iterable[int] | None
    """Steps of the metrics rows that count, in order; None: too many to compare."""
    bad: int
    """Damaged lines of metrics."""
    told: str
    """What `show` must say of it."""
    heavy: bool


CASES: dict[str, Case] = {}


def case(
    steps: Iterable[int] | None = (), bad: int = 0, told: str = "", heavy: bool = False
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register a builder under its name."""

    def register(build: Callable[[Path], None]) -> Callable[[Path], None]:
        name = build.__name__.replace("_", "-")
        CASES[name] = Case(name, build, steps, bad, told, heavy)
        return build

    return register


def make(root: Path, name: str) -> Path:
    """Build a case below `root` and return its run directory."""
    run = root / name
    run.mkdir(parents=True)
    write_ordinary(run)
    CASES[name].build(run)
    return run


def write_ordinary(run: Path) -> None:
    """Write the document and the events of a run that has finished."""
    document = {"format": 1, "id": run.name, "name": run.name, "created": TIME, "params": {}}
    (run / "run.json").write_text(json.dumps({**document, "tags": []}))
    opened = {"event": "open", "time": TIME, "format": 1, "attempt": 1}
    end = {"event": "end", "time": TIME + 60, "status": "finished"}
    (run / "events-0001.jsonl").write_bytes(row(**opened) + row(**end))


def row(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def good(step: int, **fields: Any) -> bytes:
    return row(step=step, time=TIME + step, **{"train/loss": 1.0 / (1 + step)}, **fields)


def metrics(run: Path) -> Path:
    return run / "metrics-0001.jsonl"


def damaged(run: Path, middle: bytes) -> None:
    """Write rows 1 and 2, something damaged, and rows 3 and 4."""
    metrics(run).write_bytes(good(1) + good(2) + middle + good(3) + good(4))


# ---- damaged lines -------------------------------------------------------------------------------


@case(steps=range(1, 5), bad=1, told="NUL bytes")
def nul_line(run: Path) -> None:
    damaged(run, b"\0" * 5000 + b"\n")


@case(steps=[1, 2, 4], bad=1)
def nul_run_before_a_row(run: Path) -> None:
    metrics(run).write_bytes(good(1) + good(2) + b"\0" * 188_416 + good(3) + good(4))


@case(steps=[1, 2], told="the last line is torn")
def nul_tail(run: Path) -> None:
    metrics(run).write_bytes(good(1) + good(2) + b"\0" * 359)


@case(steps=range(1, 5), bad=1, told="not JSON")
def glued_rows(run: Path) -> None:
    damaged(run, good(20)[:-1] + good(21))


@case(steps=range(1, 5), bad=1)
def glued_to_a_torn_row(run: Path) -> None:
    damaged(run, good(20)[:17] + good(21))


@case(steps=[1, 2, 3])
def byte_order_mark(run: Path) -> None:
    metrics(run).write_bytes(b"\xef\xbb\xbf" + good(1) + good(2) + good(3))


@case(steps=[1, 2, 3])
def crlf(run: Path) -> None:
    metrics(run).write_bytes((good(1) + good(2) + good(3)).replace(b"\n", b"\r\n"))


@case(steps=range(1, 5), bad=2)
def not_utf_8(run: Path) -> None:
    damaged(run, b'{"step":20,"\xff":1.0}\n' + b"\xff\xfe\n")


@case(steps=[1, 2, 20, 3, 4])
def duplicate_keys(run: Path) -> None:
    damaged(run, b'{"step":9,"step":20,"time":1.0,"train/loss":1.0,"train/loss":2.0}\n')


@case(steps=range(1, 5), bad=3)
def deep_rows(run: Path) -> None:
    deep = 100_000
    damaged(
        run,
        b'{"step":20,"a":' + b"[" * deep + b"]" * deep + b"}\n"
        + b'{"a":' * deep + b"1" + b"}" * deep + b"\n" + b"[" * 500_000 + b"\n",
    )  # fmt: skip


@case(steps=[1, 2, 21, 3, 4], bad=1)
def huge_integers(run: Path) -> None:
    damaged(
        run,
        b'{"step":20,"a":' + b"9" * 5000 + b"}\n"
        + b'{"step":21,"time":1.0,"a":18446744073709551615,"b":123456789012345678901234567890}\n',
    )  # fmt: skip


@case(steps=range(1, 5), bad=9)
def no_objects(run: Path) -> None:
    damaged(run, b'\n[]\n1\nnull\n"x"\n{\n{"step":NaN}\n{"a":"\\ud800"}\n{"a":"\x1b[2J"}\n')


@case(steps=[1, 2, 3, 4])
def odd_values(run: Path) -> None:
    """Reserved keys of every wrong type: the rows are objects, so they count."""
    odd: list[Any] = [
        None,
        True,
        "x",
        [],
        {},
        1e308,
        -1e308,
        -1,
        2**64 - 1,
        0.5,
        "\x1b[2J",
        ["x"] * 10,
    ]
    lines = [row(step=v, epoch=v, time=v, _nonfinite=v, a=v, b=1.0) for v in odd]
    metrics(run).write_bytes(good(1) + good(2) + good(3) + good(4))
    (run / "epochs-0001.jsonl").write_bytes(b"".join(lines))
    (run / "reports-0001.jsonl").write_bytes(
        b"".join(row(step=1, split=v, report=v, labels=v, confusion=v, classes=v) for v in odd)
        + row(step=1, split="val", report={"a": 1, "b": {"precision": "x"}}, confusion=[[1]])
        + row(step=1, split="t", report={}, labels=["a"], confusion=[[0, 0, 1e308]], classes=[0])
    )  # fmt: skip
    (run / "progress.json").write_bytes(
        row(
            **dict.fromkeys("beat time step epoch epochs batch eta_s it_per_s best".split(), -1e308)
        )
    )


# ---- more than is held ---------------------------------------------------------------------------


@case(steps=[], bad=1, told="over 1 MiB", heavy=True)
def sparse_40_gib(run: Path) -> None:
    with metrics(run).open("wb") as file:
        file.truncate(40 * GIB)


@case(steps=[1, 2], bad=1, told="over 1 MiB")
def sparse_hole_between_rows(run: Path) -> None:
    with metrics(run).open("wb") as file:
        file.write(good(1))
        file.seek(4 * GIB)
        file.write(b"\n" + good(2))


@case(steps=[1, 2], bad=1, told="over 1 MiB", heavy=True)
def line_of_2_gib(run: Path) -> None:
    with metrics(run).open("wb") as file:
        file.write(good(1))
        for _ in range(2048):
            file.write(b"x" * MIB)
        file.write(b"\n" + good(2))


@case(steps=None, told="metrics", heavy=True)
def million_keys(run: Path) -> None:
    with metrics(run).open("wb") as file:
        for step in range(10_000):
            names = (f'"k{step * 100 + i}":1.0' for i in range(100))
            file.write(b'{"step":%d,"time":1.0,%s}\n' % (step, ",".join(names).encode()))


@case(steps=range(1, 21), told="metrics", heavy=True)
def wide_rows(run: Path) -> None:
    """20 rows of nearly 1 MiB with 100,000 keys, each row with its own."""
    with metrics(run).open("wb") as file:
        for step in range(1, 21):
            names = ",".join(f'"{step:x}{i:x}":1' for i in range(82_000))
            file.write(b'{"step":%d,"time":1.0,%s}\n' % (step, names.encode()))


@case(steps=range(1, 41), told="metrics", heavy=True)
def wide_epochs(run: Path) -> None:
    """Rows and epochs of 1 MiB, the same keys in each."""
    names = ",".join(f'"m{i:x}":1.5' for i in range(80_000)).encode()
    for stream in ("metrics", "epochs"):
        with (run / f"{stream}-0001.jsonl").open("wb") as file:
            for step in range(1, 41):
                file.write(b'{"step":%d,"epoch":%d,"time":1.0,%s}\n' % (step, step, names))


@case(steps=[1], told="run.json")
def document_over_4_mib(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    (run / "run.json").write_bytes(b'{"format":1,"id":"x","a":"' + b"x" * (5 * MIB) + b'"}')


@case(steps=[1], told="run.json")
def document_of_a_million_objects(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    nested = b"[" + b"{}," * 1_300_000 + b"{}]"
    (run / "run.json").write_bytes(b'{"format":1,"id":"x","params":{"a":' + nested + b"}}")


@case(steps=[1], told="run.json")
def document_too_deep(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    (run / "run.json").write_bytes(b'{"params":' * 100_000 + b"1" + b"}" * 100_000)


@case(steps=[1], heavy=True)
def huge_strings(run: Path) -> None:
    """As long as a line or a document may be, in every field that is a string."""
    long = "\x1b[2J" + "x" * 380_000
    document = {"format": 1, "id": long, "name": long, "created": TIME, "best": long, "host": long}
    document |= {"params": {long: long}, "tags": [long], "command": [long], "git": {"commit": long}}
    (run / "run.json").write_text(json.dumps(document))
    opened = {"event": "open", "time": TIME, "format": 1, "attempt": 1, "host": long}
    events = [opened, *({"event": "warning", "time": TIME, "message": long},) * 300]
    events += [{"event": long, "time": TIME, "message": long, "split": long}] * 20
    events += [{"event": "end", "time": TIME, "status": "failed", "reason": long}]
    (run / "events-0001.jsonl").write_bytes(b"".join(row(**event) for event in events))
    metrics(run).write_bytes(row(step=1, time=TIME, **{long: 1.0, "a": long}))
    (run / "epochs-0001.jsonl").write_bytes(
        b"".join(row(step=1, epoch=e, time=TIME, **{long: 1.0, "b": long}) for e in range(100))
    )
    report = {long: {"precision": 1.0, "support": 1.0}}
    (run / "reports-0001.jsonl").write_bytes(
        b"".join(
            row(step=1, time=TIME, split=f"{i}{long}", labels=[long], report=report, epoch=1)
            for i in range(50)
        )
    )


@case(steps=[1], told="reports", heavy=True)
def many_reports(run: Path) -> None:
    """Reports as large as a line may be, each of another split."""
    metrics(run).write_bytes(good(1))
    cells = b"[" + b"[1,1,1]," * 59_999 + b"[1,1,1]]"
    with (run / "reports-0001.jsonl").open("wb") as file:
        for i in range(50):
            file.write(b'{"step":1,"time":1.0,"split":"s%d","report":{},"labels":["a"],' % i)
            file.write(b'"confusion":' + cells + b"}\n")


@case(steps=[1], told="events", heavy=True)
def million_events(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    line = row(event="note", time=TIME, message="x" * 20)
    for part in ("", ".1"):
        with (run / f"events-0001{part}.jsonl").open("ab") as file:
            for _ in range(500):
                file.write(line * 1000)


@case(steps=[1], told="epochs", heavy=True)
def million_epochs(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    with (run / "epochs-0001.jsonl").open("wb") as file:
        for first in range(1, 1_000_001, 1000):
            lines = (
                b'{"step":%d,"epoch":%d,"time":1790000000.0,"val/loss":%d.5}\n' % (e, e, e % 97)
                for e in range(first, first + 1000)
            )
            file.write(b"".join(lines))


@case(steps=None, told="files", heavy=True)
def many_attempts(run: Path) -> None:
    """20,000 attempts of a row each, none of which says where it went on."""
    for attempt in range(1, 20_001):
        opened = row(event="open", time=TIME, format=1, attempt=attempt)
        (run / f"events-{attempt:04d}.jsonl").write_bytes(opened)
        (run / f"metrics-{attempt:04d}.jsonl").write_bytes(good(attempt, a=1.0))


@case(steps=[1, 2, 3])
def numbers_at_the_limit(run: Path) -> None:
    """Attempts and parts with as many digits as a name has, and more."""
    metrics(run).write_bytes(good(1))
    (run / "metrics-0001.999999999.jsonl").write_bytes(good(2))
    (run / "metrics-999999999.999999999.jsonl").write_bytes(good(3))
    for name in ("9999999999", "99999999999999999999", "0000", "0001.9999999999", "\u0660\u0661"):
        (run / f"metrics-{name}.jsonl").write_bytes(good(9))
    opened = row(event="open", time=TIME, format=1, attempt=999_999_999, cuts={})
    end = row(event="end", time=TIME, status="finished")
    (run / "events-999999999.jsonl").write_bytes(opened + end)


# ---- what lies -----------------------------------------------------------------------------------


@case(steps=[1, 2, 3], heavy=True)
def hostile_cuts(run: Path) -> None:
    """Cuts that are no sizes, or of files that are none of the run's."""
    (run / "metrics-0001.jsonl").write_bytes(good(1) + good(2))
    (run / "metrics-0002.jsonl").write_bytes(good(3))
    name = "metrics-0001.jsonl"
    outside = ("../x", "/etc/passwd", "a\0b", "events-0001.jsonl", "run.json", "", "x" * 100_000)
    cuts = dict.fromkeys(outside, 0) | {f"metrics-{n:04d}.jsonl": 0 for n in range(9000, 29000)}
    odd_names: list[Any] = [1, None, [], {}, "\0"]
    values: list[Any] = [1.5, "0", None, True, [0], {"a": 0}, 2**63, 1e300]
    events = [{"event": "open", "time": TIME, "format": 1, "attempt": 2, "cuts": cuts}]
    events += [{"event": "cut", "file": name, "bytes": value} for value in values]
    events += [{"event": "cut", "file": value, "bytes": 0} for value in odd_names]
    events += [{"event": "open", "attempt": 2, "format": 1, "cuts": value} for value in odd_names]
    (run / "events-0002.jsonl").write_bytes(b"".join(row(**event) for event in events))


@case(steps=[])
def negative_cut(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    events = row(event="open", format=1, attempt=2, cuts={"metrics-0001.jsonl": -(2**63)})
    (run / "events-0002.jsonl").write_bytes(events)


@case(steps=[1])
def absurd_end(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    tallies = {"metrics-0001.jsonl": {"rows": -1, "bytes": 2**63, "crc32": "x" * 1000}, "": None}
    end = {
        "event": "end",
        "time": 1e308,
        "status": "finished",
        "dropped_rows": 1e308,
        "step": -1e300,
    }
    end |= {"files": tallies, "best": {"epoch": 1e308, "metric": [], "value": "x"}}
    end |= {"open_epoch": 1e308, "open_split": "x" * 1000, "reason": ["x"]}
    with (run / "events-0001.jsonl").open("ab") as file:
        file.write(row(event="epoch_start", epoch=-1e308, epochs=1e308) + row(**end))


@case(steps=[1])
def absurd_times(run: Path) -> None:
    times: tuple[Any, ...] = (1e308, -1e308, 1e18, -1, 253402300800, 2**63, "x", None, [])
    metrics(run).write_bytes(good(1))
    (run / "epochs-0001.jsonl").write_bytes(
        b"".join(row(step=1, epoch=1, time=t, duration_s=t) for t in times)
    )
    events = b"".join(row(event="note", time=t, message="x", duration_s=t) for t in times)
    opened = row(event="open", time=1e308, format=1, attempt=2, cuts={}, inode=1)
    (run / "events-0002.jsonl").write_bytes(opened + events)
    document = {"format": 1, "id": "x", "name": "x", "created": 1e308, "params": [], "tags": {}}
    (run / "run.json").write_text(json.dumps(document))


@case(steps=[1, 2, 3])
def absurd_steps(run: Path) -> None:
    """A chart from -1.7e308 to 1.7e308 is wider than any float."""
    far = (
        '{"step":%s,"epoch":%s,"time":1.0,"train/loss":%s}\n' % ((x,) * 3)
        for x in ("1e308", "-1.7e308", "1.7e308", "9007199254740993", "-9223372036854775808")
    )
    metrics(run).write_bytes(good(1) + good(2) + good(3))
    (run / "epochs-0001.jsonl").write_text("".join(far))


# ---- special files -------------------------------------------------------------------------------

DOCUMENTS = ("run.json", "progress.json")
STREAM_FILES = ("metrics-0001.jsonl", "epochs-0001.jsonl", "reports-0001.jsonl")


@case()
def notes_of_every_kind(run: Path) -> None:
    """More notes than are read, long ones, damaged ones, and what is no file."""
    folder = run / "notes"
    folder.mkdir()
    for number in range(1500):
        text = "\x1b[2J line\n" * (5000 if number % 50 == 0 else 1)
        document = json.dumps({"time": TIME + number, "text": text, "user": ["x"], "host": "\x9b"})
        (folder / f"20261129-{number:06d}-aaaaaa.json").write_text(document)
    (folder / "20261130-000000-aaaaaa.json").write_bytes(b'{"text": ' + b"[" * 50_000)
    (folder / "20261130-000001-aaaaaa.json").write_bytes(b"\0" * 1000)
    with (folder / "20261130-000002-aaaaaa.json").open("wb") as file:
        file.truncate(GIB)
    os.mkfifo(folder / "20261130-000003-aaaaaa.json")


@case(told="earlier changes of tags are left out")
def tags_of_every_kind(run: Path) -> None:
    """More changes than are read, long ones, damaged ones, and what is no file."""
    folder = run / "tags"
    folder.mkdir()
    for number in range(1500):
        tags = [f"\x1b[2J{number}-{n}" for n in range(2000 if number % 50 == 0 else 1)]
        document = json.dumps({"time": TIME + number, "add": tags, "user": ["x"]})
        (folder / f"20261129-{number:06d}-aaaaaa.json").write_text(document)
    (folder / "20261130-000000-aaaaaa.json").write_bytes(b'{"add": ' + b"[" * 50_000)
    (folder / "20261130-000001-aaaaaa.json").write_bytes(b"\0" * 1000)
    with (folder / "20261130-000002-aaaaaa.json").open("wb") as file:
        file.truncate(GIB)
    os.mkfifo(folder / "20261130-000003-aaaaaa.json")


def specials(run: Path, make_one: Callable[[Path], object]) -> None:
    for name in (*DOCUMENTS, *STREAM_FILES, "events-0002.jsonl", "patch.diff"):
        (run / name).unlink(missing_ok=True)
        make_one(run / name)
    (run / "checkpoints").mkdir()
    make_one(run / "checkpoints" / "manifest.jsonl")
    make_one(run / "requests")
    make_one(run / "notes")
    make_one(run / "tags")


@case(told="not a regular file")
def fifos(run: Path) -> None:
    specials(run, os.mkfifo)


@case(told="not a regular file")
def directories(run: Path) -> None:
    specials(run, Path.mkdir)


@case(told="symbolic link")
def links_out(run: Path) -> None:
    (run.parent / "secret.json").write_text('{"step":1,"secret":1.0}\n')
    specials(run, lambda path: path.symlink_to(Path("..", "secret.json")))


@case(told="symbolic link")
def links_to_themselves(run: Path) -> None:
    specials(run, lambda path: path.symlink_to(path.name))


@case(told="symbolic link")
def links_to_a_device(run: Path) -> None:
    specials(run, lambda path: path.symlink_to("/dev/zero"))


@case(told="not a regular file")
def sockets(run: Path) -> None:
    def bind(path: Path) -> None:
        # A socket's path has 107 bytes at most.
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)

    specials(run, bind)


@case(steps=[1], heavy=True)
def folders_in_circles(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    (run.parent / "around").symlink_to(run.parent)
    (run.parent / "itself").symlink_to("itself")
    (run / "inside").symlink_to(run.parent)
    (run.parent / "everything").symlink_to("/")


@case(steps=[1])
def names_that_are_no_text(run: Path) -> None:
    metrics(run).write_bytes(good(1))
    for name in (b"metrics-0001.jsonl\n", b"\xff.jsonl", b"\x1b]0;owned\x07", b"[b]", b"-rf", b"~"):
        for folder in (run, run.parent):
            beside = folder / os.fsdecode(name)
            beside.mkdir()
            (beside / "run.json").write_text("{}")


def builders(names: Iterable[str]) -> Iterator[str]:
    return (name for name in CASES if not names or name in names)


if __name__ == "__main__":
    for wanted in builders(sys.argv[2:]):
        sys.stdout.write(f"{make(Path(sys.argv[1]), wanted)}\n")
