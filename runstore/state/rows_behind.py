"""How many rows of each attempt a later one superseded: the lines behind the byte of a cut."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from runstore.files.limits import COUNTED_BYTES
from runstore.files.paths import StreamFile
from runstore.files.regular import open_regular

_CHUNK = 1 << 20


def superseded_rows(run_dir: Path, cuts: Mapping[str, int]) -> dict[int, str]:
    """Return how many metrics rows of an attempt do not count, in words: `57`, `more than 1,000`.

    An attempt whose rows all count has no key.

    Args:
        run_dir: the run's directory.
        cuts: file name to the byte at which its rows that count end (`RunState.cuts`).
    """
    rows: Counter[int] = Counter()
    partly: set[int] = set()
    for name, start in cuts.items():
        file = StreamFile.parse(name)
        if file is None or file.stream != "metrics" or file.rank:
            continue
        lines, is_all = _lines(str(run_dir / name), start, _size(run_dir / name))
        rows[file.attempt] += lines
        if not is_all:
            partly.add(file.attempt)
    return {
        attempt: f"more than {count:,}" if attempt in partly else f"{count:,}"
        for attempt, count in rows.items()
        if count
    }


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


@lru_cache(maxsize=512)
def _lines(path: str, start: int, size: int) -> tuple[int, bool]:
    """Return how many lines end behind a byte of a file of that size, and whether that is all.

    Remembered, because the file of an earlier attempt does not change.
    """
    lines, at, stop = 0, start, min(size, start + COUNTED_BYTES)
    try:
        descriptor = open_regular(path)
    except OSError:
        return 0, True
    try:
        while at < stop and (data := os.pread(descriptor, min(_CHUNK, stop - at), at)):
            lines += data.count(b"\n")
            at += len(data)
    except OSError:
        return 0, True
    finally:
        os.close(descriptor)
    return lines, stop >= size
