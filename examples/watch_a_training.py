"""Watch a training of your own: two lines round the loop, then ``diorama serve runs/``."""

import sys

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

import diorama

path = sys.argv[1] if len(sys.argv) > 1 else "runs/spirals"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000

generator = torch.Generator().manual_seed(0)
turn = torch.rand(600, generator=generator) * 3
label = torch.arange(600) % 2
angle = turn * 2 + label * torch.pi
x = torch.stack((turn * angle.cos(), turn * angle.sin()), 1) + 0.1 * torch.randn(600, 2, generator=generator)

model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), 0.01)

with diorama.watch(
    model, path, probe=(x[:200], label[:200]), classes=("inner", "outer"), optimizer=optimizer
) as recorder:
    for _ in range(steps):
        rows = torch.randint(200, 600, (64,), generator=generator)
        scores = model(x[rows])
        loss = F.cross_entropy(scores, label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss, accuracy=(scores.argmax(1) == label[rows]).float().mean())

run = diorama.open(path)
print(f"{len(run.snapshots)} snapshots, {len(run.series_names)} series; look at them with: diorama serve {path}")
