"""Two half moons in the plane."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ._demo import Demo


class MoonsDemo(Demo):
    """A small network learns to tell two interlocking half moons apart: its boundary can be watched bending into
    shape."""

    title: ClassVar[str] = "Two moons"
    question: ClassVar[str] = "How does a network bend a boundary round its data?"

    hidden: int = knob(16, "Units in each of the two hidden layers.", low=1, high=256, main=True)
    noise: float = knob(0.18, "How far points stray from their moon.", low=0.0, high=1.0)
    points: int = knob(600, "Points in all; a fifth is held out.", low=10, high=20_000)
    steps: int = knob(4000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.003, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Points on two half circles, with noise."""
        generator = np.random.default_rng([self.seed, 2])
        y = np.arange(self.points) % 2
        angle = generator.uniform(0, np.pi, self.points)
        across = np.where(y == 0, np.cos(angle), 1 - np.cos(angle))
        up = np.where(y == 0, np.sin(angle), 0.5 - np.sin(angle))
        x = np.stack([across, up], 1) + generator.normal(0, self.noise, (self.points, 2))
        kind = kinds.Table(columns=("across", "up"))
        return Examples.of(x.astype(np.float32), y, ["upper moon", "lower moon"], inputs=kind)

    def accept(self, examples: Examples) -> Examples:
        """Any table with classes; the boundary is drawn for tables of two columns."""
        if not isinstance(examples.kind, kinds.Table) or examples.x.ndim != 2:  # type: ignore[union-attr]
            raise NotApplicable(
                "this demo reads tables (.csv, or .npz with rows of numbers); for images use the demo digits"
            )
        if examples.y is None or examples.y.is_floating_point():
            raise NotApplicable("this demo tells classes apart; to predict numbers use the demo regression")
        return examples

    def network(self, examples: Examples) -> nn.Module:
        """Two hidden layers of tanh units."""
        columns = examples.x.shape[1]  # type: ignore[union-attr]
        return nn.Sequential(OrderedDict(
            hidden1=nn.Linear(columns, self.hidden), tanh1=nn.Tanh(), hidden2=nn.Linear(self.hidden, self.hidden),
            tanh2=nn.Tanh(), out=nn.Linear(self.hidden, len(examples.classes)),
        ))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(model.parameters(), self.learning_rate)
