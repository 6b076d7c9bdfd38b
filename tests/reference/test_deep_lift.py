"""DeepLIFT against its rule in plain loops, against Captum, and its sum."""

from __future__ import annotations

import re
import warnings
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO

from diorama.methods.attribute import attribute


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def test_equals_plain_loops() -> None:
    """A ReLU network's values are the differences, unit by unit, times ratios of differences."""
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    x, start = torch.randn(3, 5).double(), torch.randn(1, 5).double()
    heat = attribute(net, x, 1, method="deep_lift", baseline=start).values.numpy()
    layers = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in net if isinstance(layer, nn.Linear)
    ]
    for row, found in zip(x.numpy(), heat, strict=True):
        a, b, ratios = row, start[0].numpy(), []
        for w, c in layers[:-1]:
            za, zb = w @ a + c, w @ b + c
            a, b = np.clip(za, 0, None), np.clip(zb, 0, None)
            ratios.append([(p - q) / (s - t) for p, q, s, t in zip(a, b, za, zb, strict=True)])
        m = layers[-1][0][1]
        for (w, _), ratio in zip(reversed(layers[:-1]), reversed(ratios), strict=True):
            m = np.array([sum(m[j] * ratio[j] * w[j, i] for j in range(len(w))) for i in range(w.shape[1])])
        assert np.abs(found - m * (row - start[0].numpy())).max() < 1e-5


@pytest.mark.parametrize(
    "act", [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus], ids=lambda a: a.__name__
)
def test_equals_captum(act: type[nn.Module]) -> None:
    """Every activation that Captum has a rule for gives Captum's values, for a given and for the zero baseline."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), act(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 5), nn.Linear(5, 3), act()
    )
    x = torch.randn(3, 1, 8, 8)
    for start in (None, torch.randn(1, 1, 8, 8)):
        found = attribute(net, x, 1, method="deep_lift", **({} if start is None else {"baseline": start})).values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = torch.zeros(1, 1, 8, 8) if start is None else start
            wanted = captum.attr.DeepLift(net).attribute(x, given, target=1).detach()
        assert (found - wanted).abs().max() < 1e-5


def test_a_max_pooling_gives_its_difference_to_both_maxima() -> None:
    """What rises above the baseline's maximum goes to the input's, what falls below it to the baseline's."""
    net = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    x, start = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    for unit in range(4):
        found = attribute(net, x, unit, method="deep_lift", baseline=start).values[0, 0]
        wanted = torch.zeros(4, 4)
        rows, columns = slice(2 * (unit // 2), 2 * (unit // 2) + 2), slice(2 * (unit % 2), 2 * (unit % 2) + 2)
        a, b = x[0, 0, rows, columns].flatten(), start[0, 0, rows, columns].flatten()
        top = max(a.max(), b.max())
        part = torch.zeros(4)
        part[a.argmax()] += top - b.max()
        part[b.argmax()] += a.max() - top
        wanted[rows, columns] = part.reshape(2, 2)
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("specimen", [s for s in ZOO if s.name not in ("packed", "bfloat16")], ids=lambda s: s.name)
def test_values_sum_to_the_difference(specimen: Any) -> None:
    """On every make of network, recurrent and attending ones included, the values sum to the target's change."""
    model, x = specimen()
    heat = attribute(
        model.double(), x.double() if isinstance(x, Tensor) and x.is_floating_point() else x, 1, method="deep_lift"
    )
    assert heat.checks["completeness"] < 1e-6
    slight = r"For \d of 4 examples the baseline has nearly the same score\. .* use occlusion, or another baseline\."
    assert not re.sub(slight, "", heat.note)


def test_softmax_sums_to_the_difference() -> None:
    """Softmax and its logarithm at the output share out the whole change."""
    for last in (nn.Softmax(-1), nn.LogSoftmax(-1)):
        net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3), last).double()
        assert attribute(net, torch.randn(3, 4).double(), 2, method="deep_lift").checks["completeness"] < 1e-6
