"""Keras: the TensorBoard callback (`logs/train`, `logs/validation`) and CSVLogger.

A step is an epoch, counted from 0. TensorFlow writes the event files, each scalar as a tensor.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .orders import Orders, float32

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")


def main(directory: str) -> None:
    orders = Orders()
    import keras
    import numpy as np

    class Obey(keras.callbacks.Callback):
        """The last callback: the others have written when it is called."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            orders.logged(epoch, float32(logs))
            self.model.stop_training = not orders.more()

    keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
    y = 3 * x + 1
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    if orders.more():
        csv = Path(directory, "csv")
        csv.mkdir()
        callbacks = [
            keras.callbacks.TensorBoard(Path(directory, "logs"), write_graph=False),
            keras.callbacks.CSVLogger(csv / "training.csv"),
            Obey(),
        ]
        data = {"x": x, "y": y, "validation_data": (x, y), "batch_size": 32}
        model.fit(**data, epochs=10**6, verbose=0, callbacks=callbacks)
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
