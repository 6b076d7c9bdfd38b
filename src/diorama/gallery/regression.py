"""Numbers predicted from a table's rows."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ..training import measures
from ._demo import Demo

_NAMES = {"bp": "blood pressure", "bmi": "body mass index", "s1": "total cholesterol", "s2": "LDL", "s3": "HDL",
          "s4": "cholesterol ratio", "s5": "log triglycerides", "s6": "blood sugar"}


class RegressionDemo(Demo):
    """A small network learns to predict a number from a row of a table: the course of diabetes, or the height of a made
    surface."""

    title: ClassVar[str] = "Predicting a number"
    question: ClassVar[str] = "How does a network that predicts numbers learn, and where does it overfit?"
    task: ClassVar[str] = "regression"

    table: str = knob("diabetes", "Patients (ten columns), or a made surface over a plane (two columns).",
                      choices=("diabetes", "waves"), main=True)
    hidden: int = knob(24, "Units in each of the two hidden layers.", low=1, high=256, main=True)
    steps: int = knob(4000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.003, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """The table of the knob ``table``."""
        return _diabetes() if self.table == "diabetes" else _waves(np.random.default_rng([self.seed, 2]))

    def accept(self, examples: Examples) -> Examples:
        """Any table with a number to predict."""
        if not isinstance(examples.kind, kinds.Table) or examples.x.ndim != 2:  # type: ignore[union-attr]
            raise NotApplicable(
                "this demo reads tables (.csv, or .npz with rows of numbers); for images use the demo digits"
            )
        return _as_values(examples)

    def network(self, examples: Examples) -> nn.Module:
        """Two hidden layers, and a last one that begins at the mean and the spread of what is to be predicted."""
        columns = examples.x.shape[1]  # type: ignore[union-attr]
        y = examples.y.float()  # type: ignore[union-attr]
        return nn.Sequential(OrderedDict(
            hidden1=nn.Linear(columns, self.hidden), relu1=nn.ReLU(), hidden2=nn.Linear(self.hidden, self.hidden),
            relu2=nn.ReLU(), out=nn.Linear(self.hidden, 1), units=Units(float(y.mean()), float(y.std()) or 1.0),
        ))

    def trainer(self, model: nn.Module, examples: Examples) -> Any:
        """The plain loop; the loss is counted in standard deviations of what is predicted, so that any table trains
        alike."""
        units: Units = model.units  # type: ignore[assignment]
        made = super().trainer(model, examples)
        scale = float(units.scale) ** 2
        made.loss = lambda output, y: measures.squared_error(output, y) / scale
        return made

    def criterion(self, model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
        """The probe set's loss is counted as the training's, so that the two curves can be compared."""
        return Standard(float(model.units.scale))  # type: ignore[arg-type, union-attr]

    def metrics(self) -> dict[str, Callable[[Any, Tensor], float]]:
        """The mean error in the units of the table."""
        return {"error": measures.absolute_error}


@dataclasses.dataclass(frozen=True)
class Standard:
    """The squared error of each example, counted in standard deviations of what is predicted."""

    scale: float

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """One loss an example."""
        return ((output.reshape(len(y), -1) - y.reshape(len(y), -1)) / self.scale).square().mean(1)


class Units(nn.Module):
    """The last step of a regression: from standard deviations to the units of the table."""

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: float, scale: float) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(offset))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Values (n, 1) in the units of the table."""
        return x * self.scale + self.offset


def _diabetes() -> Examples:
    found = load_diabetes(scaled=False)
    mean, std = found.data.mean(0), found.data.std(0)
    names = tuple(_NAMES.get(name, name) for name in found.feature_names)
    kind = kinds.Table(
        columns=names, mean=tuple(mean.tolist()), std=tuple(std.tolist()),
        sentence="442 patients; the number to predict tells how far diabetes went on within a year (25 to 346).",
    )
    return Examples.of(((found.data - mean) / std).astype(np.float32), found.target.astype(np.float32), inputs=kind)


def _waves(generator: np.random.Generator, count: int = 800) -> Examples:
    x = generator.uniform(-2, 2, (count, 2))
    y = np.sin(1.6 * x[:, 0]) * np.cos(1.6 * x[:, 1]) + 0.3 * x[:, 0] + generator.normal(0, 0.05, count)
    kind = kinds.Table(
        columns=("east", "north"), sentence="A made surface: its height is to be predicted from a place."
    )
    return Examples.of(x.astype(np.float32), y.astype(np.float32), inputs=kind)


def _as_values(examples: Examples) -> Examples:
    """Class numbers stand for themselves when a number is wanted."""
    y = examples.y
    if y is None or y.ndim > 1:
        raise NotApplicable("this demo predicts one number a row: y wants one number an example")
    if not y.is_floating_point():
        try:
            y = torch.tensor([float(name) for name in examples.classes])[y]
        except ValueError:
            raise NotApplicable(
                "this demo predicts numbers, but the data has named classes; use the demo moons"
            ) from None
    held_out = None if examples.held_out is None else _as_values(examples.held_out)
    return dataclasses.replace(examples, y=y.float(), classes=(), held_out=held_out)
