"""Handwritten digits again, by a vision transformer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data.examples import Examples
from ..data.nesting import first
from ._blocks import SelfAttention, TransformerBlock, dividing
from ._demo import Demo
from .digits import DigitsDemo


class VitDemo(Demo):
    """A small vision transformer learns to read handwritten digits, which it sees as a row of patches."""

    title: ClassVar[str] = "Digits by attention"
    question: ClassVar[str] = "Which part of a picture does each head of a vision transformer look at?"

    width: int = knob(48, "Numbers that stand for each patch.", low=8, high=512, main=True)
    heads: int = knob(4, "Heads of each attention.", low=1, high=16, main=True)
    layers: int = knob(3, "Blocks, one reading the other.", low=1, high=12, main=True)
    patch: int = knob(4, "Side of a patch, in pixels; the next smaller one by which the pictures can be divided.", low=1, high=32, unit="px")
    shift: int = knob(2, "Training digits are moved at random by up to so many pixels.", low=0, high=6, unit="px")
    steps: int = knob(4000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.004, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """The digits of the demo `digits`."""
        return DigitsDemo(seed=self.seed).examples()

    def accept(self, examples: Examples) -> Examples:
        """Images with classes, as the demo `digits` takes them."""
        return DigitsDemo(seed=self.seed).accept(examples)

    def network(self, examples: Examples) -> nn.Module:
        """Patches with places behind a place of the answer, blocks of attention and a network, a norm, and a score for each class."""
        channels, height, width = first(examples.x).shape[1:]
        side = next(k for k in range(min(self.patch, height, width), 0, -1) if height % k == width % k == 0)
        size = channels, height // side, width // side
        return VisionTransformer(size, side, self.width, dividing(self.width, self.heads), self.layers, len(examples.classes))

    def augment(self, x: Any, generator: torch.Generator) -> Any:
        """Each digit moved by a random number of pixels, as in the demo `digits`."""
        return DigitsDemo(shift=self.shift).augment(x, generator)


class VisionTransformer(nn.Module):
    """Scores for the classes of pictures: (n, channels, height, width) to (n, classes)."""

    def __init__(self, size: tuple[int, int, int], patch: int, width: int, heads: int, layers: int, classes: int) -> None:
        super().__init__()
        channels, rows, columns = size
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.answer = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.1 * torch.randn(1, 1 + rows * columns, width))
        self.block = nn.ModuleList(TransformerBlock(SelfAttention, width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Read all patches at once; the answer is read at a place of its own, before the first patch."""
        seen = self.patches(x).flatten(2).transpose(1, 2)
        state = torch.cat([self.answer.expand(len(x), -1, -1), seen], 1) + self.place
        for block in self.block:
            state = block(state)
        scores: Tensor = self.out(self.norm(state[:, 0]))
        return scores
