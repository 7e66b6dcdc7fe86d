"""MLflow's file store: a file per metric in `mlruns/<experiment>/<run>/metrics`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .orders import Orders, losses

os.environ.update(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true")


def main(directory: str) -> None:
    orders = Orders()
    import mlflow

    mlflow.set_tracking_uri(Path(directory, "mlruns").as_uri())
    mlflow.set_experiment("peers")
    with mlflow.start_run(run_name="line", log_system_metrics=False):
        mlflow.log_params({"lr": 0.1, "optimizer": "sgd"})
        step = 0
        while orders.more():
            step += 1
            values = losses(step)
            mlflow.log_metrics(values, step=step)
            orders.logged(step, values)
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
