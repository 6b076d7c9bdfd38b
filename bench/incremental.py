"""Occlusion by exact incremental inference, against the best loop over whole images in batches, channels last."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.nets import ResNet18
from diorama.model.incremental import Incremental

SIZE, PATCH, BATCH = 224, 16, 16
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def vgg16() -> nn.Sequential:
    """VGG-16 for 224 × 224 pictures, as in its paper: a pooling where the width is 0."""
    parts: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        if not width:
            parts.append(nn.MaxPool2d(2))
            continue
        parts += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        channels = width
    head = [nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*parts, nn.Flatten(), *head)


def places(count: int) -> tuple[list[int], list[int]]:
    """Places spread evenly over the image, on a grid of four pixels as a sweep has them."""
    side = round(count**0.5)
    steps = [round(k * (SIZE - PATCH) / (side - 1) / 4) * 4 for k in range(side)]
    return [top for top in steps for _ in steps], steps * side


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes on the processor."""
    began = time.process_time()
    run()
    return time.process_time() - began


def measure(name: str, model: nn.Module, rounds: int, count: int) -> None:
    """Print the ratio of the loop's time to the engine's, and its share of the bound by counted operations."""
    tops, lefts = places(count)
    x = torch.randn(1, 3, SIZE, SIZE)
    values = torch.zeros(len(tops), 3, PATCH, PATCH)
    last = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = Incremental(last, x)
    scores: dict[str, list[Tensor]] = {}

    def fast() -> None:
        scores["fast"] = [
            scores for _, scores in engine.batches(lambda part: values[part.start : part.stop], tops, lefts, BATCH)
        ]

    def whole() -> None:
        found = []
        with torch.inference_mode():
            for start in range(0, len(tops), BATCH):
                part = range(start, min(start + BATCH, len(tops)))
                batch = x.repeat(len(part), 1, 1, 1).contiguous(memory_format=torch.channels_last)
                for k in part:
                    batch[k - start, :, tops[k] : tops[k] + PATCH, lefts[k] : lefts[k] + PATCH] = 0
                found.append(last(batch))
        scores["whole"] = found

    fast()
    engine.operations = engine.operations_in_full = 0
    ratios = []
    for _ in range(rounds):
        slow = timed(whole)
        ratios.append(slow / timed(fast))
    bound = engine.operations_in_full / engine.operations
    a, b = torch.cat(scores["fast"]), torch.cat(scores["whole"])
    ratio = statistics.median(ratios)
    print(
        f"{name}: {ratio:.2f} × as fast ({min(ratios):.2f}–{max(ratios):.2f}), {ratio / bound:.2f} of the bound by counted "
        f"operations ({bound:.2f} ×); goal ≥ 0.85; largest difference {float((a - b).abs().max()):.1e} "
        f"at scores of {float(b.abs().max()):.1e}; {len(tops)} places of {PATCH} × {PATCH}, CPU time",
        flush=True,
    )


def main() -> int:
    """Measure both networks."""
    rounds, count = (1, 16) if "--quick" in sys.argv else (3, 36)
    torch.manual_seed(0)
    for name, model in (("ResNet-18", ResNet18()), ("VGG-16", vgg16())):
        measure(name, model.eval(), rounds, count)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
