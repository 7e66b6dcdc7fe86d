"""Digits on several processes: the same loop, one run directory, every sample evaluated once.

torchrun --standalone --nproc-per-node 2 examples/ddp.py    # gloo on CPUs, nccl on GPUs
runstore resume latest
"""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset, random_split

import runstore

params = {"lr": 3e-3, "epochs": 10, "batch_size": 32}
device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu")
if device.type == "cuda":
    torch.cuda.set_device(device)
dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
torch.manual_seed(0)

digits = load_digits()
dataset = TensorDataset(torch.tensor(digits.data).float() / 16, torch.tensor(digits.target))
train_set, val_set = random_split(dataset, [0.8, 0.2])
train_sampler = runstore.ResumableSampler(train_set, seed=0)  # each rank's own part
val_sampler = runstore.ResumableSampler(val_set, shuffle=False)  # without duplicates as padding
train_loader = DataLoader(train_set, params["batch_size"], sampler=train_sampler)
val_loader = DataLoader(val_set, params["batch_size"], sampler=val_sampler)

network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
model = DistributedDataParallel(network.to(device))
optimizer = torch.optim.AdamW(model.parameters(), params["lr"])
criterion = nn.CrossEntropyLoss()

with runstore.init(params, name="ddp", best="val/accuracy:max", save_every="1ep") as run:
    stepper = runstore.Stepper(run, model, optimizer)
    run.register(model=model, optimizer=optimizer, stepper=stepper)
    for _ in run.epochs(params["epochs"]):
        model.train()
        for x, y in run.train(train_loader):
            x, y = x.to(device), y.to(device)
            with stepper.forward():
                loss = criterion(model(x), y)
            stepper.backward(loss, n=len(y))
            stepper.step()
            run.track(loss=loss, n=len(y))
        model.eval()
        with torch.no_grad():
            for x, y in run.val(val_loader):
                # Not `model`: it may wait for other ranks, which may have fewer batches here.
                logits, y = network(x.to(device)), y.to(device)
                run.track(loss=criterion(logits, y), n=len(y))
                run.track_classification(logits, y)
dist.destroy_process_group()
