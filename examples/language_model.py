"""A character transformer on the help texts of Python: random windows, tokens per second.

python examples/language_model.py
"""

from pydoc_data.topics import topics

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import runstore

params = {"lr": 4e-3, "epochs": 4, "batch_size": 32, "width": 64, "heads": 4, "layers": 2}
CONTEXT = 64
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)

text = "\n".join(topics.values())
alphabet = sorted(set(text))
tokens = torch.tensor([alphabet.index(character) for character in text])
train_tokens, val_tokens = tokens[: -len(tokens) // 10], tokens[-len(tokens) // 10 :]


class RandomWindows:
    """Anywhere in the text, anew in every epoch, and the same again after a resume."""

    def __len__(self):
        return len(train_tokens) // CONTEXT // 2

    def __getitem__(self, index):
        start = torch.randint(len(train_tokens) - CONTEXT, ())
        return train_tokens[start : start + CONTEXT + 1]


class Transformer(nn.Module):
    def __init__(self, width, heads, layers):
        super().__init__()
        self.embedding = nn.Embedding(len(alphabet), width)
        self.position = nn.Parameter(torch.zeros(CONTEXT, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(alphabet)))
        self.mask = nn.Buffer(nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position
        return self.head(self.blocks(x, mask=self.mask, is_causal=True))


def loss_of(window):
    window = window.to(device)
    return cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())


sampler = runstore.ResumableSampler(RandomWindows(), seed=0)
train_set = runstore.SeededDataset(RandomWindows())
train_loader = DataLoader(train_set, params["batch_size"], sampler=sampler)
val_loader = DataLoader(val_tokens.unfold(0, CONTEXT + 1, CONTEXT), 128)
model = Transformer(params["width"], params["heads"], params["layers"]).to(device)
optimizer = torch.optim.AdamW(model.parameters(), params["lr"])
steps = params["epochs"] * len(train_loader)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, params["lr"], steps)

with runstore.init(params, name="characters", save_every="50st") as run:
    stepper = runstore.Stepper(run, model, optimizer, scheduler, max_grad_norm=1.0)
    run.register(model=model, optimizer=optimizer, scheduler=scheduler, stepper=stepper)
    for _ in run.epochs(params["epochs"]):
        for window in run.train(train_loader):
            with stepper.forward():
                loss = loss_of(window)
            n_tokens = window[:, 1:].numel()
            stepper.backward(loss, n=n_tokens)
            stepper.step()
            run.track(loss=loss, n=len(window), tokens=n_tokens)
        with torch.no_grad():
            for window in run.val(val_loader):
                run.track(loss=loss_of(window), n=len(window))
