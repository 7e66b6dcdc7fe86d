"""Looks at one run in every way there is, in one process, and tells what memory that took.

`python tests/faults/views.py ROOT RUN OUT` writes what each view printed to OUT/VIEW.out and
OUT/VIEW.err, and on stdout a JSON object: for each view its exit status, and the most memory in MiB
that the process ever had.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import runstore
from runstore import tui_launcher
from runstore.cli import main

Views = dict[str, Callable[[], object]]


def views(root: str, run: str) -> Views:
    """Return each view as a function."""
    commands = {
        "ls": ["ls", root],
        "ls-json": ["ls", "--json", root],
        "journal": ["journal", root],
        "journal-json": ["journal", "--json", root],
        "journal-markdown": ["journal", "--markdown", root],
        "show": ["show", run],
        "show-json": ["show", "--json", run],
        "cat": ["cat", run, "metrics"],
        "cat-epochs": ["cat", "--all", run, "epochs"],
        "cat-events": ["cat", run, "events"],
        "tail": ["tail", run],
        "csv": ["export", "--format", "csv", run],
        "json": ["export", "--format", "json", run],
        "jsonl": ["export", "--format", "jsonl", run],
        "markdown": ["export", "--format", "markdown", run],
    }
    found: Views = {name: partial(_command, main, line) for name, line in commands.items()}
    monitor = ["--once", "--run", run, root]
    return found | {
        "once": partial(_command, tui_launcher.main, monitor),
        "load": lambda: repr(runstore.load(Path(run))),
        "notebook": lambda: runstore.load(Path(run))._repr_html_(),
    }


def _command(entry: Callable[[], None], line: list[str]) -> None:
    sys.argv = ["runstore", *line]
    entry()


def status_of(view: Callable[[], object]) -> int:
    """Return the exit status that a view would have as a program."""
    try:
        view()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except Exception:  # noqa: BLE001 - as the interpreter would do it
        traceback.print_exc()
        return 1
    return 0


def peak_mib() -> float:
    """Return the most memory that this process had resident, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def run_all(root: str, run: str, out: Path) -> dict[str, tuple[int, float]]:
    """Run every view with its output in files."""
    found: dict[str, tuple[int, float]] = {}
    for name, view in views(root, run).items():
        for descriptor, suffix in ((1, "out"), (2, "err")):
            file = os.open(out / f"{name}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, descriptor)
            os.close(file)
        status = status_of(view)
        sys.stdout.flush()
        sys.stderr.flush()
        found[name] = (status, round(peak_mib()))
    return found


if __name__ == "__main__":
    told = os.dup(1)
    result = run_all(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    os.write(told, json.dumps(result).encode())
