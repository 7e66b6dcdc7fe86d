"""A small training: python train.py RUN_DIR ACKNOWLEDGED [KILL_AT_STEP].

Each call that returned is acknowledged in a file of its own, outside of the run: `RUN log 7`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import runstore
from runstore.writer import writer

# The thread's own calls are to meet faults too, in a script of a tenth of a second.
vars(writer).update(SYNC_INTERVAL_S=0.02, HEARTBEAT_LOCAL_S=0.02)

EPOCHS, BATCHES = 2, 5
REFUSED = 3


class Weights:
    """What a checkpoint holds."""

    def __init__(self) -> None:
        self.value = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value = state["value"]


def main(run_dir: Path, acknowledged: Path, kill_at: int) -> None:
    os.environ["RUNSTORE_RUN"] = str(run_dir)
    descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(text: str) -> None:
        os.write(descriptor, f"{run_dir.name} {text}\n".encode())

    weights = Weights()
    try:
        run = runstore.init({"lr": 0.1}, save_every="6st", keep_last=1, system_interval_s=None)
        run.register(weights=weights)
    except (OSError, runstore.RunStoreError) as error:
        acknowledge("refused")
        sys.stderr.write(f"refused: {error}\n")
        sys.exit(REFUSED)
    acknowledge("open")
    with run:
        for epoch in run.epochs(EPOCHS):
            if epoch > 1:
                acknowledge(f"epoch {epoch - 1}")
            for batch in run.train(range(BATCHES)):
                weights.value += 1
                run.track(loss=1.0 / (batch + 1), n=8)
                run.log({"i": weights.value})
                acknowledge(f"log {weights.value:.0f}")
                if weights.value == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            for batch in run.val(range(2)):
                run.track(loss=1.0 / (batch + 1), n=8)
        acknowledge(f"epoch {EPOCHS}")
        acknowledge("looped")
    acknowledge("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int((sys.argv[3:] or ["-1"])[0]))
