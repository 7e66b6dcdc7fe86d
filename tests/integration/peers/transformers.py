"""transformers' Trainer: `trainer_state.json` in a folder per checkpoint, of which two are kept.

It logs, evaluates and saves every 10 steps.
"""

from __future__ import annotations

import sys
from typing import Any

from .orders import Orders

EVERY = 10


def main(directory: str) -> None:
    orders = Orders()
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            out = self.layer(x)
            return {"loss": torch.nn.functional.mse_loss(out, labels), "logits": out}

    class Obey(TrainerCallback):
        def on_step_begin(self, args: object, state: Any, control: Any, **_: object) -> None:
            control.should_training_stop = not orders.more()

        def on_step_end(self, args: object, state: Any, control: Any, **_: object) -> None:
            orders.logged(state.global_step, {})

        def on_log(
            self, args: object, state: Any, control: Any, logs: dict[str, float], **_: object
        ) -> None:
            orders.also(state.global_step, logs)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.linspace(-1, 1, 64).reshape(-1, 1)
    data = [{"x": a, "labels": 3 * a + 1} for a in x]
    arguments = TrainingArguments(
        directory,
        max_steps=10**6,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=64,
        logging_steps=EVERY,
        eval_strategy="steps",
        save_steps=EVERY,
        save_total_limit=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(Line(), arguments, train_dataset=data, eval_dataset=data, callbacks=[Obey()])
    trainer.train()
    trainer.save_state()
    orders.end()


if __name__ == "__main__":
    main(sys.argv[1])
