"""Compare what runstore reads of W&B's local files with what W&B's own reader prints of them.

    python tests/integration/peers/compare_wandb.py WANDB PATH…

WANDB is the program `wandb` (0.31 or later), each PATH a directory with a `.wandb` file. Every row
of the history is compared, value by value, and how long either took is printed.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runstore.sources import wandb
from runstore.sources.columns import EPOCH_NAMES, STEP_NAMES, TIME_NAMES, canonical
from runstore.sources.wandb_rows import Learnt

Row = dict[str, str]
COUNTS = {*STEP_NAMES, *EPOCH_NAMES, *TIME_NAMES}
WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def main(program: str, *places: str) -> None:
    for place in places:
        begun = time.perf_counter()
        theirs = dict(their_rows(program, place))
        between = time.perf_counter()
        ours = dict(our_rows(Path(place)))
        done = time.perf_counter()
        same = sum(ours.get(number) == row for number, row in theirs.items())
        told = f"{place}: {same:,} of {len(theirs):,} rows are the same; "
        told += f"wandb took {between - begun:.2f} s, runstore {done - between:.2f} s"
        print(told)  # noqa: T201 - a program


def their_rows(program: str, place: str) -> Iterator[tuple[int, Row]]:
    """Yield the metrics of each row that has any, behind its record's place in the file."""
    command = [program, "leet", "inspect", "--json", place]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        for number, line in enumerate(child.stdout or (), 1):
            if b'"type":"history"' in line[:64]:
                row = comparable(dict(metrics(json.loads(line)["history"]["item"])))
                if row:
                    yield number, row


def metrics(items: dict[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers that no image, histogram or table has inside."""
    media = tuple(key.removesuffix("_type") for key in items if key.endswith("._type"))
    for key, value in items.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from metrics(value, f"{before}{key}.")
        elif isinstance(value, str) and value in WORDS:
            yield f"{before}{key}", WORDS[value]
        elif type(value) in (int, float) and not (media and key.startswith(media)):
            yield f"{before}{key}", value


def our_rows(place: Path) -> Iterator[tuple[int, Row]]:
    """Yield the metrics of each row, behind its record's place in the file."""
    log = wandb.WandbFile(next(place.glob("*.wandb")), Learnt(), patient=False)
    more = True
    while more:
        batch = log.poll()
        more = batch.more
        for found in batch.rows:
            if found.stream in ("metrics", "epochs"):
                yield found.number, comparable(found.row)


def comparable(row: dict[str, float]) -> Row:
    """Return the metrics of a row, bit for bit, without what counts."""
    return {
        canonical(key): repr(float(value))
        for key, value in row.items()
        if key[:1] != "_" and key not in COUNTS and key.rpartition("/")[2] not in COUNTS
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
