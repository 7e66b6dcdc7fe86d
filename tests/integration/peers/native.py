"""runstore itself, among the tools that it reads."""

from __future__ import annotations

import sys
from pathlib import Path

import runstore

from .orders import Orders, losses


def main(directory: str) -> None:
    orders = Orders()
    step = 0
    with runstore.init({"lr": 0.1}, root=Path(directory), name="native") as run:
        while orders.more():
            step += 1
            values = losses(step)
            run.log(values, step=step)
            orders.logged(step, values)
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
