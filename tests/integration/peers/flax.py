"""flax's SummaryWriter, as JAX training loops use it; TensorFlow writes each scalar as a tensor."""

from __future__ import annotations

import os
import sys

from .orders import Orders, float32, losses

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")


def main(directory: str) -> None:
    orders = Orders()
    from flax.metrics.tensorboard import SummaryWriter

    writer = SummaryWriter(directory)
    writer.hparams({"lr": 0.1})
    step = 0
    while orders.more():
        step += 1
        values = losses(step)
        for name, value in values.items():
            writer.scalar(name, value, step)
        orders.logged(step, float32(values))
    writer.close()
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
