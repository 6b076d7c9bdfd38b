"""Random tokens that are said again and again."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ._blocks import CausalSelfAttention
from ._demo import Demo, next_tokens

VOCABULARY = tuple("abcdefghijklmnopqrstuvwxyz")
LENGTH, SHORTEST, LONGEST = 48, 6, 20
"""Tokens of a sequence, and between which lengths the period lies after which it begins again."""
TEXTS = 8192


class RepeatsDemo(Demo):
    """A transformer of two layers learns to go on with random letters that repeat after a random number of places."""

    title: ClassVar[str] = "Letters that repeat"
    question: ClassVar[str] = "How does a network learn to look up what came after the same letter before?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 128

    width: int = knob(48, "Numbers that stand for each letter.", low=8, high=512, main=True)
    heads: int = knob(2, "Heads of each attention.", low=1, high=16, main=True)
    layers: int = knob(2, "Attentions, one reading the other; with one alone it cannot be learnt.", low=1, high=8)
    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    batch: int = knob(16, "Examples a step learns from.", low=1)
    learning_rate: float = knob(0.006, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Sequences of random letters, each with a period of its own: the first stretch is chance, the rest can be known."""
        generator = np.random.default_rng(0)
        x = np.empty((TEXTS, LENGTH + 1), np.int64)
        for row in x:
            period = int(generator.integers(SHORTEST, LONGEST + 1))
            row[:] = np.resize(generator.integers(0, len(VOCABULARY), period), LENGTH + 1)
        return Examples.of(x[:, :-1], x[:, 1:], VOCABULARY, inputs=kinds.Tokens(VOCABULARY))

    def accept(self, examples: Examples) -> Examples:
        """Any rows of token numbers with the numbers that follow each."""
        return next_tokens(examples, "rows of token numbers (.npz) or a text (.txt); for images use the demo digits")

    def network(self, examples: Examples) -> nn.Module:
        """An embedding with places, attentions with residual sums, a norm, and a score for each letter that may follow."""
        tokens = len(examples.classes) or int(examples.kind.size)  # type: ignore[union-attr]
        heads = self.heads if self.width % self.heads == 0 else 1
        return Repeater(tokens, self.width, heads, self.layers, examples.x.shape[1])  # type: ignore[union-attr]


class Repeater(nn.Module):
    """Scores for the next letter at every place: (n, t) numbers of letters to (n, t, letters), by attention alone."""

    def __init__(self, tokens: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(tokens, width), nn.Embedding(max(length, 512), width)
        self.blocks = nn.ModuleList(CausalAttention(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Read from left to right; each layer adds to what the ones before it wrote."""
        state = self.embed(x) + self.place(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            state = state + block(state)
        scores: Tensor = self.out(self.norm(state))
        return scores


class CausalAttention(CausalSelfAttention):
    """Heads that look at what came before, behind a norm."""
