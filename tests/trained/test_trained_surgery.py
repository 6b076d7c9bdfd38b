"""Networks that others trained take new units, and lose dead ones, without another answer."""

from __future__ import annotations

import copy

import networks
import pytest
import torch

from diorama.data import nesting
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import add_units, remove_units

LAYERS = [
    ("resnet20", "conv1", 3), ("resnet20", "layer2.1.conv1", 3), ("resnet20", "layer3.0.conv2", 1), ("tinyvgg", "conv_2_2", 2),
    ("lenet5", "0", 2), ("charrnn", "rnn", 4),
]


@pytest.mark.parametrize(("name", "layer", "count"), LAYERS)
def test_new_units_change_no_answer(name: str, layer: str, count: int) -> None:
    """Of residual nets, plain ones and a recurrent one, in eval and in train mode, to 1e-5 of the largest answer."""
    told = {"resnet20": {"count": 8}, "lenet5": {"count": 8}, "charrnn": {"count": 2, "length": 8}}.get(name, {})
    scene = networks.scene(name, **told)
    model, x = copy.deepcopy(scene.model), scene.examples.x
    want = {mode: answers(model, x, mode) for mode in ("eval", "train")}
    add_units(model, x, layer, count)
    for mode, whole in want.items():
        for one, other in zip(whole, answers(model, x, mode), strict=True):
            assert (one - other).abs().max() < 1e-5 * one.abs().max()


def test_dead_units_go_without_a_trace() -> None:
    """Filters that a ReLU keeps at zero are removed, and no answer changes."""
    scene = networks.tinyvgg()
    model, x = copy.deepcopy(scene.model), nesting.select(scene.examples.x, slice(0, 4))
    with torch.no_grad():
        model.conv_2_1.bias[[2, 7]] = -1e3
    want = answers(model, x, "eval")[0]
    done = remove_units(model, x, "conv_2_1", [2, 7])
    assert (done.before, done.after) == (10, 8)
    assert (answers(model, x, "eval")[0] - want).abs().max() < 1e-5 * want.abs().max()
