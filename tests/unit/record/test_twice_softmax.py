"""Probabilities that the loop gives to a loss of scores are told by the slopes at the scores, and no other loss is taken for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.probabilities import twice, twice_each

Loss = Callable[[Tensor, Tensor], Tensor]
TWICE: dict[str, tuple[int, Loss]] = {
    "softmax": (5, lambda z, y: F.cross_entropy(z.softmax(1), y)),
    "summed softmax": (3, lambda z, y: F.cross_entropy(z.softmax(1), y, reduction="sum")),
    "softmax of two": (2, lambda z, y: F.cross_entropy(z.softmax(1), y)),
    "sigmoid": (4, lambda z, y: F.cross_entropy(z.sigmoid(), y)),
    "smoothed": (5, lambda z, y: F.cross_entropy(z.softmax(1), y, label_smoothing=0.1)),
    "smoothed of two": (2, lambda z, y: F.cross_entropy(z.softmax(1), y, label_smoothing=0.1)),
    "weighted": (4, lambda z, y: F.cross_entropy(z.softmax(1), y, weight=torch.tensor([1.0, 3.0, 0.3, 2.0]))),
    "sigmoid of one": (1, lambda z, y: F.binary_cross_entropy_with_logits(z.sigmoid()[:, 0], y.float())),
}
ONCE: dict[str, tuple[int, Loss]] = {
    "plain": (5, F.cross_entropy),
    "two": (2, F.cross_entropy),
    "log_softmax": (5, lambda z, y: F.cross_entropy(z.log_softmax(1), y)),
    "smoothed": (5, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)),
    "focal": (5, lambda z, y: ((1 - F.cross_entropy(z, y, reduction="none").neg().exp()) ** 2 * F.cross_entropy(z, y, reduction="none")).mean()),
    "squares": (5, lambda z, y: F.mse_loss(z.softmax(1), F.one_hot(y, 5).float())),
    "one": (1, lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.float())),
    "focal of one": (1, lambda z, y: (z.sigmoid()[:, 0] - y).square().mul(
        F.binary_cross_entropy_with_logits(z[:, 0], y.float(), reduction="none")).mean()),
    "margin": (5, lambda z, y: F.multi_margin_loss(z, y)),
    "weighted": (4, lambda z, y: F.cross_entropy(z, y, weight=torch.tensor([1.0, 3.0, 0.3, 2.0]))),
    "both": (4, lambda z, y: F.cross_entropy(z, y, weight=torch.tensor([1.0, 3.0, 0.3, 2.0]), label_smoothing=0.1)),
    "each": (5, lambda z, y: F.binary_cross_entropy_with_logits(z, _several(y))),
    "smoothed of two": (2, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)),
    "focal of two": (2, lambda z, y: ((1 - F.cross_entropy(z, y, reduction="none").neg().exp()) * F.cross_entropy(z, y, reduction="none")).mean()),
    "dice of two": (2, lambda z, y: -(z.softmax(1) * F.one_hot(y, 2)).sum(0).div((z.softmax(1) + F.one_hot(y, 2)).sum(0)).mean()),
    "learnt temperature": (5, lambda z, y: F.cross_entropy(1.01 * z.softmax(1), y)),
    "learnt temperature of one": (1, lambda z, y: F.binary_cross_entropy_with_logits(0.99 * z.sigmoid()[:, 0], y.float())),
}


def _several(y: Tensor) -> Tensor:
    """Labels of five kinds, of which each example may have several."""
    return torch.stack([(y + k) % (2 + k) == 0 for k in range(5)], 1).float()


EACH: dict[str, Loss] = {
    "sigmoid": lambda z, y: F.binary_cross_entropy_with_logits(z.sigmoid(), _several(y)),
    "softmax": lambda z, y: F.binary_cross_entropy_with_logits(z.softmax(1), _several(y)),
    "weighted": lambda z, y: F.binary_cross_entropy_with_logits(z.sigmoid(), _several(y), pos_weight=torch.tensor([1.0, 2.0, 3.0, 4.0, 0.5])),
}
OTHERS: dict[str, Loss] = {
    "plain": lambda z, y: F.binary_cross_entropy_with_logits(z, _several(y)),
    "weighted": lambda z, y: F.binary_cross_entropy_with_logits(z, _several(y), pos_weight=torch.tensor([1.0, 2.0, 3.0, 4.0, 0.5])),
    "probabilities": lambda z, y: F.binary_cross_entropy(z.sigmoid(), _several(y)),
    "squares": lambda z, y: F.mse_loss(z.sigmoid(), _several(y)),
    "values": lambda z, y: F.mse_loss(z, _several(y)),
    "margins": lambda z, y: F.multilabel_margin_loss(z, _several(y).long()),
}


def _slopes(answers: int, loss: Loss, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = torch.Generator().manual_seed(3)
    z = (size * torch.randn(64, answers, generator=draw)).requires_grad_()
    y = torch.arange(64) % max(2, answers)
    (slopes,) = torch.autograd.grad(loss(z, y), z)
    return z.detach().double().numpy(), slopes.double().numpy(), y.numpy()


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_probabilities_given_for_scores_are_known_by_their_slopes(size: float) -> None:
    """The labels are found as well, wherever the slopes tell any."""
    for name, (answers, loss) in TWICE.items():
        scores, slopes, y = _slopes(answers, loss, size)
        found = twice(scores, slopes)
        assert found is not None, name
        assert (found >= 0).mean() > 0.2, name
        assert (found == y)[found >= 0].all(), name


@pytest.mark.parametrize("size", [0.01, 0.5, 2.0, 8.0, 30.0])
def test_no_other_loss_is_taken_for_it(size: float) -> None:
    """Neither at a beginning, where all answers are alike, nor where all are sure."""
    for name, (answers, loss) in ONCE.items():
        assert twice(*_slopes(answers, loss, size)[:2]) is None, name
    # All learnt: the slopes of the two losses are alike there.
    z = (12.0 * F.one_hot(torch.arange(64) % 4, 4) + torch.randn(64, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    (slopes,) = torch.autograd.grad(F.cross_entropy(z, torch.arange(64) % 4), z)
    assert twice(z.detach().double().numpy(), slopes.double().numpy()) is None


@pytest.mark.parametrize("size", [0.01, 0.5, 2.0, 8.0])
def test_probabilities_given_where_each_score_has_a_label_are_known(size: float) -> None:
    """Of a sigmoid and of a softmax, also with weights, where answers are neither all alike nor all sure; of other losses nothing is told, however
    sure answers are."""
    for name, loss in EACH.items():
        assert twice_each(*_slopes(5, loss, size)[:2]) or size in (0.01, 8.0), name
    for name, loss in (OTHERS | {name: loss for name, (answers, loss) in ONCE.items() if answers == 5}).items():
        assert not twice_each(*_slopes(5, loss, size)[:2]), name


@pytest.mark.parametrize("again", [True, False])
def test_a_softmax_in_the_loop_is_a_finding(tmp_path: Path, again: bool) -> None:
    """It is named as the one in a model is, and the sentence on two measures names it too; without it neither comes."""
    torch.manual_seed(0)
    y = torch.arange(600) % 3
    x = torch.randn(600, 6) + 3 * F.one_hot(y, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with diorama.watch(model, tmp_path / "run", probe=(x[:100], y[:100]), optimizer=optimizer, every=2) as recorder:
        for _ in range(80):
            k = torch.randperm(600)[:64]
            z = model(x[k])
            loss = F.cross_entropy(z.softmax(1) if again else z, y[k])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = diorama.open(recorder.path)
    found = [one for one in run.findings() if one.finding == "misplaced_softmax"]
    assert len(found) == again
    if again:
        assert "the loop made probabilities" in found[0].text
        assert "takes probabilities for scores" in run.meta["measure"]
    else:
        assert not run.meta.get("measure")
