"""What a trial that needs one guest reports to the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import runstore
from tests.faults.lab.acks import loss, read_acks
from tests.faults.lab.inside.rows import bad_files, steps_found


def outcome(run_dir: Path, acks: Path, status: str, problems: list[str]) -> dict[str, Any]:
    """Compare what was acknowledged with what is read back; `status` is what the run should be."""
    found = loss(read_acks(acks), steps_found(run_dir))
    return {
        "acknowledged": found.acknowledged,
        "lost": found.lost,
        "oldest_s": found.oldest_s,
        "problems": [*problems, *_wrong_status(run_dir, status), *bad_files(run_dir)],
    }


def _wrong_status(run_dir: Path, expected: str) -> list[str]:
    loaded = runstore.load(run_dir)
    if loaded.status == expected:
        return []
    return [f"judged {loaded.status} ({loaded.reason}), expected {expected}"]
