"""CKA against the papers' formulas, written out example by example."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diorama.derive.derivations.similarity import hsic
from diorama.scene import Scene


def _net(seed: int, width: int = 6) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, width), nn.Tanh(), nn.Linear(width, 3))


def _activations(model: nn.Module, x: torch.Tensor) -> list[np.ndarray]:
    found = []
    with torch.no_grad():
        for layer in model.eval():
            x = layer(x)
            found.append(x.flatten(1).double().numpy())
    return found


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, equation 5, with loops."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    trace = sum(k[i, j] * m[j, i] for i in range(n) for j in range(n))
    inner = sum(float(k[i] @ m[:, j]) for i in range(n) for j in range(n))
    return (trace + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * inner) / (n * (n - 3))


def _cka(one: np.ndarray, other: np.ndarray, size: int) -> float:
    """Nguyen et al. 2021, equation 2."""
    sums = np.zeros(3)
    for start in range(0, len(one), size):
        k, m = (part @ part.T for part in (one[start : start + size], other[start : start + size]))
        sums += [_hsic(k, m), _hsic(k, k), _hsic(m, m)]
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


@pytest.fixture
def x() -> torch.Tensor:
    """Twenty-four pictures."""
    return torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("size", "told"), [(24, {}), (8, {"batch": 8})])
def test_cka_equals_the_papers_in_one_batch_and_in_several(x: torch.Tensor, size: int, told: dict[str, Any]) -> None:
    """Layers of one network, by the unbiased estimate, whatever the batch."""
    model = _net(0)
    found = Scene(model, x, torch.arange(24) % 3).derive("similarity", **told).value
    rows = _activations(model, x)
    wanted = [[_cka(one, other, size) for other in rows] for one in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_two_networks_of_other_widths_are_compared(x: torch.Tensor) -> None:
    """Rows are the layers of the one, columns those of the other."""
    one, other = _net(0), _net(1, 9)
    scene, beside = Scene(one, x), Scene(other, x)
    found = scene.derive("similarity", other=beside, layers="0+3", others="3+4+5").value
    mine, theirs = _activations(one, x), _activations(other, x)
    wanted = [[_cka(mine[a], theirs[b], 24) for b in (3, 4, 5)] for a in (0, 3)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_estimate_is_the_mean_over_quadruples() -> None:
    """HSIC's estimate is the U-statistic over all ordered quadruples of examples (Song et al. 2012, theorem 3), so it has no bias."""
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(6, 3)), draw.normal(size=(6, 2))
    k, m = one @ one.T, other @ other.T
    terms = [
        k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        for i, j, q, r in itertools.permutations(range(6), 4)
    ]
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    assert hsic(k[None], m[None])[0, 0] == pytest.approx(np.mean(terms))


def test_a_rotation_and_a_scale_change_nothing_and_a_constant_layer_is_not_judged(x: torch.Tensor) -> None:
    """What CKA does not see, and where it says nothing."""
    rows = x.flatten(1)
    turn = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))[0]
    turned, dead = nn.Linear(64, 64), nn.Linear(64, 4)
    with torch.no_grad():
        turned.weight.copy_(3 * turn)
        dead.weight.zero_()
    scene = Scene(nn.Sequential(nn.Identity(), turned, dead), rows)
    found = scene.derive("similarity").value
    assert found[0, 1] == pytest.approx(1, abs=1e-5)
    assert np.isnan(found[2]).all()
