"""Digits and letters as a pen writes them, point by point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable, UsageError
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ..training import measures
from ._demo import Demo

Floats = NDArray[np.float64]
PLACES = 32
"""Points of a symbol."""
SYMBOLS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "0": (((0.5, 1.0), (0.1, 0.75), (0.1, 0.25), (0.5, 0.0), (0.9, 0.25), (0.9, 0.75), (0.5, 1.0)),),
    "1": (((0.25, 0.75), (0.55, 1.0), (0.55, 0.5), (0.55, 0.0)),),
    "2": (((0.1, 0.75), (0.45, 1.0), (0.85, 0.75), (0.55, 0.4), (0.1, 0.02), (0.5, 0.04), (0.9, 0.0)),),
    "3": (((0.1, 0.9), (0.55, 1.0), (0.8, 0.75), (0.4, 0.53), (0.85, 0.3), (0.5, 0.0), (0.1, 0.12)),),
    "4": (((0.6, 1.0), (0.35, 0.65), (0.05, 0.3), (0.5, 0.3), (0.95, 0.3)), ((0.65, 0.6), (0.65, 0.3), (0.65, 0.0))),
    "5": (((0.2, 0.98), (0.17, 0.75), (0.15, 0.55), (0.6, 0.62), (0.88, 0.3), (0.5, 0.0), (0.1, 0.1)), ((0.2, 0.98), (0.5, 1.0), (0.85, 0.98))),
    "6": (((0.75, 1.0), (0.3, 0.7), (0.12, 0.3), (0.5, 0.0), (0.85, 0.28), (0.5, 0.52), (0.15, 0.3)),),
    "7": (((0.1, 0.97), (0.5, 1.0), (0.9, 0.97), (0.6, 0.5), (0.35, 0.0)), ((0.3, 0.5), (0.5, 0.5), (0.8, 0.5))),
    "8": (((0.75, 0.85), (0.45, 1.0), (0.2, 0.78), (0.5, 0.53), (0.85, 0.25), (0.5, 0.0), (0.15, 0.25), (0.5, 0.53), (0.78, 0.82)),),
    "9": (((0.85, 0.75), (0.5, 1.0), (0.15, 0.72), (0.5, 0.48), (0.85, 0.78), (0.8, 0.4), (0.6, 0.0)),),
    "a": (((0.8, 0.6), (0.4, 0.68), (0.1, 0.3), (0.4, 0.0), (0.78, 0.3), (0.82, 0.65), (0.8, 0.25), (0.98, 0.0)),),
    "e": (((0.12, 0.32), (0.5, 0.34), (0.88, 0.4), (0.5, 0.7), (0.1, 0.33), (0.45, 0.0), (0.9, 0.15)),),
    "t": (((0.45, 1.0), (0.43, 0.5), (0.5, 0.05), (0.85, 0.08)), ((0.12, 0.65), (0.45, 0.66), (0.8, 0.65))),
    "x": (((0.1, 0.7), (0.5, 0.35), (0.9, 0.0)), ((0.9, 0.7), (0.5, 0.35), (0.1, 0.0))),
    "i": (((0.5, 0.65), (0.48, 0.35), (0.52, 0.05), (0.7, 0.03)), ((0.5, 0.9), (0.53, 0.93))),
    "s": (((0.82, 0.58), (0.45, 0.7), (0.18, 0.5), (0.5, 0.35), (0.84, 0.17), (0.5, 0.0), (0.12, 0.12)),),
}
"""Points of each stroke through which its curve goes, in a square from 0 to 1."""
WRITTEN = 60
"""Each symbol is written so many times."""


class StrokesDemo(Demo):
    """A recurrent network learns to write digits and letters: after each point it says how likely the pen goes where, and whether it is
    lifted."""

    title: ClassVar[str] = "Pen strokes"
    question: ClassVar[str] = "How does a network come to write, and where does it see several ways to go on?"
    task: ClassVar[str] = "regression"
    probe: ClassVar[int] = 128

    hidden: int = knob(96, "Cells of the recurrent layer.", low=4, high=1024, main=True)
    curves: int = knob(8, "Bell curves that the next point is told by; 0: one plain step.", low=0, high=64, main=True)
    steps: int = knob(4000, "After how many steps the training ends by itself.", low=1, main=True)
    pace: float = knob(40.0, "At most so many steps a second, to have something to watch; 0: no rest.", low=0.0, unit="steps/s")
    learning_rate: float = knob(0.005, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Sixteen symbols in equal numbers, each in a hand of its own: slanted, turned, wide or narrow, a little unsteady."""
        generator = np.random.default_rng(0)
        rows = np.stack([written(symbol, generator) for _ in range(WRITTEN) for symbol in SYMBOLS]).astype(np.float32)
        kind = kinds.Strokes(sentence=f"Sixteen digits and letters, written by the demo itself; {PLACES} points each, a step apart.")
        return Examples.of(torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:]), inputs=kind)

    def accept(self, examples: Examples) -> Examples:
        """Any strokes with the step that follows each place."""
        x, y = examples.x, examples.y
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[2] != 3:
            raise NotApplicable("this demo reads pen strokes: an .npz with x (examples, places, 3) of dx, dy and 1 where the pen is lifted")
        if y is None or y.shape != x.shape:
            raise UsageError("this demo learns the next step: y wants dx, dy and the pen behind each place of x, in the shape of x")
        return dataclasses.replace(examples, x=x.float(), y=y.float(), classes=())

    def network(self, examples: Examples) -> nn.Module:  # noqa: ARG002 - all strokes have three numbers a place
        """A recurrent layer over the steps, and the numbers that tell of the next one."""
        return Scribe(self.hidden, self.curves)

    def loss(self, output: Any, y: Tensor) -> Tensor:
        """Minus the logarithm of how likely the next step and its pen were held, in nats a place."""
        return measures.stroke_loss(output, y)

    def criterion(self, model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:  # noqa: ARG002 - the same for any network
        """The same of each example."""
        return measures.stroke_losses

    def metrics(self) -> dict[str, Callable[[Any, Tensor], float]]:
        """The share of lifted pens that were foreseen."""
        return {"pen": measures.pen_right}


class Scribe(nn.Module):
    """What is said of the next step at every place: (n, t, 3) steps to (n, t, 6 curves + 1), or 3 numbers of a plain step."""

    def __init__(self, hidden: int, curves: int) -> None:
        super().__init__()
        self.gru = nn.GRU(3, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 6 * curves + 1 if curves else 3)
        self.curves = curves

    def forward(self, x: Tensor) -> Tensor:
        """Follow the pen, knowing at each place only what came before."""
        told: Tensor = self.out(self.gru(x)[0])
        if not self.curves:
            return told
        k = self.curves
        before, spreads, after = told.split([1 + 3 * k, 2 * k, k], -1)
        # No curve becomes so narrow that one unlucky point outweighs all others.
        return torch.cat([before, F.softplus(spreads + 3) - 3, after], -1)


def written(symbol: str, generator: np.random.Generator) -> Floats:
    """A symbol in one hand (PLACES + 1, 3): rows of dx, dy and 1 where the pen is lifted, its points about 1 apart, its middle at (0, 0)."""
    strokes = [_smooth(np.array(stroke) + generator.normal(0, 0.025, (len(stroke), 2))) for stroke in SYMBOLS[symbol]]
    wide, tall = generator.uniform(0.5, 0.85), generator.uniform(0.85, 1.15)
    slant, turn = generator.normal(0.12, 0.15), generator.normal(0, 0.07)
    shape = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[wide, slant], [0, tall]])
    strokes = [(stroke - 0.5) @ shape.T for stroke in strokes]
    long = np.array([np.hypot(*np.diff(stroke, axis=0).T).sum() for stroke in strokes])
    counts = np.maximum(2, np.floor((PLACES + 1) * long / long.sum())).astype(int)
    counts[long.argmax()] += PLACES + 1 - counts.sum()
    even = [_even(stroke, count) for stroke, count in zip(strokes, counts, strict=True)]
    at = np.concatenate(even) * 12 + generator.normal(0, 0.06, (PLACES + 1, 2))
    lifted = np.zeros(PLACES + 1)
    lifted[counts.cumsum() - 1] = 1
    return np.column_stack([np.diff(at, axis=0, prepend=0.0), lifted])


def _smooth(points: Floats) -> Floats:
    """A curve through all points, sixteen places between two of them.

    *Source* Catmull & Rom 1974.
    """
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 16, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*pieces, points[-1:]])


def _even(curve: Floats, count: int) -> Floats:
    """So many points of a curve, from its beginning to its end, equally far apart along it."""
    along = np.concatenate([[0.0], np.hypot(*np.diff(curve, axis=0).T).cumsum()])
    at = np.linspace(0, along[-1], count)
    return np.column_stack([np.interp(at, along, curve[:, k]) for k in range(2)])
