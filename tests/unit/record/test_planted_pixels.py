"""Faults of a segmentation, whose examples are of no class: its pixels tell which class stays misread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.look_pace import LookPace


@pytest.fixture(autouse=True)
def _looked_at_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at every tenth step, whatever time there is."""
    monkeypatch.setattr(LookPace, "affordable", lambda pace, number: number % 10 == 0)
    monkeypatch.setattr(LookPace, "rests", lambda pace, number: (True, number, np.inf))


class _Around(nn.Module):
    """Two convolutions, the second of which sees what the first made and the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(9, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of three classes a pixel."""
        return self.last(torch.cat([torch.relu(self.first(x)), x], 1))


_MAKERS = {
    "convolutions": lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)),
    "strided": lambda: nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.Tanh(), nn.ConvTranspose2d(8, 8, 2, 2), nn.Tanh(), nn.Conv2d(8, 3, 3, padding=1)),
    "around": _Around,
}


def _pictures() -> tuple[Tensor, Tensor]:
    """Bright and dark squares of 3 × 3 on a grey ground with noise: classes 1, 2 and 0."""
    draw = torch.Generator().manual_seed(0)
    x, y = 0.2 * torch.randn(160, 1, 12, 12, generator=draw), torch.zeros(160, 12, 12, dtype=torch.long)
    for number, (a, b, c, d) in enumerate(torch.randint(0, 9, (160, 4), generator=draw).tolist()):
        for (row, column), kind in (((a, b), 1), ((c, d), 2)):
            x[number, 0, row : row + 3, column : column + 3] = 3.0 - 2 * kind
            y[number, row : row + 3, column : column + 3] = kind
    return x, y


def _alarms(path: Path, name: str, names: tuple[int, ...] = (0, 1, 2), weight: tuple[float, ...] = (1.0, 1.0, 1.0)) -> dict[str, Diagnosis]:
    torch.manual_seed(0)
    x, y = _pictures()
    model, draw = _MAKERS[name](), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with diorama.watch(model, path, probe=(x[120:], y[120:]), optimizer=optimizer, every=10) as recorder:
        for _ in range(160):
            rows = torch.randint(120, (16,), generator=draw)
            loss = F.cross_entropy(model(x[rows]), torch.tensor(names)[y[rows]], torch.tensor(weight))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.step(loss=loss.detach())
    run, sound = diorama.open(path), names == (0, 1, 2) and weight[2] == 1.0
    return {one.finding: one for step in (range(20, 170, 20) if sound else (160,)) for one in run.findings(step) if one.severity >= ALARM}


@pytest.mark.parametrize("name", list(_MAKERS))
def test_a_class_of_pixels_that_is_taken_for_another_is_found(tmp_path: Path, name: str) -> None:
    """Masks in which two classes are exchanged, and a class that counts for nothing in the loss, are told with the classes; a sound training has no
    alarm at any step, though all its pixels are answered as the ground in the beginning."""
    swapped = _alarms(tmp_path / "swapped", name, (0, 2, 1))["confused_classes"]
    assert {swapped.title} <= {"class 1 is taken for class 2", "class 2 is taken for class 1"}
    assert "pixels of class" in swapped.text
    assert "40 pictures" in swapped.sure
    left_out = _alarms(tmp_path / "left out", name, weight=(1.0, 1.0, 0.0))
    assert {"confused_classes", "unlearnt_class"} & set(left_out)
    assert "class:2" in next(one for name, one in left_out.items() if name in ("confused_classes", "unlearnt_class")).keys[0]
    assert not _alarms(tmp_path / "sound", name)


def test_what_is_recorded_of_pixels_is_what_counting_says(tmp_path: Path) -> None:
    """The confusion of all pixels and the loss of each class at the last look, counted one by one."""
    _alarms(tmp_path / "run", "around")
    run = diorama.open(tmp_path / "run")
    x, y = _pictures()
    scores = run.scene().model(x[120:]).detach()
    said, truth = scores.argmax(1), y[120:]
    rows = run.rows("classes/confusion")[1][-1].reshape(3, 3)
    assert [[int(((truth == k) & (said == other)).sum()) for other in range(3)] for k in range(3)] == rows.astype(int).tolist()
    lost = F.cross_entropy(scores, truth, reduction="none")
    assert np.allclose(run.rows("classes/loss")[1][-1], [float(lost[truth == k].mean()) for k in range(3)], rtol=1e-3, atol=1e-6)
