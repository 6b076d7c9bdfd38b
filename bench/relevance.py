"""What relevance costs: LRP epsilon-plus-flat on ResNet-18 and VGG-16 shapes, against a bare forward and backward pass."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.capture import spread
from bench.nets import ResNet18
from diorama.methods.method import Looking
from diorama.methods.relevance.composites import COMPOSITES
from diorama.methods.relevance.propagation import Propagation
from diorama.methods.relevance.rules import Settings
from diorama.methods.relevance.tracing import relevance
from diorama.model.outputs import Reading
from diorama.model.targets import Target

GOAL = 2.0
_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def vgg16() -> nn.Module:
    """VGG-16 for 224 × 224 pictures: 138 million weights."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in _WIDTHS:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    head = (nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000))
    return nn.Sequential(*layers, nn.Flatten(), *head)


def main() -> int:
    """Interleave the two, and print the ratio for each network."""
    rounds = 3 if "--quick" in sys.argv else 9
    torch.manual_seed(0)
    x, target, passed = torch.randn(1, 3, 224, 224), Target.of(3), True
    for name, model in (("ResNet-18", ResNet18().eval()), ("VGG-16", vgg16().eval())):
        model.requires_grad_(False)
        look = Looking(model, x=x, reading=Reading("classification"))

        def bare(model: nn.Module = model) -> Tensor:
            at = x.clone().requires_grad_()
            return torch.autograd.grad(model(at)[:, 3].sum(), at)[0]

        def lrp(look: Looking = look) -> Tensor:
            rule = Propagation(COMPOSITES["epsilon_plus_flat"], Settings())
            return relevance(look, x, target, rule)[0][0]

        ratios = []
        for number in range(rounds + 1):
            taken = [_seconds(way) for way in (bare, lrp)]
            if number:
                ratios.append(taken[1] / taken[0])
        passed &= statistics.median(ratios) <= GOAL
        print(f"LRP epsilon-plus-flat, {name}, 1 × 3 × 224 × 224: {spread(ratios)}; goal ≤ {GOAL} ×, CPU time")
    return int(not passed)


def _seconds(way: Callable[[], Tensor]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


if __name__ == "__main__":
    raise SystemExit(main())
