"""A small conditional GAN draws handwritten digits: two Steppers, a grid per epoch, a GIF.

python examples/gan.py            # gan.gif at its end; runstore-tui shows the grids meanwhile
runstore resume latest            # after a kill: on from the last checkpoint, to the same pictures
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import one_hot, softplus
from torch.utils.data import DataLoader, TensorDataset

import runstore

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=60)
params = {"lr": 1e-3, "batch_size": 64, "noise": 16, "width": 128, **vars(parser.parse_args())}
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
torch.set_num_threads(1)  # the networks are too small for more

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1  # 64 pixels, from -1 to 1
dataset = TensorDataset(images, one_hot(torch.tensor(digits.target)).float())
sampler = runstore.ResumableSampler(dataset, seed=0)
loader = DataLoader(dataset, params["batch_size"], sampler=sampler, drop_last=True)
# The same 50 in each epoch, so that the pictures can be compared: five of each digit, in columns.
generator = torch.Generator().manual_seed(1)
fixed_noise = torch.randn(50, params["noise"], generator=generator).to(device)
fixed_labels = torch.eye(10).repeat(5, 1).to(device)


class Generator(nn.Module):
    def __init__(self, noise, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(noise + 10, width), nn.BatchNorm1d(width), nn.ReLU()),
            nn.Sequential(nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU()),
            nn.Sequential(nn.Linear(2 * width, 64), nn.Tanh()),
        )

    def forward(self, noise, labels):
        return self.layers(torch.cat([noise, labels], 1))


class Discriminator(nn.Module):
    def __init__(self, width):
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm  # keeps it from running away
        self.layers = nn.Sequential(
            nn.Sequential(normed(nn.Linear(64, 2 * width)), nn.LeakyReLU(0.2)),
            nn.Sequential(normed(nn.Linear(2 * width, width)), nn.LeakyReLU(0.2)),
        )
        self.is_real = normed(nn.Linear(width, 1))
        self.is_digit = normed(nn.Linear(10, width, bias=False))

    def forward(self, images, labels):
        found = self.layers(images)
        return self.is_real(found) + (found * self.is_digit(labels)).sum(1, keepdim=True)


G = Generator(params["noise"], params["width"]).to(device)
D = Discriminator(params["width"]).to(device)
averaged = torch.optim.swa_utils.AveragedModel(
    G, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=True
)
optimizer_G = torch.optim.Adam(G.parameters(), params["lr"] / 2, betas=(0.5, 0.99))
optimizer_D = torch.optim.Adam(D.parameters(), params["lr"], betas=(0.5, 0.99))

with runstore.init(params, name="gan", save_every="1ep") as run:
    step_D = runstore.Stepper(run, D, optimizer_D)  # the first one counts the steps
    step_G = runstore.Stepper(run, G, optimizer_G)
    networks = {"G": G, "D": D, "averaged": averaged}
    run.register(**networks, optimizer_G=optimizer_G, optimizer_D=optimizer_D)
    for _ in run.epochs(params["epochs"]):
        for real, labels in run.train(loader):
            real, labels = real.to(device), labels.to(device)
            fake = G(torch.randn(len(real), params["noise"]).to(device), labels)
            with step_D.forward():
                loss_D = (
                    softplus(-D(real, labels)).mean() + softplus(D(fake.detach(), labels)).mean()
                )
            step_D.backward(loss_D, n=len(real))
            step_D.step()
            with step_G.forward():
                loss_G = softplus(-D(fake, labels)).mean()
            step_G.backward(loss_G, n=len(real))
            step_G.step()
            averaged.update_parameters(G)
            run.track(loss_D=loss_D, loss_G=loss_G, n=len(real))
        averaged.eval()
        with torch.no_grad():
            samples = averaged(fixed_noise, fixed_labels)
        run.log_images("samples", samples.view(-1, 1, 8, 8), value_range=(-1, 1), nrow=10)

print(runstore.make_gif(run, "samples", "gan.gif", colors=16))
