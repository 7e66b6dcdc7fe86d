"""PyTorch's SummaryWriter: float32 values, among records that are no scalars.

With a step as second argument: the training is restarted there after a crash, with `purge_step`,
so it writes a second event file; its values are others.
"""

from __future__ import annotations

import sys
from types import ModuleType

from .orders import Orders, float32, losses

# The file writer that users without TensorFlow get: it is another one, and TensorFlow takes
# seconds to load. TensorBoard looks for a module of this name.
sys.modules["tensorboard.compat.notf"] = ModuleType("tensorboard.compat.notf")


def main(directory: str, restart: str = "") -> None:
    orders = Orders()
    import torch
    from torch.utils.tensorboard import SummaryWriter

    purge_step = int(restart) if restart else None
    with SummaryWriter(directory, purge_step=purge_step) as writer:
        orders.flush = writer.flush
        writer.add_text("config", "lr=0.1")
        writer.add_histogram("weights", torch.arange(8.0), 0)
        step = int(restart or 1)
        while orders.more():
            values = losses(step, restarted=bool(restart))
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            orders.logged(step, float32(values))
            step += 1
    orders.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
