"""The demo of pen strokes: what it writes by itself, and what a short training learns of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diorama.core.errors import NotApplicable
from diorama.data.examples import Examples
from diorama.data.strokes import points
from diorama.gallery.strokes import PLACES, SYMBOLS, StrokesDemo, written
from diorama.training import measures


@pytest.mark.parametrize("symbol", ["8", "4"])
def test_a_symbol_is_written_by_its_strokes(symbol: str) -> None:
    """It has its number of points and lifted pens, lies about the middle, its steps are even, and no two hands are one."""
    generator = np.random.default_rng(0)
    one, other = written(symbol, generator), written(symbol, generator)
    assert one.shape == (PLACES + 1, 3)
    assert one[:, 2].sum() == len(SYMBOLS[symbol])
    assert one[-1, 2] == 1
    assert np.abs(points(one)).max() < 12
    down = np.flatnonzero(one[:-1, 2] == 0) + 1
    long = np.hypot(one[down, 0], one[down, 1])
    assert long.std() < 0.3 * long.mean()
    assert np.abs(one - other).max() > 0.05


def test_a_short_training_learns_to_write() -> None:
    """After a few steps held-out steps cost far less than a bell curve as wide as all steps would have them cost."""
    demo = StrokesDemo(hidden=24, curves=2, batch=16, learning_rate=0.02)
    examples = demo.prepare()
    held_out = examples.held_out
    assert held_out is not None
    assert isinstance(held_out.y, torch.Tensor)
    assert examples.y is not None
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(20):
        pass
    steps = examples.y[..., :2].reshape(-1, 2).numpy()
    lifted = float(examples.y[..., 2].mean())
    alike = float(np.log(2 * np.pi * np.e) + 0.5 * np.log(np.linalg.det(np.cov(steps.T))))
    alike -= lifted * np.log(lifted) + (1 - lifted) * np.log(1 - lifted)
    with torch.no_grad():
        loss = float(measures.stroke_loss(model(held_out.x), held_out.y))
    assert loss < alike - 1.5


def test_other_data_are_refused_in_words() -> None:
    """Examples that are no strokes are refused with what the demo reads."""
    with pytest.raises(NotApplicable, match="dx, dy"):
        StrokesDemo().prepare(Examples.of(torch.rand(20, 4), torch.zeros(20, dtype=torch.long)))
