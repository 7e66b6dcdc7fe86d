"""Many runs of many processes in the same second: each has its directory, the journal has each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from runstore.runs.notes import read_notes
from runstore.state.tags import read_tag_changes

PROCESSES, RUNS_OF_EACH = 8, 25
STARTER = """
import sys
import runstore

root, process, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(runs):
    with runstore.init({"p": process, "n": number}, root=root, system_interval_s=None) as run:
        run.log({"loss": 1.0}, step=number)
"""
WRITER = """
import sys
from pathlib import Path
from runstore.runs.notes import add_note
from runstore.runs.tagging import change_tags

run, process = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    add_note(run, f"{process}.{number}")
    change_tags(run, add=[f"{process}.{number}"])
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def at_once(script: str, arguments: list[list[str]]) -> None:
    """Start a script in several processes, and let them go at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *more],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def runstore(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "runstore.cli", *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout


def test_two_hundred_runs_of_eight_processes_at_once_are_all_in_the_journal(
    tmp_path: Path,
) -> None:
    root = tmp_path / "runs"
    at_once(STARTER, [[str(root), str(n), str(RUNS_OF_EACH)] for n in range(PROCESSES)])
    expected = {(p, n) for p in range(PROCESSES) for n in range(RUNS_OF_EACH)}
    directories = list(root.iterdir())
    assert len(directories) == len(expected) == 200
    seconds = Counter(path.name[:15] for path in directories)
    assert seconds.most_common(1)[0][1] > PROCESSES, "they did not start within the same seconds"
    entries = json.loads(runstore("journal", root, "--json"))
    assert {(entry["params"]["p"], entry["params"]["n"]) for entry in entries} == expected
    assert {entry["id"] for entry in entries} == {path.name for path in directories}
    assert {entry["status"] for entry in entries} == {"finished"}
    for process in range(PROCESSES):
        own = [entry["params"]["n"] for entry in entries if entry["params"]["p"] == process]
        assert own == list(range(RUNS_OF_EACH)), "not in the order in which they were started"
    lines = runstore("journal", root).splitlines()
    headers = [line for line in lines if re.match(r"# \d{4}-\d\d-\d\d \d\d:\d\d  ", line)]
    assert [line.split()[3] for line in headers] == [entry["id"] for entry in entries]
    assert sum(not line.startswith("#") for line in lines if line) == len(expected)


def test_notes_and_tags_of_eight_processes_at_once_are_all_there(tmp_path: Path) -> None:
    at_once(STARTER, [[str(tmp_path), "0", "1"]])
    (run,) = tmp_path.iterdir()
    at_once(WRITER, [[str(run), str(n)] for n in range(PROCESSES)])
    expected = {f"{p}.{n}" for p in range(PROCESSES) for n in range(5)}
    assert {note.text for note in read_notes(run).notes} == expected
    assert len(read_tag_changes(run).changes) == len(expected)
    assert set(json.loads(runstore("show", run, "--json"))["tags"]) == expected
