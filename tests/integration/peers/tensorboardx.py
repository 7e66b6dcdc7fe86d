"""tensorboardX: event files without TensorBoard; a text among the scalars.

With a step as second argument: as in tensorboard.py.
"""

from __future__ import annotations

import sys

from .orders import Orders, float32, losses


def main(directory: str, restart: str = "") -> None:
    orders = Orders()
    from tensorboardX import SummaryWriter

    purge_step = int(restart) if restart else None
    # Its flush() does not wait for its own queue; its thread flushes all, by default every 2 min.
    with SummaryWriter(directory, purge_step=purge_step, flush_secs=1) as writer:
        writer.add_text("config", "lr=0.1")
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
