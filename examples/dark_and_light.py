"""A flaw that is seen, and what mending it gains: half of the digits are dark on light, half light on dark.

The map of the hidden layer falls into two halves, and what tells them apart is not the digit but the ground. Turning every
picture to the same ground before it is learnt cures it. ``python examples/dark_and_light.py runs/ground 5`` trains both twins from
five seeds and prints the gain.
"""

import statistics
import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

import diorama

path = sys.argv[1] if len(sys.argv) > 1 else "runs/ground"
seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 400

found = load_digits()
digits, label = torch.tensor(found.images / 16, dtype=torch.float32).flatten(1), torch.tensor(found.target)


def same_ground(x: Tensor) -> Tensor:
    """Every picture on a dark ground: where the pixels at the border are light, it is turned."""
    border = torch.ones(8, 8, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    light = x[:, border.flatten()].mean(1) > 0.5
    return torch.where(light[:, None], 1 - x, x)


def trained(x: Tensor, seed: int, name: str) -> diorama.Run:
    """A small network, from a seed; the last 597 digits are held back."""
    torch.manual_seed(seed)
    model = nn.Sequential()
    layers = (
        ("first", nn.Linear(64, 32)), ("relu", nn.ReLU()), ("hidden", nn.Linear(32, 32)), ("act", nn.ReLU()), ("out", nn.Linear(32, 10)),
    )
    for part, layer in layers:
        model.add_module(part, layer)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    with diorama.watch(model, f"{path}-{name}-{seed}", probe=(x[1200:], label[1200:]), optimizer=optimizer) as recorder:
        for _ in range(steps):
            rows = torch.randint(0, 1200, (64,))
            scores = model(x[rows])
            loss = F.cross_entropy(scores, label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(f"{path}-{name}-{seed}")


def split(run: diorama.Run, light: np.ndarray) -> float:
    """How well the widest axis of the map of the hidden layer tells the grounds apart: 1 wholly, 0.5 not at all."""
    axis = run.scene().derive("projection", layer="hidden", method="pca").value[:, 0]
    above = axis > np.median(axis)
    return float(max((above == light).mean(), (above != light).mean()))


gains = []
for seed in range(seeds):
    turned = torch.rand(len(digits), generator=torch.Generator().manual_seed(seed)) < 0.5
    mixed = torch.where(turned[:, None], 1 - digits, digits)
    twin, cured = trained(mixed, seed, "mixed"), trained(same_ground(mixed), seed, "same")
    light = turned[1200:][: len(twin.scene().live)].numpy()
    before, after = (float((run.scene().predictions() == label[1200:][: len(light)]).float().mean()) for run in (twin, cured))
    gains.append(after - before)
    print(
        f"seed {seed}: the widest axis of hidden tells the ground of {split(twin, light):.0%} (cured {split(cured, light):.0%}); "
        f"held-back accuracy {before:.1%} → {after:.1%}"
    )
spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
print(f"gain in accuracy over {seeds} seeds: {statistics.mean(gains):+.1%} ± {spread:.1%}")
