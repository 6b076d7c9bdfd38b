"""The picture of clusters of a ResNet-20 over 1,500 pictures, from a scene that has seen none of them: beside the bare passes, and shown again.
Then of 1,002 dense layers in residual blocks, each of which reads all before it: the first picture and the last.

``python -m bench.clusters``: three seconds are the limit on two cores that are free. One thread is asked to keep it by its processor time,
in which other work on the machine does not count.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from bench.nets import scaled
from diorama.core.picture import Picture
from diorama.scene import Scene

COUNT, LIMIT = 1500, 3.0
BATCH = 64


class _Block(nn.Module):
    """Two convolutions and a way round them, subsampled and padded with zeros where the widths change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.more = (1, 0) if inputs == outputs else (2, outputs - inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2)))


class ResNet20(nn.Module):
    """ResNet-20 for pictures of 32 × 32 (He et al. 2015, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for k in range(1, 4):
            blocks = (_Block(widths[k - 1], widths[k]), _Block(widths[k], widths[k]), _Block(widths[k], widths[k]))
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of ten classes."""
        x = F.relu(self.bn1(self.conv1(x)))
        for k in range(1, 4):
            x = getattr(self, f"layer{k}")(x)
        found: Tensor = self.linear(x.mean((2, 3)))
        return found


class _Step(nn.Module):
    """Two dense layers and a way round them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return x + 0.1 * self.two(F.relu(self.one(x)))


def deep(layers: int = 1000, width: int = 32) -> nn.Module:
    """So many dense layers in residual blocks, between two others."""
    return nn.Sequential(nn.Linear(20, width), *(_Step(width) for _ in range(layers // 2)), nn.Linear(width, 4))


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def last(scene: Scene, **knobs: float) -> Picture:
    """The last picture of the view."""
    picture: Picture = scene.view("clusters", **knobs)
    return picture


def main() -> int:
    """Print seconds and ratios; 1 where a free machine would not keep the limit."""
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    rounds = 1 if "--quick" in sys.argv else 5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, y = scaled(ResNet20()), torch.arange(COUNT) % 10
        x = torch.randn(10, 3, 32, 32)[y] + torch.randn(COUNT, 3, 32, 32)

    def bare() -> None:
        with torch.no_grad():
            for start in range(0, COUNT, BATCH):
                model(x[start : start + BATCH])

    found: dict[str, list[tuple[float, float]]] = {"bare passes": [], "the picture": [], "again, fewer lines": []}
    bare()
    for _ in range(rounds):
        scene = Scene(model, x, y)
        found["bare passes"].append(taken(bare))
        found["the picture"].append(taken(lambda scene=scene: last(scene)))  # type: ignore[misc]
        found["again, fewer lines"].append(taken(lambda scene=scene: last(scene, threshold=0.5)))  # type: ignore[misc]
    middle = {name: [statistics.median(part) for part in zip(*times, strict=True)] for name, times in found.items()}
    base = middle["bare passes"][1]
    print(f"{COUNT:,} pictures, ResNet-20, one thread, medians of {rounds}")
    for name, (wall, processor) in middle.items():
        print(f"{name:>20}: {wall:6.2f} s, {processor:6.2f} s of the processor, {processor / base:5.2f} × the bare passes")
    # What one core does in that time stands within it where nothing else runs.
    kept = min(middle["the picture"]) <= LIMIT
    print(f"limit {LIMIT:g} s: {'kept' if kept else 'not kept'}")
    thousand()
    return int(not kept)


def thousand() -> None:
    """Print what the first and the last picture of a thousand layers take, beside a bare pass."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, y = deep(), torch.arange(400) % 4
        x = torch.randn(4, 20)[y] + torch.randn(400, 20)
    with torch.no_grad():
        base = taken(lambda: model(x))[1]
    pictures = Scene(model, x, y).stream("clusters")
    first = taken(lambda: next(pictures))
    rest = taken(lambda: list(pictures))
    print("1,002 layers, 400 examples")
    for name, (wall, processor) in {"first clusters": first, "all lines": (first[0] + rest[0], first[1] + rest[1])}.items():
        print(f"{name:>20}: {wall:6.2f} s, {processor:6.2f} s of the processor, {processor / base:5.0f} × the bare pass")


if __name__ == "__main__":
    raise SystemExit(main())
