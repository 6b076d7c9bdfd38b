"""What a scan of a data set costs: a ResNet-18 with statistics of every unit, against the bare passes; and a tiny net."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.capture import spread
from bench.nets import ResNet18
from diorama.model.layers import layers
from diorama.model.scan import Batch, Scan, scan

WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "moments, class means, top 9": ({"classes": 10}, 1.3),
    "moments, class means, top 9 and lowest 9": ({"classes": 10, "bottom": True}, 1.35),
    "moments, class means, top 9, histograms of 32 places an example": ({"classes": 10, "histogram": True}, 1.5),
}


def measured(model: nn.Module, data: list[Batch], rounds: int, table: Any) -> dict[str, list[float]]:
    """The ratios of each way to the bare passes, interleaved, after one round that is not counted."""

    def bare() -> None:
        with torch.no_grad():
            for x, _ in data:
                model(x)

    def way(options: dict[str, Any]) -> Callable[[], object]:
        return lambda: scan(model, data, table=table, **options)

    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, (options, _) in WAYS.items():
            times = []
            for run in (bare, way(options)):
                began = time.process_time()
                run()
                times.append(time.process_time() - began)
            if number:
                taken[name].append(times[1] / times[0])
    return taken


def tiny() -> tuple[nn.Module, Tensor]:
    """A network as small as the one on digits."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 10),
    )
    return model.eval(), torch.randn(64, 1, 28, 28)


def alive() -> int:
    """Bytes of all tensors that the process holds."""
    gc.collect()
    tensors = [part for part in gc.get_objects() if type(part) in (Tensor, nn.Parameter)]
    return sum({part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in tensors}.values())


def size_of(found: Scan) -> int:
    """Bytes of all statistics of a scan."""
    pieces = [piece for part in found.layers.values() for piece in vars(part).values()]
    inside = [value for piece in pieces if dataclasses.is_dataclass(piece) for value in vars(piece).values()]
    return sum(array.nbytes for array in (*pieces, *inside) if isinstance(array, np.ndarray))


def main() -> int:
    """Print the ratio of each way to the bare passes, what a tiny network pays, and how memory grows."""
    rounds = 3 if "--quick" in sys.argv else 9
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNet18().eval()
    x, y = torch.randn(32, 3, 224, 224), torch.randint(0, 10, (32,))
    data: list[Batch] = [(x.roll(k, 3) * (1 - 0.01 * k), y) for k in range(2)]
    passed = True
    table = layers(model, x)
    for name, ratios in measured(model, data, rounds, table).items():
        limit = WAYS[name][1]
        passed &= statistics.median(ratios) <= limit
        print(f"{name}: {spread(ratios)}; goal ≤ {limit} ×, CPU time of one thread, ResNet-18, {len(data)} batches of 32 × 3 × 224 × 224")
    small, pictures = tiny()
    many: list[Batch] = [(pictures, torch.randint(0, 10, (64,))) for _ in range(20)]
    for name, ratios in measured(small, many, rounds, layers(small, pictures)).items():
        print(f"a tiny network, {name}: {spread(ratios)}; no goal, 20 batches of 64 × 1 × 28 × 28")
    held: list[int] = []
    scan(
        model, data * 8, classes=10, bottom=True, histogram=True, table=table,
        progress=lambda found: held.append(alive() + size_of(found)),
    )
    passed &= held[-1] == held[1]
    print(f"held after 2 and after 16 batches: {held[1] / 1e6:.1f} and {held[-1] / 1e6:.1f} MB of tensors and statistics; goal the same")
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
