"""Channels last: the same numbers, quicker, whatever the model does with its maps."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.model import layout
from diorama.model.layout import ChannelsLastRule
from diorama.model.mode import OpMode


class _Writes(nn.Module):
    """Writes into a view of its maps, and reads the maps later."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, 2), nn.Linear(4 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x))) + 1
        y.view(len(y), -1)[:, :20] = 0.5
        z = y.sigmoid() * y
        return self.head(z.view(len(z), -1))


@pytest.fixture
def model() -> nn.Module:
    """A small network, whose weights are constants."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _Writes().eval().requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    """Two images."""
    return torch.randn(2, 3, 15, 15, generator=torch.Generator().manual_seed(2))


def passed(model: nn.Module, x: Tensor, rule: ChannelsLastRule | None) -> tuple[Tensor, Tensor, list[bool]]:
    """Scores, slopes of the second, and for each convolution whether its result's channels lie last."""
    last: list[bool] = []

    def seen(name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if name == "conv2d":
            last.append(result.is_contiguous(memory_format=torch.channels_last))

    at = x.clone().requires_grad_()
    mode = OpMode().on_op(seen)
    with mode if rule is None else mode.replace(rule):
        scores = model(at)
    return scores.detach(), torch.autograd.grad(scores[:, 1].sum(), at)[0], last


def test_numbers_stay_the_same(model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores and slopes equal those of the usual order, also where a view is written into that this order has not."""
    monkeypatch.setattr(layout, "LEAST", 1)
    scores, slopes, usual = passed(model, x, None)
    turned = passed(model, x, ChannelsLastRule())
    assert (usual, turned[2]) == ([False, False], [True, True])
    assert torch.allclose(scores, turned[0], atol=1e-6)
    assert torch.allclose(slopes, turned[1], atol=1e-6)
    with torch.inference_mode(), OpMode().replace(ChannelsLastRule()):
        assert torch.allclose(scores, model(x), atol=1e-6)


def test_small_maps_stay_as_they_are(model: nn.Module, x: Tensor) -> None:
    """Small maps keep the model's order, and what is in the other order already goes on in it."""
    assert passed(model, x, ChannelsLastRule())[2] == [False, False]
    given = x.contiguous(memory_format=torch.channels_last)
    assert passed(model, given, ChannelsLastRule())[2] == [True, True]


def test_weights_that_change_are_read_anew(model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that goes on answers with the weights as they are now; weights in training get their gradients."""
    monkeypatch.setattr(layout, "LEAST", 1)
    rule = ChannelsLastRule()
    before = passed(model, x, rule)[0]
    assert isinstance(model, _Writes)
    with torch.no_grad():
        model.first.weight.mul_(2)
    after = passed(model, x, rule)[0]
    assert torch.allclose(after, passed(model, x, None)[0], atol=1e-6)
    assert not torch.allclose(after, before, atol=1e-3)
    model.first.weight.requires_grad_()
    with OpMode().replace(rule):
        model(x).sum().backward()
    assert model.first.weight.grad is not None


def test_weights_made_anew_for_each_pass_are_not_kept(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parametrized network's weights are others in each pass: the rule that goes on keeps none of them."""
    monkeypatch.setattr(layout, "LEAST", 1)
    model = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3)).requires_grad_(False)
    seen: list[weakref.ref[Tensor]] = []
    real = nn.Conv2d._conv_forward

    def forward(self: nn.Conv2d, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(weakref.ref(weight))
        return real(self, given, weight, bias)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", forward)
    rule = ChannelsLastRule()
    for _ in range(3):
        assert passed(model, x, rule)[2] == [True]
    assert [ref() for ref in seen] == [None] * 3
