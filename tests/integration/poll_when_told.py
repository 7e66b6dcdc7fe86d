"""Follows the run at a path: reads all that is new for each line on standard input.

Answers with the newest values, and does nothing until the next line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from runstore.runs.lookup import find
from runstore.sources import open_run


def main(path: str) -> None:
    """Follow the run."""
    reader = open_run(find(path, Path(path).parent))
    for _ in sys.stdin:
        reader.poll()
        while reader.behind:
            reader.poll()
        sys.stdout.write(json.dumps(reader.state.last) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
