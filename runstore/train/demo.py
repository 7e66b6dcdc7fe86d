"""The training behind `runstore demo`: handwritten digits, a small CNN, a 2×2 grid.

    python -m runstore.train.demo --root runs --epochs 20

It only writes files: what the monitor shows comes from them.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import runstore

NAMES = [str(digit) for digit in range(10)]
GRID: dict[str, list[Any]] = {"lr": [3e-3, 3e-4], "batch_size": [32, 128]}


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return 1,438 images to train on and 359 to validate: float32 [n, 1, 8, 8], 0 to 1."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    dataset = TensorDataset(images, torch.tensor(data.target))
    generator = torch.Generator().manual_seed(0)
    train, val = random_split(dataset, [0.8, 0.2], generator)
    return TensorDataset(*dataset[train.indices]), TensorDataset(*dataset[val.indices])


def network() -> nn.Module:
    """Return the model: images [n, 1, 8, 8] to logits [n, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(48 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def train_one(root: str, params: dict[str, Any], epochs: int) -> None:
    """Train one cell of the grid."""
    torch.manual_seed(0)
    train_set, val_set = digits()
    with runstore.init(root=root, params=params, name="digits", tags=["demo"]) as run:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
        loss_of = nn.CrossEntropyLoss()
        loader = DataLoader(train_set, batch_size=run.params["batch_size"], shuffle=True)
        val_loader = DataLoader(val_set, batch_size=len(val_set))
        for _ in run.epochs(epochs):
            model.train()
            for x, y in run.train(loader):
                logits = model(x)
                loss = loss_of(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                accuracy = (logits.argmax(1) == y).float().mean()
                run.track(loss=loss, accuracy=accuracy, n=len(y))
            run.log({"lr": optimizer.param_groups[0]["lr"]})
            model.eval()
            with torch.no_grad():
                for x, y in run.val(val_loader):
                    logits = model(x)
                    run.track(loss=loss_of(logits, y), n=len(y))
                    run.track_classification(logits, y, target_names=NAMES)


def main() -> None:
    """Train every cell of the grid, one after another."""
    parser = argparse.ArgumentParser(description="Train the demo's four runs.")
    parser.add_argument("--root", default="runs")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    # Two threads win nothing on 8×8 images, and stall whenever the monitor wants a core.
    torch.set_num_threads(1)
    for params in runstore.grid(**GRID):
        train_one(options.root, params, options.epochs)


if __name__ == "__main__":
    main()
