"""Handwritten digits with a small CNN: bf16, accumulation, clipping, reports, exact resume.

python examples/mnist_like.py
runstore resume latest    # after a kill: on from the last checkpoint, to the same numbers
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import runstore

params = {"lr": 1e-2, "epochs": 15, "batch_size": 16, "accumulate": 4, "precision": "bf16"}
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
dataset = TensorDataset(images, torch.tensor(digits.target))
train_set, val_set = random_split(dataset, [0.8, 0.2], torch.Generator().manual_seed(0))
sampler = runstore.ResumableSampler(train_set, seed=0)  # shuffles, the same after a resume
train_loader = DataLoader(train_set, params["batch_size"], sampler=sampler)
val_loader = DataLoader(val_set, 128)

model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10)),
).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=params["lr"])
steps = params["epochs"] * -(-len(train_loader) // params["accumulate"])  # rounded up
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, params["lr"], steps)
criterion = nn.CrossEntropyLoss()

with runstore.init(params, name="digits", best="val/accuracy:max", save_every="1ep") as run:
    stepper = runstore.Stepper(
        run,
        model,
        optimizer,
        scheduler,
        mixed_precision=params["precision"],
        gradient_accumulation_steps=params["accumulate"],
        max_grad_norm=1.0,
    )
    run.register(model=model, optimizer=optimizer, scheduler=scheduler, stepper=stepper)
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
