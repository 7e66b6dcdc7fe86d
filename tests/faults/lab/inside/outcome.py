"""What a trial that needs one guest reports to the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import runstore
from tests.faults.lab.acks import loss, read_acks
from tests.faults.lab.inside.rows import bad_files, steps_found


def outcome(
    run_dir: Path, acks: Path, status: str, problems: list[str], *, strict: bool = True
) -> dict[str, Any]:
    """Compare what was acknowledged with what is read back.

    Args:
        run_dir: the run.
        acks: the acknowledgements.
        status: what the run should be judged to be.
        problems: what is wrong already.
        strict: every file must be whole lines of JSON; a writer that was killed may leave half one.
    """
    found = loss(read_acks(acks), steps_found(run_dir))
    return {
        "acknowledged": found.acknowledged,
        "lost": found.lost,
        "oldest_s": found.oldest_s,
        "problems": [
            *problems,
            *_wrong_status(run_dir, status),
            *(bad_files(run_dir) if strict else []),
        ],
    }


def _wrong_status(run_dir: Path, expected: str) -> list[str]:
    loaded = runstore.load(run_dir)
    if loaded.status == expected:
        return []
    return [f"judged {loaded.status} ({loaded.reason}), expected {expected}"]
