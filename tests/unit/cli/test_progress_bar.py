"""The commands' bar: on a terminal only, never among the data, gone at the end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import runstore
from runstore.cli.progress import line
from tests.conftest import WaitUntil
from tests.terminal import Terminal

AT_ONCE = """
import runstore.cli.progress as progress
progress.APPEARS_S, progress.REDRAWN_S = 0.0, 0.01
from runstore.cli import main
main()
"""
RUNS = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of a few hundred runs of one row."""
    root = tmp_path_factory.mktemp("many") / "runs"
    for number in range(RUNS):
        run = root / f"20261120-{number:06d}-digits-22k3x7qa"
        run.mkdir(parents=True)
        (run / "metrics-0001.jsonl").write_text('{"step":1,"time":1790000000.5,"loss":0.5}\n' * 20)
    return root


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(opened: ExitStack, *arguments: str | Path, code: str = AT_ONCE, **env: str) -> Terminal:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    terminal = Terminal(command, 100, 50, {"TERM": "xterm", **env})
    opened.callback(terminal.close)
    return terminal


def shell(opened: ExitStack, line: str, **env: str) -> bytes:
    """Run a line of a shell, with `runstore` in it, and return what its terminal got."""
    quoted = f"'{sys.executable}' -c \"$CODE\""
    terminal = Terminal(
        ["sh", "-c", line.replace("runstore ", f"{quoted} ")],
        100,
        50,
        {"TERM": "xterm", "CODE": AT_ONCE, **env},
    )
    opened.callback(terminal.close)
    return terminal.finish(120)


# ---- the line ----------------------------------------------------------------------------------


def test_line_has_share_pace_and_what_is_left() -> None:
    expected = "reading runs [#####---------------]  25%  1,000/4,000  200/s  15s left"
    assert line("reading runs", 1000, 4000, 5.0) == expected


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "end"),
    [
        (0, 10, 3.0, "]   0%  0/10  3.0s"),  # one long step, so far
        (10, 10, 3.0, "] 100%  10/10  3.33/s  3.0s"),
        (12, 10, 3.0, "] 100%  12/10  4.00/s  3.0s"),  # more than was said
        (9999, 10_000, 9999.0, "]  99%  9,999/10,000  1.00/s  1.0s left"),
        (5, None, 2.0, "reading runs  5  2.50/s  2.0s"),
        (0, 0, 0.0, "reading runs  0  0.0s"),
    ],
)
def test_line_of_little_and_of_nothing(
    done: int, total: int | None, elapsed_s: float, end: str
) -> None:
    assert line("reading runs", done, total, elapsed_s).endswith(end)


# ---- on a terminal -----------------------------------------------------------------------------


def test_list_has_a_bar_while_it_reads_and_none_when_it_is_there(
    opened: ExitStack, root: Path
) -> None:
    terminal = start(opened, "ls", root)
    output = terminal.finish(120)
    bar, _, table = output.partition(b"RUN  ")
    assert b"reading runs [" in bar
    assert f"/{RUNS}".encode() in bar
    assert b"reading runs" not in table
    assert b"\x1b" not in output
    # What was drawn last is blank again before the table begins.
    assert bar.rpartition(b"\r")[2] == b""
    assert bar.split(b"\r")[-2].strip() == b""
    assert terminal.lines()[-2].startswith("20261120-000000-digits-22k3x7qa")


def test_bar_is_cut_at_the_edge_of_a_narrow_terminal(opened: ExitStack, root: Path) -> None:
    terminal = Terminal([sys.executable, "-c", AT_ONCE, "ls", str(root)], 30, 50, {"TERM": "xterm"})
    opened.callback(terminal.close)
    bar = terminal.finish(120).partition(b"RUN  ")[0]
    assert b"reading runs [" in bar
    assert max(map(len, bar.split(b"\r"))) <= 29


@pytest.mark.parametrize(
    "line",
    [
        "runstore ls --json {root}",
        "runstore doctor {root}",
        "runstore cat --root {root} 20261120-000001 metrics",
        "runstore export --root {root} --format csv 20261120-000001",
    ],
)
def test_data_that_is_printed_meanwhile_meets_no_bar(
    opened: ExitStack, root: Path, line: str
) -> None:
    output = shell(opened, line.format(root=root)).replace(b"looking for runs", b"")
    for what in (b"reading", b"printing", b"writing", b"looking at"):
        assert what + b" r" not in output
    assert b"]  " not in output


def test_data_goes_into_a_file_while_the_bar_is_on_the_terminal(
    opened: ExitStack, root: Path, tmp_path: Path
) -> None:
    screen = shell(opened, f"runstore ls --json {root} > {tmp_path}/runs.json")
    assert b"reading runs [" in screen
    assert len(json.loads((tmp_path / "runs.json").read_text())) == RUNS


@pytest.mark.parametrize(
    ("line", "env"),
    [
        ("runstore ls {root} | cat", {}),  # as with `less`: it may write to the same terminal
        ("runstore ls {root} 2>{errors}", {}),
        ("runstore ls {root} >{errors}", {"TERM": "dumb"}),
        ("runstore ls {root} >{errors}", {"TERM": ""}),
    ],
)
def test_there_is_none_where_it_could_not_be_drawn_or_would_be_in_the_way(
    opened: ExitStack, root: Path, tmp_path: Path, line: str, env: dict[str, str]
) -> None:
    errors = tmp_path / "errors"
    screen = shell(opened, line.format(root=root, errors=errors), **env)
    told = screen + (errors.read_bytes() if errors.exists() else b"")
    assert b"reading runs" not in told
    assert b"20261120-000000" in told


def test_what_takes_less_than_a_second_has_none(opened: ExitStack, tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, name="one", system_interval_s=None):
        pass
    code = AT_ONCE.replace("0.0, 0.01", "60.0, 0.01")
    output = start(opened, "ls", tmp_path, code=code).finish(60)
    assert b"\r" not in output.replace(b"\r\n", b"")


def test_message_stands_on_a_line_of_its_own(opened: ExitStack, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    terminal = start(
        opened, "export", "--root", root, "20261120-000001", "--format", "csv", "-o", target
    )
    terminal.finish(60)
    # The path may be longer than the screen is wide.
    assert "".join(terminal.lines()) == f"runstore: 20 rows written to {target}"


ENDLESS = """
import itertools, click
import runstore.cli.progress as progress
from runstore.cli.output import say
progress.APPEARS_S, progress.REDRAWN_S = 0.0, 0.01

@click.command()
def command():
    for number in progress.watched(itertools.count(), "counting"):
        if number == 1000:
            say("a thousand")

command()
"""


def test_ctrl_c_leaves_no_bar_and_a_message_meanwhile_has_its_line(
    opened: ExitStack, wait_until: WaitUntil
) -> None:
    terminal = start(opened, code=ENDLESS)
    wait_until(terminal.shows("runstore: a thousand\ncounting  "), 60)
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.finish(60)
    lines = [line for line in terminal.lines() if line]
    assert lines == ["runstore: a thousand", "Aborted!"]
    assert terminal.process.returncode == 1
