"""Stable-Baselines3: `progress.csv` and an event file of the same values, in one directory.

With `csv` as second argument it writes no event file.
A step is a rollout and an update. The CSV file is written anew, in place, when a metric is new:
after the first rollout, which has no update before it.
"""

from __future__ import annotations

import sys
from typing import Any

from .orders import Orders

ROLLOUT = 4


def main(directory: str, *formats: str) -> None:
    orders = Orders()
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import KVWriter, configure

    class Note(KVWriter):
        """Sees what the other writers are given."""

        def write(self, key_values: dict[str, Any], key_excluded: object, step: int = 0) -> None:
            orders.logged(step, {name: float(value) for name, value in key_values.items()})

        def close(self) -> None:
            """There is nothing to close."""

    class Obey(BaseCallback):
        def _on_step(self) -> bool:
            return self.is_going

        def _on_rollout_start(self) -> None:
            self.is_going = orders.more()

    torch.set_num_threads(1)
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=ROLLOUT, batch_size=ROLLOUT, n_epochs=1, seed=0)
    logger = configure(directory, [*(formats or ("csv", "tensorboard"))])
    logger.output_formats.append(Note())
    model.set_logger(logger)
    model.learn(10**9, callback=Obey())
    logger.close()
    orders.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
