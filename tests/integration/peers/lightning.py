"""Lightning's Trainer with CSVLogger, which appends every 100 steps, and TensorBoardLogger.

An epoch is 100 steps and a validation. Steps are counted from 0.
"""

from __future__ import annotations

import logging
import sys
import warnings

from .orders import Orders

STEPS_PER_EPOCH = 100


def main(directory: str) -> None:
    orders = Orders()
    warnings.simplefilter("ignore")
    import torch
    from lightning.pytorch import LightningModule, Trainer, seed_everything
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    logging.getLogger("lightning").setLevel(logging.ERROR)
    Batch = tuple[torch.Tensor, torch.Tensor]

    class Line(LightningModule):
        def __init__(self, lr: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(1, 1)

        def errors(self, batch: Batch, split: str) -> dict[str, torch.Tensor]:
            error = self.layer(batch[0]) - batch[1]
            errors = {
                "loss": error.square().mean(),
                "mae": error.abs().mean(),
                "bias": error.mean(),
            }
            return {f"{split}_{name}": value for name, value in errors.items()}

        def on_train_batch_start(self, *_: object) -> int | None:
            """The loggers have the step before; -1 is how Lightning is told to leave the epoch."""
            if orders.more():
                return None
            self.trainer.should_stop = True
            return -1

        def training_step(self, batch: Batch) -> torch.Tensor:
            errors = self.errors(batch, "train")
            self.log_dict(errors)
            orders.logged(self.global_step, {name: x.item() for name, x in errors.items()})
            return errors["train_loss"]

        def validation_step(self, batch: Batch) -> None:
            self.log_dict(self.errors(batch, "val"))

        def on_validation_epoch_end(self) -> None:
            found = self.trainer.callback_metrics
            values = {name: found[name].item() for name in ("val_loss", "val_mae", "val_bias")}
            orders.also(self.global_step - 1, values)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])

    seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    x = torch.linspace(-1, 1, 8 * STEPS_PER_EPOCH).reshape(-1, 1)
    data = torch.utils.data.TensorDataset(x, 3 * x + 1 + x**2)
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    tensorboard = TensorBoardLogger(directory, name=None, version="tensorboard")
    orders.flush = tensorboard.experiment.flush
    trainer = Trainer(
        max_epochs=-1,
        logger=[CSVLogger(directory, name=None, version="csv"), tensorboard],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Line(lr=0.01), loader, loader)
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
