"""What a synthesis costs: a step against the bare passes, and all units of a layer at once against one after the other."""

from __future__ import annotations

import statistics
import sys
import time
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

import diorama
from bench.capture import spread
from bench.nets import ResNet18, scaled
from diorama.methods.method import Look
from diorama.methods.synthesis import objectives
from diorama.methods.synthesis.engine import Ascent, form
from diorama.methods.synthesis.objectives import Objective
from diorama.methods.synthesis.priors import Priors
from diorama.methods.synthesis.stage import MadeInput

STEP, DIGITS, RESNET = 1.05, 5.0, 1.2
LOOKS = 1e9
"""Seconds between looks: nothing is shown while it is measured."""


def digits() -> nn.Module:
    """A network of the shape that the demo of handwritten digits trains."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 1
    for k, (units, kernel) in enumerate(((8, 5), (16, 3), (24, 3)), 1):
        layers |= {f"conv{k}": nn.Conv2d(inputs, units, kernel, padding=kernel // 2), f"relu{k}": nn.ReLU()}
        layers[f"pool{k}"], inputs = nn.MaxPool2d(2), units
    layers |= {"flatten": nn.Flatten(), "hidden": nn.Linear(216, 48), "relu4": nn.ReLU(), "out": nn.Linear(48, 10)}
    return scaled(nn.Sequential(layers))


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes on the processor."""
    began = time.process_time()
    run()
    return time.process_time() - began


def staged(model: nn.Module, x: Tensor) -> MadeInput:
    """A stage whose layers and outputs are known, as in the page."""
    kind = diorama.Image(range=(0.0, 1.0))
    stage = MadeInput.of(Look(model, x=x[:2], kind=kind), kind, x, x[:1])
    assert len(stage.look.layers)
    return stage


def made(stage: MadeInput, objective: Objective, count: int, steps: int) -> None:
    """A synthesis as the page asks for it."""
    plain = Ascent(steps, 1.5, priors=Priors(total_variation=0.15, gaussian=0.1), first=LOOKS, every=LOOKS)
    ascent = stage.suited(plain, jitter=None, scale=0.1, rotate=8.0, crop=0.1)
    canvas = stage.canvas(count, torch.Generator().manual_seed(0))
    for _ in form(stage.look, canvas, objective, ascent, torch.Generator().manual_seed(1)):
        pass


def against_bare(name: str, stage: MadeInput, x: Tensor, rounds: int, steps: int, goal: float | None) -> bool:
    """A step with transforms and priors, against one forward pass and one backward pass to the input."""
    model = stage.look.model

    def bare() -> None:
        for _ in range(steps):
            leaf = x[:1].clone().requires_grad_()
            torch.autograd.grad(model(leaf)[:, 3].sum(), leaf)

    ratios = []
    for number in range(rounds + 1):
        base = timed(bare)
        ratio = timed(lambda: made(stage, objectives.class_(3), 1, steps)) / base
        if number:
            ratios.append(ratio)
    said = "no goal: its passes are shorter than what is done about them" if goal is None else f"goal ≤ {goal} ×"
    print(f"{name}, a step against the bare passes: {spread(ratios)}; {said}, CPU time of one thread", flush=True)
    return goal is None or statistics.median(ratios) <= goal


def against_one_by_one(name: str, stage: MadeInput, layer: str, units: int, rounds: int, steps: int, goal: float) -> bool:
    """All units of a layer in batches as the page makes them, against each alone."""
    waves = [range(units)[k : k + stage.together] for k in range(0, units, stage.together)]
    ratios = []
    for number in range(rounds + 1):
        # Before and after, so that a machine that grows slower by the way counts on neither side.
        before = timed(lambda: [made(stage, objectives.unit(layer, k), 1, steps) for k in range(units)])
        whole = timed(lambda: [made(stage, objectives.units(layer, wave), len(wave), steps) for wave in waves])
        after = timed(lambda: [made(stage, objectives.unit(layer, k), 1, steps) for k in range(units)])
        if number:
            ratios.append((before + after) / 2 / whole)
    print(f"{name}, {units} units of {layer} at once: {spread(ratios)} as fast; goal ≥ {goal} ×, CPU time of one thread", flush=True)
    return statistics.median(ratios) >= goal


def main() -> int:
    """Measure both networks."""
    quick = "--quick" in sys.argv
    # With more threads, those that wait for the others spin, and would be counted.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small, large = torch.rand(32, 1, 24, 24), torch.rand(16, 3, 224, 224)
    few, resnet = staged(digits(), small), staged(scaled(ResNet18()), large)
    rounds = 3 if quick else 7
    passed = [
        against_bare("ResNet-18", resnet, large, rounds, 12, STEP),
        against_bare("digits net", few, small, rounds, 40, None),
        against_one_by_one("digits net", few, "conv3", 24, rounds, 40, DIGITS),
        against_one_by_one("ResNet-18", resnet, "layer4.0.conv1", 10 if quick else 20, 3 if quick else 5, 2, RESNET),
    ]
    return int(not all(passed))


if __name__ == "__main__":
    raise SystemExit(main())
