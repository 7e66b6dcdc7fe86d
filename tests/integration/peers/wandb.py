"""W&B, offline: a `.wandb` file in `wandb/offline-run-…`.

It grows by blocks of 32 KiB; what is in a block that is not full comes up to 15 s later. Steps are
counted by W&B, from 0.
"""

from __future__ import annotations

import os
import sys

from .orders import Orders, losses

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")


def main(directory: str) -> None:
    orders = Orders()
    import wandb

    with wandb.init(dir=directory, project="peers", name="line", config={"lr": 0.1}) as run:
        step = 0
        while orders.more():
            values = losses(step + 1)
            run.log(values)
            orders.logged(step, values)
            step += 1
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
