"""Copies that the monitor has made and nobody watches any more: removed, never half of one."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.hosts import pulled
from runstore.pull.place import cached, claim

UNUSED_S = 30 * 86400.0
_REMOVED = ".removed-"
"""Begins the name of a copy that is being removed; no copy's name begins with a dot."""


def watch(places: Collection[Path]) -> None:
    """Note that copies are watched now, also where their host is away."""
    for place in places:
        with suppress(OSError):
            os.utime(place / pulled.NAME)


def remove_unused(cache: Path, watched: Collection[Path]) -> None:
    """Remove what no monitor has watched for `UNUSED_S` seconds.

    Args:
        cache: the monitor's folder of copies; nothing else than its own copies is removed.
        watched: copies that are watched now.
    """
    oldest = time.time() - UNUSED_S
    for document in cache.glob(f"*/*/{pulled.NAME}"):
        with suppress(OSError, RunStoreError):
            if document.parent not in watched and document.stat().st_mtime < oldest:
                _set_aside(cache, document.parent)
    # Also those in which an earlier one was cut short.
    for left in cache.glob(f"*/{_REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _set_aside(cache: Path, place: Path) -> None:
    known = pulled.read(place)
    if known is None or place != cached(cache, known.source):
        return
    lock = claim(place, known.source)
    try:
        place.rename(place.with_name(f"{_REMOVED}{secrets.token_hex(8)}"))
    finally:
        os.close(lock)
