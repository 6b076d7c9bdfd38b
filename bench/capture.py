"""What looking costs: a ResNet-18's forward pass with all its activations read, against the bare pass."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.nets import ResNet18
from diorama.model.capture import Capture
from diorama.model.layers import layers
from diorama.model.scan import scan

LIMITS = {"means a unit": 1.05, "moments, class means, top 9": 1.3}


def spread(ratios: list[float]) -> str:
    """Median of ratios with the middle half."""
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{statistics.median(ratios):.3f} × (middle half {low:.3f}–{high:.3f})"


def main() -> int:
    """Interleave the ways, and print the ratio of each to the bare pass."""
    rounds = 3 if "--quick" in sys.argv else 15
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNet18().eval()
    x, y = torch.randn(32, 3, 224, 224), torch.randint(0, 10, (32,))
    table = layers(model, x)
    data: list[tuple[Tensor, Tensor | None]] = [(x.roll(k, 3) * (1 - 0.01 * k), y) for k in range(2)]

    def bare() -> None:
        with torch.no_grad():
            for part, _ in data:
                model(part)

    def means() -> None:
        def mean(name: str, tensor: Tensor) -> Tensor:
            return tensor.mean((2, 3)) if tensor.ndim == 4 else tensor.clone()

        with Capture(model, "all", reduce=mean) as look:
            for part, _ in data:
                look(part)

    def everything() -> None:
        scan(model, data, classes=10, table=table)

    ways: dict[str, Callable[[], None]] = {"means a unit": means, "moments, class means, top 9": everything}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            times = []
            for run in (bare, way):
                began = time.process_time()
                run()
                times.append(time.process_time() - began)
            if number:
                taken[name].append(times[1] / times[0])
    passed = True
    for name, ratios in taken.items():
        passed &= statistics.median(ratios) <= LIMITS[name]
        print(f"{name}: {spread(ratios)}; goal ≤ {LIMITS[name]} ×, CPU time of one thread, ResNet-18, 2 batches of 32 × 3 × 224 × 224")
    # Once first, as the allocator keeps some memory of its own.
    scan(model, data * 2, classes=10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scan(model, data * 8, classes=10)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory grows by {(after - before) / 1024:.1f} MB when four times as many examples are scanned; goal 0")
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
