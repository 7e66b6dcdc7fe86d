"""A training loop that appends JSON lines itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .orders import Orders, losses


def main(directory: str) -> None:
    orders = Orders()
    run = Path(directory, "run")
    run.mkdir()
    step = 0
    with (run / "metrics.jsonl").open("a") as file:
        orders.flush = file.flush
        while orders.more():
            step += 1
            values = losses(step)
            file.write(json.dumps({"step": step, **values}) + "\n")
            orders.logged(step, values)
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
