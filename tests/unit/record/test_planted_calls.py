"""Faults that an accuracy, a loss or an update alone hides: labels missed, answers far off, a term that drowns another, a decay that is L2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.marks import Heatmap, Lines
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.look_pace import LookPace

Loss = Callable[[Tensor, Tensor], Tensor]
Told = Callable[[Tensor, Tensor], dict[str, Tensor]]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LookPace, "affordable", lambda pace, number: number % 100 == 0)


def _trained(
    path: Path, model: nn.Module, data: tuple[Tensor, Tensor], loss: Loss, *, steps: int, optimizer: torch.optim.Optimizer | None = None,
    told: Told = lambda o, y: {}, **given: object,
) -> dict[str, Diagnosis]:
    (x, y), generator = data, torch.Generator().manual_seed(0)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 3e-3)
    with diorama.watch(model, path, probe=(x[-400:], y[-400:]), optimizer=optimizer, every=20, **given) as recorder:  # type: ignore[arg-type]
        for _ in range(steps):
            rows = torch.randint(len(x) - 400, (64,), generator=generator)
            answer = model(x[rows])
            value = loss(answer, y[rows])
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.step(loss=value, **told(answer, y[rows]))
    return {one.finding: one for one in reversed(diorama.open(path).findings())}


def _labels() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3000, 16, generator=generator)
    score = 1.5 * x @ torch.randn(16, 5, generator=generator) / 4 + 0.9 * torch.randn(3000, 5, generator=generator)
    return x, (score > score.quantile(0.96, 0)).float()


def _deep(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def _no_alarm(found: dict[str, Diagnosis], *names: str) -> None:
    assert not [one for name, one in found.items() if one.severity >= ALARM and (not names or name in names)]


def test_labels_that_are_nearly_all_missed_are_told_beside_a_high_accuracy(tmp_path: Path) -> None:
    """Three labels in a hundred: without a weight hardly any is found, with one most are, and nothing is said of these."""
    torch.manual_seed(0)
    rare = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 5))
    found = _trained(tmp_path / "rare", rare, _labels(), nn.BCEWithLogitsLoss(), steps=1600)["missed_labels"]
    assert found.severity >= ALARM
    assert "That 96." in found.text
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 12.0))
    assert "missed_labels" not in _trained(tmp_path / "weighted", _deep(16, 5), _labels(), weighted, steps=700)


class _Recurrent(nn.Module):
    """A recurrence whose weights begin with a given deviation."""

    def __init__(self, std: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.RNN(1, 24, nonlinearity="relu", batch_first=True), nn.Linear(24, 1)
        nn.init.normal_(self.rnn.weight_hh_l0, std=std)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.rnn(x)[0][:, -1])
        return answer


def test_answers_far_outside_the_true_values_are_an_alarm(tmp_path: Path) -> None:
    """A recurrence that explodes over the steps of a sequence answers thousands where truths are below one; a calm one is let alone."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1000, 30, 1, generator=generator) * 2 - 1
    data = x, x[:, -15:, 0].mean(1, keepdim=True) * 4
    found = _trained(tmp_path / "wild", _Recurrent(0.5), data, F.mse_loss, steps=220)["far_answers"]
    assert found.severity >= 0.7
    assert found.keys == ("layer:rnn",)
    assert "far_answers" not in _trained(tmp_path / "calm", _Recurrent(0.1), data, F.mse_loss, steps=220)


def _boxes(size: float) -> tuple[tuple[Tensor, Tensor], Loss, Told]:
    """Classes and a box of this size, both from the inputs."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2000, 20, generator=generator)
    label = ((x[:, :6:2] * x[:, 1:6:2] > 0) * torch.tensor([1, 2, 4])).sum(1)
    box = size * (x @ torch.randn(20, 4, generator=generator) / 4).sigmoid()

    def loss(answer: Tensor, truth: Tensor) -> Tensor:
        return F.cross_entropy(answer[:, 4:], truth[:, 0].long()) + F.mse_loss(answer[:, :4] * size, truth[:, 1:])

    return (x, torch.cat([label[:, None].float(), box], 1)), loss, lambda o, y: {"class_accuracy": (o[:, 4:].argmax(1) == y[:, 0]).float().mean()}


def test_a_term_that_drowns_another_is_told(tmp_path: Path) -> None:
    """Boxes of 640 pixels beside classes: the loss falls by orders and the accuracy stays; of boxes from 0 to 1 both go well."""
    data, loss, told = _boxes(640.0)
    model = _deep(20, 12, 64)
    found = _trained(
        tmp_path / "pixels", model, data, loss, steps=600, optimizer=torch.optim.Adam(model.parameters(), 1e-3), told=told, criterion=loss,
    )["unmoved_accuracy"]
    assert found.severity >= ALARM
    assert "class_accuracy" in found.text
    data, loss, told = _boxes(1.0)
    assert "unmoved_accuracy" not in _trained(tmp_path / "scaled", _deep(20, 12, 64), data, loss, steps=600, told=told, criterion=loss)


def test_a_decay_in_the_gradient_of_adam_is_the_cause_and_not_the_rate(tmp_path: Path) -> None:
    """Weights that an L2 term of 0.1 draws to nothing change much beside their size: that is no rate that is too high. A small one is none."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1000, 4, generator=generator) @ torch.randn(4, 30, generator=generator) / 4
    for decay, told in ((0.05, True), (1e-5, False)):
        model = nn.Sequential(_deep(30, 8), nn.ReLU(), _deep(8, 30))
        optimizer = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=decay)
        found = _trained(tmp_path / str(told), model, (x, x), F.mse_loss, steps=300, optimizer=optimizer)
        assert ("weight_decay_too_strong" in found) == told
        assert "learning_rate_too_high" not in found
        if told:
            assert found["weight_decay_too_strong"].severity == max(one.severity for one in found.values())


def test_a_loss_that_takes_probabilities_for_scores_is_drawn_apart_from_the_probe_sets(tmp_path: Path) -> None:
    """Beside each other the two would look like a training that is worse than its probe set."""
    (x, y), _, _ = _boxes(1.0)
    for name, model in (("twice", nn.Sequential(_deep(20, 8), nn.Softmax(1))), ("once", _deep(20, 8))):
        _trained(tmp_path / name, model, (x, y[:, 0].long()), F.cross_entropy, steps=120)
        view = diorama.open(tmp_path / name).scene().view("curves")
        titles = [mark.title for mark in view.marks() if isinstance(mark, Lines)]
        assert ("Loss on the probe set, which is another one than the training's" in titles) is (name == "twice")


def test_outputs_that_are_the_same_for_all_are_no_dead_units() -> None:
    """A sign of death stands behind units of a ReLU alone; what has none and says the same to all is counted by itself."""
    model = _deep(6, 3, 4)
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1e3, -1e3, -1e3, -1e3]))  # type: ignore[operator, union-attr]
    view = diorama.Scene(model, torch.randn(20, 6)).view("activations")
    assert "4 units of the ReLU layers (†) are dead (off for all 20 examples). 3 units of the other layers answer the same to all 20" in view.caption
    named = {mark.title: mark.column_labels for mark in view.marks() if isinstance(mark, Heatmap)}
    assert sum("†" in label for labels in named.values() for label in labels) == 4
