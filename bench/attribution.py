"""What a map costs: attribution methods against one bare forward and backward pass to the input, at 224 × 224."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.capture import spread
from bench.nets import VGG16, ResNet18, scaled
from diorama.core.registry import methods
from diorama.methods.attribute import aim
from diorama.methods.method import Look

STEPS = 32
"""Of integrated gradients: as many as by default."""
GOALS = {
    "gradient": 1.05, "input_x_gradient": 1.05, "guided_backprop": 1.05, "deconvnet": 1.05, "grad_cam": 0.50,
    "grad_cam_plus_plus": 0.50, "layer_cam": 0.50, "integrated_gradients": 0.80,
}


def bare(model: nn.Module, x: Tensor) -> None:
    """One forward pass, and one backward pass to the input."""
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(model(leaf)[:, 3].sum(), leaf)


def ways(model: nn.Module, x: Tensor) -> dict[str, Callable[[], None]]:
    """Each method as it is used on a model whose layers and outputs are known, as in the page."""
    look = Look(model, x=x)
    target = aim(look, x, 3)
    assert len(look.layers)
    assert look.fingerprint

    def way(name: str) -> Callable[[], None]:
        method = methods[name](**({"steps": STEPS} if name == "integrated_gradients" else {}))

        def run() -> None:
            for _ in method.attribute(look, x, target):
                pass

        return run

    return {name: way(name) for name in GOALS}


def main() -> int:
    """Interleave the ways, and print the ratio of each to the bare passes."""
    rounds = 3 if "--quick" in sys.argv else 15
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    passed = True
    x = torch.randn(1, 3, 224, 224)
    for model in (scaled(ResNet18()), scaled(VGG16())):
        taken: dict[str, list[float]] = {name: [] for name in GOALS}
        asked = ways(model, x)
        for number in range(rounds + 1):
            for name, run in asked.items():
                times = []
                for one in (lambda: bare(model, x), run):  # noqa: B023 - called at once
                    began = time.process_time()
                    one()
                    times.append(time.process_time() - began)
                if number:
                    taken[name].append(times[1] / times[0] / (STEPS if name == "integrated_gradients" else 1))
        for name, ratios in taken.items():
            passed &= statistics.median(ratios) <= GOALS[name]
            print(f"{type(model).__name__} {name}: {spread(ratios)}; goal ≤ {GOALS[name]} ×, CPU time of one thread", flush=True)
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
