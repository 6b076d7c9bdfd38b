"""Characters of Python source again, by a transformer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data.examples import Examples
from ._blocks import CausalSelfAttention, TransformerBlock, dividing
from ._demo import Demo
from .text import TextDemo


class GptDemo(Demo):
    """A small GPT learns to write Python, one character after the other, from the source of Python's own standard library."""

    title: ClassVar[str] = "A small GPT on Python source"
    question: ClassVar[str] = "At which layer does a transformer make up its mind, and which head looks where?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 256

    width: int = knob(64, "Numbers that stand for each character.", low=8, high=512, main=True)
    heads: int = knob(4, "Heads of each attention.", low=1, high=16, main=True)
    layers: int = knob(3, "Blocks, one reading the other.", low=1, high=12, main=True)
    steps: int = knob(4000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.005, "How far each step goes along the gradient.", low=0.0, log=True, main=True)
    batch: int = knob(16, "Examples a step learns from.", low=1)

    def examples(self) -> Examples:
        """The windows of source of the demo `text`."""
        return TextDemo(seed=self.seed).examples()

    def accept(self, examples: Examples) -> Examples:
        """Any text, or rows of token numbers with the numbers that follow each."""
        return TextDemo(seed=self.seed).accept(examples)

    def network(self, examples: Examples) -> nn.Module:
        """An embedding with places, blocks of attention and a network, a norm, and a score for each character that may follow."""
        tokens = len(examples.classes) or int(examples.kind.size)  # type: ignore[union-attr]
        return Transformer(tokens, self.width, dividing(self.width, self.heads), self.layers, examples.x.shape[1])  # type: ignore[union-attr]


class Transformer(nn.Module):
    """Scores for the next character at every place of a text: (n, t) numbers of characters to (n, t, characters)."""

    def __init__(self, tokens: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(tokens, width), nn.Embedding(max(length, 512), width)
        self.block = nn.ModuleList(TransformerBlock(CausalSelfAttention, width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, tokens)
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Read from left to right; each block adds to what the ones before it wrote."""
        state = self.embed(x) + self.place(torch.arange(x.shape[1], device=x.device))
        for block in self.block:
            state = block(state)
        scores: Tensor = self.out(self.norm(state))
        return scores
