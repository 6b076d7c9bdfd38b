"""Ways round are added to a network while it trains, and removed; they start at zero, and all else stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import Functional, Residual

import diorama
from diorama.model.layers import layers
from diorama.record import models
from diorama.training.surgery.layers import add_layer, remove_layer
from diorama.training.surgery.skips import add_skip, remove_skip
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import add_units


def _rows() -> Tensor:
    return torch.randn(6, 5)


def _steps() -> Tensor:
    return torch.randn(6, 4, 6)


def _step(model: nn.Module, x: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    model.train()(x).square().mean().backward()
    optimizer.step()


CASES = [
    (grown_nets.dense, _rows, "0", "4", "4_skip"), (Functional, grown_nets.images, "conv1", "conv2", "conv2_skip"),
    (Residual, grown_nets.images, "stem", "layer1.1", "layer1.1_skip"), (grown_nets.Heads, _steps, "up", "down", "down_skip"),
    (Residual, grown_nets.images, "layer1.0.conv1", "layer1.0", "layer1.0_skip"),
]


@pytest.mark.parametrize(("build", "inputs", "source", "target", "name"), CASES, ids=[f"{row[0].__name__}-{row[2]}-{row[3]}" for row in CASES])
def test_a_way_round_starts_at_zero_and_learns(build: Any, inputs: Any, source: str, target: str, name: str) -> None:
    """No answer changes; names and objects stay; it learns at the next step, is copied and pickled, and goes without a trace."""
    model, x = grown_nets.made(build, inputs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    _step(model, x, optimizer)
    before, kinds = dict(model.named_parameters()), [type(module) for module in model.modules()]
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    want = {mode: answers(model, x, mode) for mode in ("eval", "train")}
    done = add_skip(model, x, source, target, optimizers=[optimizer])
    assert done.layer == name
    assert all(dict(model.named_parameters())[key] is parameter for key, parameter in before.items())
    for mode, whole in want.items():
        for one, other in zip(whole, answers(model, x, mode), strict=True):
            assert torch.equal(one, other)
    assert name in layers(model, x).names
    _step(model, x, optimizer)
    weight = model.get_submodule(name).way.weight
    assert weight.abs().max() > 0
    for other in (copy.deepcopy(model), grown_nets.saved(model)):
        assert torch.equal(answers(other, x, "eval")[0], answers(model, x, "eval")[0])
        assert other.get_submodule(name).way.weight is not weight
    model.load_state_dict(state, strict=False)
    remove_skip(model, x, source, target, optimizers=[optimizer])
    assert model.state_dict().keys() == state.keys()
    assert [type(module) for module in model.modules()] == kinds
    assert len(optimizer.param_groups[0]["params"]) == len(before) == len(optimizer.state)
    assert torch.equal(answers(model, x, "eval")[0], want["eval"][0])


def test_what_stands_at_weights_that_are_computed_is_stored() -> None:
    """A layer and a way round at a layer with a parametrization are in what a run keeps of the model, and do there what they do here."""
    model, x = grown_nets.made(grown_nets.dense, _rows)
    nn.utils.parametrizations.weight_norm(model[0])
    add_layer(model, x, "0", optimizers=[torch.optim.SGD(model.parameters(), 0.1)])
    add_skip(model, x, "0", "4", optimizers=[torch.optim.SGD(model.parameters(), 0.1)])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "added" in name or "skip" in name:
                parameter.add_(0.1)
    data, reason = models.pack(model, {})
    assert not reason
    stored = models.opened(data)["model"]
    stored.load_state_dict(model.state_dict())
    assert torch.equal(answers(stored, x, "eval")[0], answers(model, x, "eval")[0])
    remove_layer(stored, x, "0_added")
    remove_skip(stored, x, "0", "4")
    assert stored.state_dict().keys() == model.state_dict().keys() - {name for name in model.state_dict() if "added" in name or "skip" in name}


def test_it_adds_what_the_earlier_layer_gave() -> None:
    """Answers and gradients are those of the same network with the sum written out, also with in-place ops behind the source."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(36, 2))
    x = torch.randn(4, 1, 6, 6)
    add_skip(model, x, "0", "2")
    way = model.get_submodule("2_skip").way
    nn.init.normal_(way.weight)
    assert way.stride == (2, 2)
    found = model(x)
    hidden = torch.relu(F.conv2d(x, model[0].weight, model[0].bias, padding=1))  # in place: what the source gave became that
    summed = F.conv2d(hidden, model[2].weight, model[2].bias, 2, 1) + F.conv2d(hidden, way.weight, stride=2)
    want = F.linear(summed.flatten(1), model[5].weight, model[5].bias)
    assert torch.allclose(found, want, atol=1e-6)
    wrt = [*model.parameters()]
    for one, other in zip(torch.autograd.grad(found.square().sum(), wrt), torch.autograd.grad(want.square().sum(), wrt), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_units_grow_at_both_ends_of_a_way_round() -> None:
    """New units of the layers at its ends are read and made by the way round, and it can be removed after that and come back."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    add_skip(model, x, "conv1", "conv2")
    before = answers(model, x, "eval")[0]
    add_units(model, x, "conv1", 2)
    add_units(model, x, "conv2", 1)
    assert tuple(model.conv2_skip.way.weight.shape[:2]) == (model.conv2.weight.shape[0], model.conv1.weight.shape[0])
    assert torch.allclose(answers(model, x, "eval")[0], before, atol=1e-5)
    nn.init.normal_(model.conv2_skip.way.weight)
    before = answers(model, x, "eval")[0]
    done = remove_skip(model, x, "conv1", "conv2")
    done.back()
    assert torch.allclose(answers(model, x, "eval")[0], before)


@pytest.mark.parametrize(("act", "word"), [
    (lambda m, x: add_skip(m, x, "conv2", "conv1"), "'conv2' is not done before 'conv1'.*nearest: a way round from 'conv1' to 'conv2'"),
    (lambda m, x: add_skip(m, x, "conv1", "conv1"), "wants two layers"),
    (lambda m, x: add_skip(m, x, "conv1", "fc"), "gives .* and 'fc' gives .* nearest: layers with the same axes"),
    (lambda m, x: add_skip(m, x, "conv9", "conv1"), "no layer named 'conv9'"),
    (lambda m, x: (add_layer(m, x, "conv2"), add_skip(m, x, "conv1", "conv2")), "added after 'conv2' already"),
    (lambda m, x: remove_skip(m, x, "conv1", "conv2"), "no way round from 'conv1' to 'conv2' was added"),
    (lambda m, x: (add_skip(m, x, "norm", "conv2"), remove_layer(m, x, "norm")), "reads what 'norm' gives"),
    (lambda m, x: add_skip(m, x, "conv1", "conv2", optimizers=[torch.optim.LBFGS(m.parameters())]), "LBFGS"),
])
def test_what_cannot_be_rewired_says_why(act: Any, word: str) -> None:
    """Each refusal is a sentence with the way out, and the network is as it was."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    with pytest.raises(diorama.DioramaError, match=word):
        act(model, x)
    model(x)
