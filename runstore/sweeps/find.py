"""The sweep that somebody means: by its directory, or by its name below the root."""

from __future__ import annotations

import os
from pathlib import Path

from runstore.files.paths import SweepPaths


def sweep_dir(wanted: str, root: Path) -> Path | None:
    """Return the directory of the sweep that `wanted` means; None where it means none."""
    if not wanted:
        return None
    places = [root / wanted, Path(wanted)]
    if os.sep in wanted:
        places.reverse()
    return next((place for place in places if SweepPaths(place).document.is_file()), None)
