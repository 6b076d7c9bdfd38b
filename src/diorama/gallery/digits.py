"""Handwritten digits: a convolutional network or a plain one."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ..data.nesting import first
from ._demo import Demo

SIDE = 24
"""The digits' side after enlarging, in pixels."""
_LARGEST = 64


class DigitsDemo(Demo):
    """A small network learns to read 1,437 handwritten digits; 360 others, which it never trains on, show how well."""

    title: ClassVar[str] = "Handwritten digits"
    question: ClassVar[str] = "What does a convolutional network look for in a handwritten digit?"

    model: str = knob("cnn", "A convolutional network, or a plain one whose first weights are pictures.",
                      choices=("cnn", "mlp"), main=True)
    shift: int = knob(2, "Training digits are moved at random by up to so many pixels.", low=0, high=6, unit="px")
    steps: int = knob(6000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float | None = knob(  # type: ignore[assignment]
        None, "How far each step goes along the gradient; left out: what suits the model.", kind="number", low=0.0,
        log=True, main=True,
    )

    def examples(self) -> Examples:
        """Scikit-learn's digits, enlarged smoothly from 8 × 8 to 24 × 24 pixels."""
        found = load_digits()
        small = torch.from_numpy(found.images.astype(np.float32) / 16)[:, None]
        # A margin of one pixel, so that the random shifts push no ink out of the frame.
        small = functional.pad(small, (1, 1, 1, 1))
        x = functional.interpolate(small, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
        kind = kinds.Image(
            range=(0.0, 1.0),
            sentence=f"Handwritten digits of 8 × 8 pixels, with a margin, enlarged smoothly to {SIDE} × {SIDE}.",
        )
        return Examples.of(x, found.target, [str(k) for k in range(10)], inputs=kind)

    def accept(self, examples: Examples) -> Examples:
        """Images of any size, layout and range, as numbers from 0 to 1; large ones are made smaller."""
        held_out = examples.held_out
        own = _zero_to_one(examples)
        return dataclasses.replace(own, held_out=None if held_out is None else _zero_to_one(held_out, own.kind))

    def network(self, examples: Examples) -> nn.Module:
        """Three convolutions and a hidden layer, or one hidden layer alone."""
        channels, height, width = first(examples.x).shape[1:]
        classes = len(examples.classes)
        make = _cnn if self.model == "cnn" else _mlp
        return make(channels, height, width, classes)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam for the convolutional network; plain gradient descent for the other, whose weights are then sums of
        digits."""
        if self.model == "mlp":
            return torch.optim.SGD(model.parameters(), 0.05 if self.learning_rate is None else self.learning_rate)
        return torch.optim.Adam(model.parameters(), 0.002 if self.learning_rate is None else self.learning_rate)

    def augment(self, x: Any, generator: torch.Generator) -> Any:
        """Each digit moved by a random number of pixels; what leaves the frame is lost, what enters is ground."""
        if not self.shift:
            return x
        return moved(x, torch.randint(-self.shift, self.shift + 1, (2, len(x)), generator=generator), self.shift)


def moved(x: Tensor, by: Tensor, most: int) -> Tensor:
    """Images (n, channels, height, width) moved down and right by whole pixels ``by`` (2, n); the border is
    repeated."""
    height, width = x.shape[2:]
    padded = functional.pad(x, (most,) * 4, mode="replicate")
    rows = torch.arange(height)[None] + most - by[0][:, None]
    columns = torch.arange(width)[None] + most - by[1][:, None]
    index = torch.arange(len(x))[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _cnn(channels: int, height: int, width: int, classes: int) -> nn.Module:
    layers: list[tuple[str, nn.Module]] = []
    wide = channels
    for k, (units, kernel) in enumerate(((8, 5), (16, 3), (24, 3)), 1):
        layers += [(f"conv{k}", nn.Conv2d(wide, units, kernel, padding=kernel // 2)), (f"relu{k}", nn.ReLU())]
        if min(height, width) >= 2:
            layers.append((f"pool{k}", nn.MaxPool2d(2)))
            height, width = height // 2, width // 2
        wide = units
    layers += [("flatten", nn.Flatten()), ("hidden", nn.Linear(wide * height * width, 48)), ("relu4", nn.ReLU())]
    return nn.Sequential(OrderedDict([*layers, ("out", nn.Linear(48, classes))]))


def _mlp(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """First weights near zero: what appears in their pictures was learned."""
    hidden = nn.Linear(channels * height * width, 32)
    nn.init.normal_(hidden.weight, std=0.002)
    # With this bias every neuron is awake at the start: none can be dead before it has seen a digit.
    nn.init.constant_(hidden.bias, 0.3)
    return nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), hidden=hidden, relu=nn.ReLU(), out=nn.Linear(hidden.out_features, classes))
    )


def _zero_to_one(examples: Examples, like: kinds.Kinds | None = None) -> Examples:
    kind = examples.kind if like is None else like
    if not isinstance(examples.kind, kinds.Image) or not isinstance(examples.x, Tensor):
        raise NotApplicable(
            "this demo reads images; for a table use the demos moons or regression, for a text the demo text"
        )
    if examples.y is None or examples.y.is_floating_point() or examples.y.ndim != 1:
        raise NotApplicable("this demo tells classes apart: y wants one class index an image")
    mean, std = examples.kind.normal()
    low, high = examples.kind.span()
    planes = torch.from_numpy((examples.kind.planes(examples.x) * std + mean - low) / (high - low)).clamp(0, 1)
    size = [int(side) for side in planes.shape[2:]]
    if max(size) > _LARGEST:
        scale = _LARGEST / max(size)
        size = [max(1, round(side * scale)) for side in size]
        planes = functional.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    kind = kinds.Image(range=(0.0, 1.0)) if like is None else like
    return Examples.of(planes, examples.y, examples.classes, inputs=kind)
