"""Handwritten digits with a small CNN: bf16, accumulation, clipping, reports, exact resume.

python examples/mnist_like.py
runstore resume latest    # after a kill: on from the last checkpoint, to the same numbers
runstore sweep --grid lr=1e-3,3e-3 -- python examples/mnist_like.py --lr {lr}
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import runstore

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--epochs", type=int, default=15)
stepping = {"mixed_precision": "bf16", "gradient_accumulation_steps": 4, "max_grad_norm": 1.0}
params = {**vars(parser.parse_args()), "batch_size": 16, **stepping}
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
dataset = TensorDataset(images, torch.tensor(digits.target))
train_set, val_set = random_split(dataset, [0.8, 0.2])
sampler = runstore.ResumableSampler(train_set, seed=0)  # shuffles, the same after a resume
train_loader = DataLoader(train_set, params["batch_size"], sampler=sampler)
val_loader = DataLoader(val_set, 128)

model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10)),
).to(device)
optimizer = torch.optim.AdamW(model.parameters(), params["lr"])
criterion = nn.CrossEntropyLoss()

with runstore.init(params, name="digits", best="val/accuracy:max", save_every="1ep") as run:
    stepper = runstore.Stepper(run, model, optimizer, **stepping)
    run.register(model=model, optimizer=optimizer, stepper=stepper)
    for _ in run.epochs(params["epochs"]):
        model.train()
        for x, y in run.train(train_loader):
            x, y = x.to(device), y.to(device)
            with stepper.forward():
                loss = criterion(model(x), y)
            stepper.backward(loss, n=len(y))
            stepper.step()  # acts behind every fourth batch, and the last one
            run.track(loss=loss, n=len(y))
        model.eval()
        with torch.no_grad():
            for x, y in run.val(val_loader):
                logits, y = model(x.to(device)), y.to(device)
                run.track(loss=criterion(logits, y), n=len(y))
                run.track_classification(logits, y)
