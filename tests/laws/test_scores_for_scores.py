"""No loss that takes a model's scores for scores is said to take them for probabilities, whatever the answers are like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.record.probabilities import twice, twice_each

Loss = Callable[[Tensor, Tensor], Tensor]


def _one(y: Tensor, z: Tensor) -> Tensor:
    return F.one_hot(y, z.shape[1]).float()


def _own(z: Tensor, y: Tensor) -> Tensor:
    """The probability of the label."""
    return z.softmax(1).gather(1, y[:, None])[:, 0]


def _each(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y, reduction="none")


def _weights(z: Tensor) -> Tensor:
    return torch.linspace(0.2, 3, z.shape[1])


def _teacher(z: Tensor, y: Tensor, heat: float) -> Tensor:
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(5))
    return ((1.5 * noise + 3 * _one(y, z)) / heat).softmax(1)


def _noisy(z: Tensor, y: Tensor) -> Tensor:
    """Forward correction for labels of which a fifth are drawn anew."""
    return F.nll_loss((0.8 * z.softmax(1) + 0.2 / z.shape[1]).log(), y)


ONE: dict[str, Loss] = {
    "cross-entropy": F.cross_entropy,
    "smoothed": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
    "smoothed more": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.3),
    "weighted": lambda z, y: F.cross_entropy(z, y, weight=_weights(z)),
    "both": lambda z, y: F.cross_entropy(z, y, weight=_weights(z), label_smoothing=0.1),
    "focal": lambda z, y: ((1 - _own(z, y)) ** 2 * _each(z, y)).mean(),
    "poly": lambda z, y: (_each(z, y) + 1 - _own(z, y)).mean(),
    "Brier": lambda z, y: F.mse_loss(z.softmax(1), _one(y, z)),
    "Brier of sigmoids": lambda z, y: F.mse_loss(z.sigmoid(), _one(y, z)),
    "squares": lambda z, y: F.mse_loss(z, _one(y, z)),
    "Huber": lambda z, y: F.smooth_l1_loss(z, _one(y, z)),
    "absolute probabilities": lambda z, y: 1 - _own(z, y).mean(),
    "generalized": lambda z, y: ((1 - _own(z, y) ** 0.7) / 0.7).mean(),
    "symmetric": lambda z, y: (_each(z, y) + 0.4 * (1 - _own(z, y))).mean(),
    "distilled": lambda z, y: F.kl_div(z.log_softmax(1), _teacher(z, y, 1.0), reduction="batchmean"),
    "distilled warm": lambda z, y: 16 * F.kl_div((z / 4).log_softmax(1), _teacher(z, y, 4.0), reduction="batchmean"),
    "warm": lambda z, y: F.cross_entropy(z / 2, y),
    "hinge": F.multi_margin_loss,
    "margin": lambda z, y: F.cross_entropy(z - 1.4 * _one(y, z), y),
    "shifted": lambda z, y: F.cross_entropy(z + torch.linspace(1, -2, z.shape[1]), y),
    "mixed": lambda z, y: 0.7 * F.cross_entropy(z, y) + 0.3 * F.cross_entropy(z, y.flip(0)),
    "noisy labels": lambda z, y: F.cross_entropy(z, y.roll(7)),
    "corrected": _noisy,
    "several paths": lambda z, y: -torch.logaddexp(_own(z, y).log(), z.log_softmax(1)[:, 0] - 1).mean(),
    "held": lambda z, y: F.cross_entropy(30 * torch.tanh(z / 30), y),
    "hardest": lambda z, y: _each(z, y).topk(len(y) // 2)[0].mean(),
    "one-hot sigmoids": lambda z, y: F.binary_cross_entropy_with_logits(z, _one(y, z)),
    "soft margin": lambda z, y: F.soft_margin_loss(z, 2 * _one(y, z) - 1),
}
SEVERAL: dict[str, Loss] = {
    "sigmoids": F.binary_cross_entropy_with_logits,
    "pos_weight": lambda z, t: F.binary_cross_entropy_with_logits(z, t, pos_weight=torch.linspace(0.5, 8, z.shape[1])),
    "warm sigmoids": lambda z, t: F.binary_cross_entropy_with_logits(z / 3, t),
    "squares of sigmoids": lambda z, t: F.mse_loss(z.sigmoid(), t),
    "shared out": F.cross_entropy,
    "counts": F.poisson_nll_loss,
}
"""Of these each score has a label of its own."""


def _answers(classes: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Scores as of networks of every age, with their labels."""
    draw = torch.Generator().manual_seed(classes)
    y, noise = torch.randint(classes, (32,), generator=draw), torch.randn(32, classes, generator=draw)
    right = F.one_hot(y, classes).float()
    return {
        "alike": (torch.zeros(32, classes), y), "tiny": (0.001 * noise, y), "new": (0.1 * noise, y), "half": (0.5 * noise, y),
        "learning": (2 * right + noise, y), "learnt": (8 * right + noise, y), "saturated": (30 * right + 3 * noise, y),
        "wrong": (noise - 4 * right, y),
    }


@pytest.mark.parametrize("classes", [2, 10])
def test_scores_that_are_taken_for_scores_are_told_of_nowhere(classes: int) -> None:
    """Twenty-eight losses over classes and six over labels, at eight ages of a network: slopes are autograd's own."""
    for age, (scores, y) in _answers(classes).items():
        labels = torch.stack([(3 * y + k + (y * k) % 5) % (2 + k % 3) == 0 for k in range(classes)], 1).float()
        for name, loss in (ONE | SEVERAL).items():
            z = scores.clone().requires_grad_()
            (slopes,) = torch.autograd.grad(loss(z, labels if name in SEVERAL else y), z)
            given = scores.double().numpy(), slopes.double().numpy()
            with np.errstate(all="ignore"):
                assert twice(*given) is None, (name, age)
                assert not twice_each(*given), (name, age)
