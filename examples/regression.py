"""Diabetes one year on, from ten measurements: MSE, MAE and R² of every epoch.

python examples/regression.py
runstore sweep --grid lr=1e-3,3e-3 -- python examples/regression.py --lr {lr}
"""

import argparse

import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import runstore

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--weight-decay", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=30)
params = {**vars(parser.parse_args()), "batch_size": 32}
torch.manual_seed(0)

x, y = (torch.tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
x, y = x / x.std(0), y.unsqueeze(1)
x_train, x_val, y_train, y_val = train_test_split(x, y, random_state=1)
mean, std = y_train.mean(), y_train.std()
train_set = TensorDataset(x_train, y_train)
sampler = runstore.ResumableSampler(train_set, seed=0)
train_loader = DataLoader(train_set, params["batch_size"], sampler=sampler)
val_loader = DataLoader(TensorDataset(x_val, y_val), params["batch_size"])

model = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Dropout(0.2), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), params["lr"], weight_decay=params["weight_decay"])
criterion = nn.MSELoss()

with runstore.init(params, name="diabetes", best="val/r2:max", save_every="5ep") as run:
    stepper = runstore.Stepper(run, model, optimizer)
    run.register(model=model, optimizer=optimizer, stepper=stepper)
    for _ in run.epochs(params["epochs"]):
        model.train()
        for x, y in run.train(train_loader):
            with stepper.forward():
                loss = criterion(model(x), (y - mean) / std)
            stepper.backward(loss, n=len(y))
            stepper.step()
            run.track(loss=loss, n=len(y))
        model.eval()
        with torch.no_grad():
            for x, y in run.val(val_loader):
                run.track_regression(model(x) * std + mean, y)
