"""A flaw that is seen, and what mending it gains: filters that died of too large a learning rate.

The overview (the view health) colours the layers whose units died, and says since when. The untouched twin trains on with what is
left; the cured one learns at a sixteenth of the rate. ``python examples/dead_filters.py runs/filters 5`` trains both from five seeds and
prints the gain.
"""

import statistics
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

import diorama

path = sys.argv[1] if len(sys.argv) > 1 else "runs/filters"
seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 400

found = load_digits()
digits, label = torch.tensor(found.images[:, None] / 16, dtype=torch.float32), torch.tensor(found.target)


def trained(rate: float, seed: int, name: str) -> diorama.Run:
    """A small convolutional network, from a seed; the last 597 digits are held back."""
    torch.manual_seed(seed)
    model = nn.Sequential()
    layers = (
        ("conv1", nn.Conv2d(1, 16, 3, padding=1)), ("relu1", nn.ReLU()), ("conv2", nn.Conv2d(16, 16, 3, padding=1)), ("relu2", nn.ReLU()),
        ("pool", nn.MaxPool2d(2)), ("flat", nn.Flatten()), ("hidden", nn.Linear(256, 32)), ("relu3", nn.ReLU()), ("out", nn.Linear(32, 10)),
    )
    for part, layer in layers:
        model.add_module(part, layer)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    with diorama.watch(model, f"{path}-{name}-{seed}", probe=(digits[1200:], label[1200:]), optimizer=optimizer, every=10) as recorder:
        for _ in range(steps):
            rows = torch.randint(0, 1200, (64,))
            loss = F.cross_entropy(model(digits[rows]), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(f"{path}-{name}-{seed}")


def accuracy(run: diorama.Run) -> float:
    """The share of right answers among the digits that were held back."""
    return float(run.series("probe/accuracy")[1][-1])


gains = []
for seed in range(seeds):
    twin, cured = trained(0.05, seed, "twin"), trained(0.003, seed, "cured")
    dead = {layer: float(twin.series(f"activations/{layer}/dead")[1][-1]) for layer in ("conv1", "conv2", "hidden")}
    seen = next(said for said in twin.scene().view("health").caption.split(". ") if said.startswith("At step"))
    gains.append(accuracy(cured) - accuracy(twin))
    print(f"seed {seed}: dead units {', '.join(f'{share:.0%} of {layer}' for layer, share in dead.items())}")
    print(f"  the overview says: {seen}")
    print(f"  held-back accuracy {accuracy(twin):.1%} → {accuracy(cured):.1%}")
spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
print(f"gain in accuracy over {seeds} seeds: {statistics.mean(gains):+.1%} ± {spread:.1%}, median {statistics.median(gains):+.1%}")
