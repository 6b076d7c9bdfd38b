"""What surgery costs: a tenth more units in a layer of a ResNet-18 beside one of its training steps."""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from bench.nets import ResNet18
from diorama.training.surgery.units import add_units, remove_units


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds of one step of the training."""
    began = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    return time.perf_counter() - began


def main(rounds: int = 5) -> None:
    """Steps and surgery by turns on batch 4 at 224²; seconds of each, and their ratio with its spread."""
    for layer, count in (("layer1.0.conv1", 6), ("layer3.0.conv1", 26), ("layer4.1.conv1", 51)):
        torch.manual_seed(0)
        model = ResNet18().train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        x, y = torch.randn(4, 3, 224, 224), torch.arange(4)
        step(model, optimizer, x, y)
        ratios, steps, acts = [], [], []
        for _ in range(rounds):
            steps.append((step(model, optimizer, x, y) + step(model, optimizer, x, y)) / 2)
            began = time.perf_counter()
            done = add_units(model, x, layer, count, optimizers=[optimizer])
            acts.append(time.perf_counter() - began)
            ratios.append(acts[-1] / steps[-1])
            remove_units(model, x, layer, done.units, optimizers=[optimizer])
        low, _, high = statistics.quantiles(ratios, n=4)
        print(f"{layer} +{count}: a step {statistics.median(steps):.3f} s, surgery {statistics.median(acts):.3f} s, "
              f"ratio {statistics.median(ratios):.2f} (middle half {low:.2f}–{high:.2f})", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else 3 if "--quick" in sys.argv else 5)
