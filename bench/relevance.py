"""What relevance costs: LRP epsilon-plus-flat on ResNet-18 and VGG-16 shapes, against a bare forward and backward pass."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.capture import spread
from bench.nets import VGG16, ResNet18, scaled
from diorama.methods.method import Look
from diorama.methods.relevance.composites import COMPOSITES
from diorama.methods.relevance.propagation import Propagation
from diorama.methods.relevance.relevance_pass import relevance
from diorama.methods.relevance.rules import RuleSettings
from diorama.model.outputs import Reading
from diorama.model.targets import Target

GOAL = 2.0


def main() -> int:
    """Interleave the two, and print the ratio for each network."""
    rounds = 3 if "--quick" in sys.argv else 9
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, target, passed = torch.randn(1, 3, 224, 224), Target.of(3), True
    for name, model in (("ResNet-18", scaled(ResNet18())), ("VGG-16", scaled(VGG16()))):
        model.requires_grad_(False)
        look = Look(model, x=x, reading=Reading("classification"))

        def bare(model: nn.Module = model) -> Tensor:
            at = x.clone().requires_grad_()
            return torch.autograd.grad(model(at)[:, 3].sum(), at)[0]

        def lrp(look: Look = look) -> Tensor:
            rule = Propagation(COMPOSITES["epsilon_plus_flat"], RuleSettings(), layout=look.layout)
            return relevance(look, x, target, rule)[0][0]

        ratios = []
        for number in range(rounds + 1):
            taken = [_seconds(way) for way in (bare, lrp)]
            if number:
                ratios.append(taken[1] / taken[0])
        passed &= statistics.median(ratios) <= GOAL
        print(f"LRP epsilon-plus-flat, {name}, 1 × 3 × 224 × 224: {spread(ratios)}; goal ≤ {GOAL} ×, CPU time of one thread")
    return int(not passed)


def _seconds(way: Callable[[], Tensor]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


if __name__ == "__main__":
    raise SystemExit(main())
