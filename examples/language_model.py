"""A character transformer on the help texts of Python: a schedule, clipping, tokens per second.

python examples/language_model.py
runstore sweep --grid lr=2e-3,4e-3 -- python examples/language_model.py --lr {lr}
"""

import argparse
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import runstore

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=4e-3)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--width", type=int, default=64)
params = {**vars(parser.parse_args()), "batch_size": 32, "heads": 4, "layers": 2}
CONTEXT = 64
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)

text = "\n".join(topics.values())
alphabet = sorted(set(text))
tokens = torch.tensor([alphabet.index(character) for character in text], device=device)
windows = tokens.unfold(0, CONTEXT + 1, CONTEXT)
dataset = TensorDataset(windows[:, :-1], windows[:, 1:])  # characters, and those that follow them
train_set, val_set = random_split(dataset, [0.9, 0.1])
sampler = runstore.ResumableSampler(train_set, seed=0)
train_loader = DataLoader(train_set, params["batch_size"], sampler=sampler)
val_loader = DataLoader(val_set, 128)


class Transformer(nn.Module):
    def __init__(self, width, heads, layers):
        super().__init__()
        self.embedding = nn.Embedding(len(alphabet), width)
        self.position = nn.Parameter(torch.zeros(CONTEXT, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, len(alphabet))

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT, device=x.device)
        x = self.blocks(self.embedding(x) + self.position, mask, is_causal=True)
        return self.head(x).transpose(1, 2)  # as CrossEntropyLoss wants it: the classes second


model = Transformer(params["width"], params["heads"], params["layers"]).to(device)
optimizer = torch.optim.AdamW(model.parameters(), params["lr"])
steps = params["epochs"] * len(train_loader)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, params["lr"], steps)
criterion = nn.CrossEntropyLoss()

with runstore.init(params, name="characters", save_every="50st") as run:
    stepper = runstore.Stepper(run, model, optimizer, scheduler, max_grad_norm=1.0)
    run.register(model=model, optimizer=optimizer, scheduler=scheduler, stepper=stepper)
    for _ in run.epochs(params["epochs"]):
        for x, y in run.train(train_loader):
            with stepper.forward():
                loss = criterion(model(x), y)
            stepper.backward(loss, n=len(y))
            stepper.step()
            run.track(loss=loss, n=len(y), tokens=y.numel())
        with torch.no_grad():
            for x, y in run.val(val_loader):
                run.track(loss=criterion(model(x), y), n=len(y))
