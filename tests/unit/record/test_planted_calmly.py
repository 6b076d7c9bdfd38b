"""What may be wrong and may be right is told calmly, by name and with its numbers, in networks of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.look_pace import LookPace


class _Read(nn.Module):
    """A recurrence over the rows of a table."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.read, self.out = nn.GRU(4, 16, batch_first=True), nn.Linear(16, answers)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        return self.out(self.read(x)[0][:, -1])


MAKERS: dict[str, Callable[[int], nn.Module]] = {
    "dense": lambda answers: nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, answers)),
    "convolutional": lambda answers: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, answers)),
    "recurrent": _Read,
}
Loss = Callable[[nn.Module, Tensor], Tensor]


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe set is looked at by the steps, however busy the machine is."""
    monkeypatch.setattr(LookPace, "affordable", lambda pace, number: number % 10 == 0)


def _told(
    path: Path, model: nn.Module, probe: tuple[Tensor, Tensor], loss: Loss, steps: int, optimizer: torch.optim.Optimizer, many: int = 512,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> dict[str, Diagnosis]:
    """The findings of a training on rows that are drawn by chance; the loss takes their numbers."""
    generator = torch.Generator().manual_seed(1)
    with diorama.watch(model, path, probe=probe, optimizer=optimizer, every=5) as recorder:
        for _ in range(steps):
            value = loss(model, torch.randint(many, (32,), generator=generator))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            recorder.step(loss=value.detach())
    return {one.finding: one for one in diorama.open(path).findings()}


def _quarters() -> tuple[Tensor, Tensor]:
    x = torch.randn(640, 4, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.stack([x[:, :2, :2], x[:, :2, 2:], x[:, 2:, :2], x[:, 2:, 2:]], 1).mean((2, 3)).argmax(1)


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_warm_up_of_a_million_steps_is_told_calmly(tmp_path: Path, name: str) -> None:
    """It is said how many times as many steps it takes at that pace; one of 40 steps is not told."""
    x, y = _quarters()
    for most in (1e6, 40.0):
        torch.manual_seed(0)
        model = MAKERS[name](4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1) if name == "dense" else torch.optim.Adam(model.parameters(), 3e-3)
        rising = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step, most=most: min(1.0, (step + 1) / most))  # type: ignore[misc]
        found = _told(tmp_path / str(most), model, (x[512:], y[512:]), lambda model, rows: F.cross_entropy(model(x[rows]), y[rows]), 200,
                      optimizer, scheduler=rising)
        if most == 40:
            assert not [one for one in found.values() if one.severity >= ALARM]
            assert "learning_rate_too_low" not in found
            continue
        told = found["learning_rate_too_low"]
        assert "warm-up takes" in told.title or "rate still rises" in told.title
        assert f"still rises ({optimizer.param_groups[0]['lr']:.1g}"[:18] in told.text
        assert "times as many steps" in told.text


class _Boxed(nn.Module):
    """Scores of two classes and a box behind a sigmoid, which is made before them or after."""

    def __init__(self, trunk: nn.Module, first: bool) -> None:
        super().__init__()
        self.trunk, self.kind, self.box, self.first = trunk, nn.Linear(16, 2), nn.Linear(16, 4), first

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        hidden = self.trunk(x)
        if self.first:
            box = torch.sigmoid(self.box(hidden))
            return self.kind(hidden), box
        return self.kind(hidden), torch.sigmoid(self.box(hidden))


@pytest.mark.parametrize("name", list(MAKERS))
def test_boxes_in_pixels_beside_scores_are_told_calmly(tmp_path: Path, name: str) -> None:
    """A sigmoid that would have to answer 30 comes to stand at its end, and is said to; of the same boxes as shares nothing is said."""
    x, y = _quarters()
    kind = y % 2
    boxes = torch.stack([y % 2, y // 2, y % 2 + 1, y // 2 + 1], 1).float() / 2
    # In pixels, where no answer is near, and as shares that the sigmoid reaches.
    for size in (60.0, 1.0):
        torch.manual_seed(0)
        model = _Boxed(nn.Sequential(MAKERS[name](16), nn.ReLU()), name == "dense")

        def both(model: nn.Module, rows: Tensor, size: float = size) -> Tensor:
            scores, box = model(x[rows])
            wanted = (size + size * boxes[rows]) / 2 if size > 1 else 0.1 + 0.8 * boxes[rows]
            return F.cross_entropy(scores, kind[rows]) + F.smooth_l1_loss(box, wanted)

        found = _told(tmp_path / str(size), model, (x[512:], kind[512:]), both, 300 if size > 1 else 100, torch.optim.Adam(model.parameters(), 1e-2))
        assert not [one for one in found.values() if one.severity >= ALARM]
        assert ("saturated_units" in found) == (size > 1)
        if size > 1:
            assert found["saturated_units"].title == "box always answers the same end"
            assert "true values may lie beyond what they can reach" in found["saturated_units"].text


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_class_that_is_nearly_all_and_alone_is_answered_is_told_calmly(tmp_path: Path, name: str) -> None:
    """Of labels that nothing tells, nine of ten alike; where the input tells them they are learnt, and nothing is said."""
    x = torch.randn(640, 4, 4, generator=torch.Generator().manual_seed(0))
    for tells in (False, True):
        rare = x[:, 0, 0] > 1.28 if tells else torch.rand(640, generator=torch.Generator().manual_seed(2)) < 0.1
        y = rare.long()
        torch.manual_seed(0)
        model = MAKERS[name](2)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3) if tells else torch.optim.SGD(model.parameters(), 0.05)
        found = _told(tmp_path / str(tells), model, (x[512:], y[512:]), lambda model, rows, y=y: F.cross_entropy(model(x[rows]), y[rows]),  # type: ignore[misc]
                      240, optimizer)
        assert not [one for one in found.values() if one.severity >= ALARM]
        assert ("constant_answer" in found) == (not tells)
        if not tells:
            assert found["constant_answer"].title == "Only the most frequent class is ever answered"


class _Dropping(nn.Module):
    """Drops by a function, within an attention, between recurrent layers, and by a module of its own."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.leave = share, nn.Linear(4, 4)
        self.look = nn.MultiheadAttention(4, 2, dropout=share, batch_first=True)
        self.read, self.drop = nn.GRU(4, 4, 2, dropout=share, batch_first=True), nn.Dropout(share)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        x = F.dropout(x, self.share, self.training)
        return self.leave(self.drop(self.read(x + self.look(x, x, x, need_weights=False)[0])[0][:, -1]))


def test_whatever_drops_in_training_alone_is_known(tmp_path: Path) -> None:
    """Four ways to drop are written down with their share; a function that drops nothing, or in evaluation too, is none."""
    x, y = _quarters()
    for share in (0.3, 0.0):
        with diorama.watch(_Dropping(share), tmp_path / str(share), probe=(x[:64], y[:64])):
            pass
        told = dict(diorama.open(tmp_path / str(share)).meta["dropouts"])
        assert told == ({"look": 0.3, "read": 0.3, "drop": 0.3, "_Dropping": 0.3} if share else {"drop": 0.0})


class _Noisy(nn.Module):
    """Drops by a function on the way to its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.leave = nn.Linear(16, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        return self.leave(F.dropout(F.relu(self.first(x.flatten(1))), 0.9, self.training))


def test_a_function_that_drops_nearly_all_is_found(tmp_path: Path) -> None:
    """It is told by the name of the network, since no layer of its own drops, and blames no labels."""
    x, y = _quarters()
    torch.manual_seed(0)
    model = _Noisy()
    found = _told(tmp_path / "run", model, (x[512:], y[512:]), lambda model, rows: F.cross_entropy(model(x[rows]), y[rows]), 150,
                  torch.optim.Adam(model.parameters(), 1e-2))
    assert [name for name, one in found.items() if one.severity >= ALARM] == ["dropout_too_strong"]
    assert found["dropout_too_strong"].title == "_Noisy drops nearly everything"
    assert not found["dropout_too_strong"].keys
