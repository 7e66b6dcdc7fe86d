"""A training that logs images: python images.py RUN_DIR ACKNOWLEDGED, which is what train.py does.

A script that is started again goes on from its checkpoint.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import runstore
from tests.faults.scenarios.train import REFUSED, Weights

EPOCHS, BATCHES = 2, 3
PIXELS = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16)).astype(np.uint8)


def main(run_dir: Path, acknowledged: Path) -> None:
    os.environ["RUNSTORE_RUN"] = str(run_dir)
    descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(text: str) -> None:
        os.write(descriptor, f"{run_dir.name} {text}\n".encode())

    weights = Weights()
    try:
        run = runstore.init(save_every="4st", system_interval_s=None)
        run.register(weights=weights)
    except (OSError, runstore.RunStoreError) as error:
        acknowledge("refused")
        sys.stderr.write(f"refused: {error}\n")
        sys.exit(REFUSED)
    with run:
        for epoch in run.epochs(EPOCHS):
            # The row of an epoch is written when its body is left, not in it.
            if epoch > 1:
                acknowledge(f"epoch {epoch - 1}")
            for batch in run.train(range(BATCHES)):
                weights.value += 1
                run.track(loss=1.0 / (batch + 1), n=8)
                run.log({"i": weights.value})
                acknowledge(f"log {weights.value:.0f}")
                run.log_images("samples", PIXELS)
                acknowledge(f"image {run.step}")
            run.log_images("val/inputs", PIXELS[0])
        acknowledge(f"epoch {EPOCHS}")
        acknowledge("looped")
    acknowledge("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
