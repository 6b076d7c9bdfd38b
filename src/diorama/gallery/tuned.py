"""Digits again, by adapters beside frozen weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data.examples import Examples
from ..data.nesting import first
from ..training import measures
from ._demo import Demo
from .digits import DigitsDemo

_BEFORE, _BATCH = 150, 64
"""Steps by which the frozen weights learned, and examples of each."""


class TunedDemo(Demo):
    """A network that learned digits lying on their side is tuned to upright ones: its weights are frozen, and only adapters of low
    rank beside them learn."""

    title: ClassVar[str] = "A tuned network"
    question: ClassVar[str] = "What does tuning change, and which of the adapters does the work?"

    rank: int = knob(4, "Rank of each adapter: what its update can do at once.", low=1, high=64, main=True)
    steps: int = knob(1500, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.005, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """The digits of the demo `digits`."""
        return DigitsDemo(seed=self.seed).examples()

    def accept(self, examples: Examples) -> Examples:
        """Images with classes, as the demo `digits` takes them."""
        return DigitsDemo(seed=self.seed).accept(examples)

    def network(self, examples: Examples) -> nn.Module:
        """Three dense layers, trained on the images turned by a quarter and frozen, each with an adapter."""
        x, y = torch.as_tensor(first(examples.x)), examples.y
        plain = nn.Sequential(OrderedDict(
            flatten=nn.Flatten(), hidden1=nn.Linear(x[0].numel(), 48), relu1=nn.ReLU(), hidden2=nn.Linear(48, 32), relu2=nn.ReLU(),
            out=nn.Linear(32, len(examples.classes)),
        ))
        if y is not None and x.shape[-1] == x.shape[-2]:
            _learned(plain, x.rot90(1, (-2, -1)), y)
        for name, layer in list(plain.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(plain, name, Adapted(layer, self.rank))
        return plain

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam, of the adapters alone."""
        return torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], self.learning_rate)


class Adapted(nn.Module):
    """A dense layer of frozen weights with an update of low rank beside it (Hu et al. 2021, LoRA): (n, in) to (n, out)."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        rank = min(rank, linear.in_features - 1, linear.out_features - 1)
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """What the frozen weights answer, and what the adapter adds."""
        answer: Tensor = self.linear(x)
        return answer + x @ self.down.T @ self.up.T


def _learned(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Train it for a moment, as a network is that somebody else trained before."""
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(_BEFORE):
        chosen = torch.randint(len(x), (_BATCH,))
        optimizer.zero_grad()
        measures.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
