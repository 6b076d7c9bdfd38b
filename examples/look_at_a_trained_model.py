"""Look at any trained model: no run is needed, and the model is left as it was."""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import diorama

out = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
data = load_digits()
x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(data.target)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10)
)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for k in range(150):
    rows = torch.arange(k * 64, k * 64 + 64) % 1500
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

scene = diorama.Scene(model, x[1500:], y[1500:], classes=[str(k) for k in range(10)])
print(scene.layers)
print(scene.guessed)
for name in ("activations", "weights", "confusion"):
    picture = scene.view(name)
    print(picture.save(out / f"{name}.png"), "·", picture.caption)
