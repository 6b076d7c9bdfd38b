"""Occlusion by exact incremental inference, against the best loop over whole images in batches, channels last, and Captum."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import diorama
from bench.nets import VGG16, ResNet18, scaled
from diorama.model.incremental_inference import IncrementalInference

SIZE, PATCH, BATCH = 224, 16, 64
LOOP = 4
"""Whole images in a batch of the loop: the quickest of 4, 8 and 16."""
EVERY = 4
"""The loop runs on one place in four, as each costs it the same."""
GOAL = 0.85
LARGE = 104
"""Side of the windows at which Captum is measured: few of them cover the image, and each costs it the same as a small one."""


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


def measure(name: str, model: nn.Module, rounds: int, count: int) -> bool:
    """Print the ratio of the loop's time to the engine's, and its share of the bound by counted operations."""
    tops, lefts = places(count)
    x = torch.randn(1, 3, SIZE, SIZE)
    values = torch.zeros(len(tops), 3, PATCH, PATCH)
    last = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = IncrementalInference(last, x)
    scores: dict[str, list[Tensor]] = {}

    def fast() -> None:
        scores["fast"] = [
            scores for _, scores in engine.batches(lambda part: values[part.start : part.stop], tops, lefts, BATCH)
        ]

    def whole() -> None:
        found = []
        with torch.inference_mode():
            for start in range(0, len(tops), LOOP * EVERY):
                part = range(start, len(tops), EVERY)[:LOOP]
                batch = x.repeat(len(part), 1, 1, 1).contiguous(memory_format=torch.channels_last)
                for row, k in enumerate(part):
                    batch[row, :, tops[k] : tops[k] + PATCH, lefts[k] : lefts[k] + PATCH] = 0
                found.append(last(batch))
        scores["whole"] = found

    fast()
    engine.operations = engine.operations_in_full = 0
    ratios = []
    for _ in range(rounds):
        slow = timed(whole) * EVERY
        ratios.append(slow / timed(fast))
    bound = engine.operations_in_full / engine.operations
    # The loop knows nothing of the engine: it runs the module itself on whole images.
    a, b = torch.cat(scores["fast"])[::EVERY], torch.cat(scores["whole"])
    moved = (b - last(x).detach()).abs().amax(1)
    gap, ratio = float((a - b).abs().max()), statistics.median(ratios)
    print(
        f"{name}: {ratio:.2f} × as fast ({min(ratios):.2f}–{max(ratios):.2f}), {ratio / bound:.2f} of the bound by counted "
        f"operations ({bound:.2f} ×); goal ≥ {GOAL}; largest difference {gap:.1e} at scores up to {float(b.abs().max()):.1f} "
        f"that a patch moves by {float(moved.min()):.1e} to {float(moved.max()):.1e}, goal ≤ 1e-5 of them; "
        f"{len(tops)} places of {PATCH} × {PATCH}, CPU time of one thread",
        flush=True,
    )
    return ratio / bound >= GOAL and gap <= 1e-5 * max(1.0, float(b.abs().max()))


def against_captum(name: str, model: nn.Module) -> bool:
    """Print how much longer Captum's occlusion takes for one window, and how far the two maps are apart."""
    from captum.attr import Occlusion

    x = torch.randn(1, 3, SIZE, SIZE)
    found: list[Tensor] = []

    def captum() -> None:
        window, steps = (3, LARGE, LARGE), (3, LARGE // 2, LARGE // 2)
        found.append(Occlusion(model).attribute(x, window, strides=steps, target=3))

    def ours(size: int, stride: int) -> None:
        found.append(diorama.attribute(model, x, 3, method="occlusion", size=size, stride=stride).values)

    few, many = (math.ceil((SIZE - size) / step) + 1 for size, step in ((LARGE, LARGE // 2), (PATCH, PATCH)))
    theirs = timed(captum) / few**2
    ours(LARGE, LARGE // 2)
    swept = timed(lambda: ours(PATCH, PATCH)) / many**2
    gap = float((found[0] - found[1]).abs().max() / found[0].abs().max())
    print(
        f"{name}: {theirs / swept:.2f} × as fast as Captum's occlusion with its defaults, a window ({many**2} windows of {PATCH} × "
        f"{PATCH} against {few**2} of {LARGE} × {LARGE}, for Captum costs each the same); maps of the larger ones differ by "
        f"{gap:.1e} of the largest value; goal ≥ 8; CPU time",
        flush=True,
    )
    return theirs / swept >= 8


def main() -> int:
    """Measure both networks."""
    rounds, count = (1, 64) if "--quick" in sys.argv else (3, 64)
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = {"ResNet-18": scaled(ResNet18()), "VGG-16": scaled(VGG16())}
    passed = [against_captum("VGG-16", networks["VGG-16"])]
    passed += [measure(name, model, rounds, count) for name, model in networks.items()]
    return int(not all(passed))


if __name__ == "__main__":
    raise SystemExit(main())
