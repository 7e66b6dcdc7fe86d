"""The guest's part of a power loss: log until it comes; later, read back and go on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import runstore
from runstore.files.atomic import write_document
from runstore.files.checkpoints import append_to_manifest, read_manifest
from runstore.files.paths import RunPaths
from tests.faults.lab.acks import AckFile
from tests.faults.lab.inside import machine
from tests.faults.lab.inside.rows import bad_files, log_rows, start_run, steps_found

MORE_ROWS = 200


def log_until_power_loss(kind: str) -> None:
    """Log rows for ever."""
    disk = machine.mount("/dev/ubda", kind, "disk")
    log_rows(start_run(disk / "runs"), AckFile(machine.SHARE / "acks"), until=lambda step: False)


def read_back(kind: str) -> dict[str, Any]:
    """Mount the disk again and return what is there, before and after a further attempt."""
    disk = machine.mount("/dev/ubda", kind, "disk")
    run_dir = next((disk / "runs").iterdir(), None)
    if run_dir is None:
        return {"found": [], "problems": ["the run's directory is gone"]}
    loaded = runstore.load(run_dir)
    found, problems = steps_found(run_dir), []
    if loaded.status != "crashed":
        problems.append(f"judged {loaded.status} ({loaded.reason}), expected crashed")
    return {"found": sorted(found), "problems": problems + go_on(run_dir)}


def go_on(run_dir: Path) -> list[str]:
    """Start the next attempt of a run that crashed, and return what is wrong with it."""
    acks = AckFile(machine.SHARE / "acks-resumed")
    with start_run(run_dir.parent, resume=str(run_dir)) as run:
        log_rows(run, acks, until=lambda step: step >= MORE_ROWS, pause_s=0.0)
    missing = set(range(MORE_ROWS)) - steps_found(run_dir)
    status = runstore.load(run_dir).status
    problems = [f"{len(missing)} rows of the resumed attempt are missing"] if missing else []
    problems += [f"the resumed attempt is {status}"] if status != "finished" else []
    return problems + bad_files(run_dir)


def replace_documents_until_power_loss(kind: str) -> None:
    """Replace `run.json` and append to the manifest for ever; acknowledge each version."""
    disk = machine.mount("/dev/ubda", kind, "disk")
    run = start_run(disk / "runs")
    paths = RunPaths(run.path)
    paths.checkpoints.mkdir()
    document = json.loads(paths.document.read_bytes())
    acks = AckFile(machine.SHARE / "acks")
    for version in itertools.count():
        data = json.dumps(document | {"version": version, "padding": "x" * 5000}).encode()
        write_document(paths.document, data)
        append_to_manifest(run.path, _manifest_row(version))
        acks.tell(version)


def _manifest_row(version: int) -> dict[str, Any]:
    return {
        "file": RunPaths(Path()).checkpoint(version, 1).name,
        "step": version,
        "attempt": 1,
        "bytes": 1,
        "sha256": "0" * 64,
        "cuts": {},
    }


def read_documents_back(kind: str) -> dict[str, Any]:
    """Return the newest version that the documents have, and what is wrong with them."""
    disk = machine.mount("/dev/ubda", kind, "disk")
    run_dir = next((disk / "runs").iterdir())
    problems: list[str] = []
    try:
        version = json.loads(RunPaths(run_dir).document.read_bytes())["version"]
    except (OSError, ValueError, KeyError) as error:
        return {"version": -1, "problems": [f"run.json is not whole: {error!r}"]}
    listed = {row.step for row in read_manifest(run_dir)}
    if missing := set(range(version)) - listed:
        problems.append(f"{len(missing)} rows of the manifest are missing")
    loaded = runstore.load(run_dir)
    if loaded.status != "crashed":
        problems.append(f"judged {loaded.status} ({loaded.reason}), expected crashed")
    return {"version": min(version, max(listed, default=-1)), "problems": problems}
