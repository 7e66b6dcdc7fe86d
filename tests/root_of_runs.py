"""A root of runs as small as they may be, for tests of how runs are found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runstore.sources import RunRef

FIRST = "20260101-000000-digits-aaaaaaaa"
SECOND = "20260102-000000-digits-bbbbbbbb"
THIRD = "20260103-000000-words-cccccccc"


def make_run(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text('{"format":1}')
    return path


def make_root(root: Path) -> Path:
    """Make two runs in a root, and one in a folder of a folder of it."""
    make_run(root / SECOND)
    make_run(root / FIRST)
    make_run(root / "sweep" / "deeper" / THIRD)
    return root


def names(refs: Iterable[RunRef]) -> list[str]:
    return [ref.name for ref in refs]
