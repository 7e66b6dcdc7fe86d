"""MMEngine's Runner: JSON lines in `<time>/vis_data/scalars.json`, and the same in `<time>.json`.

An epoch is 20 iterations and a validation, whose `step` is the epoch.
"""

from __future__ import annotations

import sys

from .orders import Orders


def main(directory: str) -> None:
    orders = Orders()
    import torch
    from mmengine.evaluator import BaseMetric, Evaluator
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner
    from mmengine.visualization.vis_backend import BaseVisBackend, LocalVisBackend

    class Line(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, x: torch.Tensor, y: torch.Tensor, mode: str) -> object:
            out = self.layer(x)
            if mode == "loss":
                return {"loss": torch.nn.functional.mse_loss(out, y)}
            return out, y

    class Error(BaseMetric):
        def process(self, data_batch: object, data_samples: list[torch.Tensor]) -> None:
            out, y = data_samples
            self.results.append((out - y).abs().mean().item())

        def compute_metrics(self, results: list[float]) -> dict[str, float]:
            return {"mae": sum(results) / len(results)}

    class Obey(Hook):
        priority = "LOWEST"

        def before_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
            if not orders.more():
                raise StopIteration

        def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
            orders.logged(runner.iter + 1, {})

    class Note(BaseVisBackend):
        """Sees what the other backends are given."""

        experiment = None

        def _init_env(self) -> None:
            """There is nothing to set up."""

        def add_scalars(
            self, scalar_dict: dict[str, float], step: int = 0, *_: object, **__: object
        ) -> None:
            orders.also(int(scalar_dict.get("step", step)), scalar_dict)

    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 160).reshape(-1, 1)
    data = torch.utils.data.TensorDataset(x, 3 * x + 1 + x**2)
    loader = {
        "dataset": data,
        "batch_size": 8,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
    }
    runner = Runner(
        model=Line(),
        work_dir=directory,
        train_dataloader={**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        val_dataloader={**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        train_cfg={"by_epoch": True, "max_epochs": 10**6, "val_interval": 1},
        val_cfg={},
        val_evaluator=Evaluator(Error(prefix="fit")),
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}, "checkpoint": None},
        custom_hooks=[Obey()],
        visualizer={
            "type": "Visualizer",
            "vis_backends": [{"type": LocalVisBackend}, {"type": Note}],
        },
        randomness={"seed": 0},
        log_level="ERROR",
    )
    try:
        runner.train()
    except StopIteration:
        runner.visualizer.close()
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
