"""Modules to which a part of the examples comes, loops that write gradients themselves, and weights that are moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.record.findings import Diagnosis

pytestmark = pytest.mark.usefixtures("looking_at_once")
_STEPS = 120


class Experts(nn.Module):
    """Rows go to the first expert, and to the second only where their first number is above a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 6)
        self.own = nn.ModuleList(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)) for _ in range(2))
        self.bound = 1.2

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, 3) of rows (n, 6)."""
        sent, z = x[:, 0] > self.bound, self.gate(x)
        out = x.new_zeros(len(x), 3)
        for which, expert in zip((~sent, sent), self.own, strict=True):
            if which.any():
                out = out.index_put((which.nonzero()[:, 0],), expert(z[which]))
        return out


def _told(
    path: Path, model: nn.Module, step: Callable[[int, Tensor, Tensor, torch.optim.Optimizer], Tensor], *, adam: bool = True
) -> list[Diagnosis]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=generator)
    y = (x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 0.01) if adam else torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, path, probe=(x[200:], y[200:]), optimizer=optimizer, every=5) as recorder:
        for number in range(1, _STEPS + 1):
            rows = torch.randint(0, 200, (32,), generator=generator)
            recorder.step(loss=step(number, x[rows], y[rows], optimizer).detach())
    return diorama.open(path).findings()


@pytest.mark.parametrize("ends", [40, 200])
def test_an_expert_that_little_comes_to_is_neither_dead_nor_left_by_its_optimizer(tmp_path: Path, ends: int) -> None:
    """It has stopped where no gradient comes any more, and only from there on."""
    torch.manual_seed(0)
    model = Experts()

    def step(number: int, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        model.bound = 1.2 if number < ends and number % 7 else 9.0
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    found = _told(tmp_path / "run", model, step)
    assert not [one for one in found if one.finding == "dead_units" and any("own.1" in key for key in one.keys)], found
    stopped = [one for one in found if one.finding == "stopped_layer"]
    assert all("no gradient" in one.text and one.step >= min(ends, _STEPS) - 10 for one in stopped), stopped
    assert bool(stopped) == (ends < _STEPS)


@pytest.mark.parametrize("way", ["assigned", "copied", "left"])
def test_a_gradient_that_is_written_over_is_not_left_over(tmp_path: Path, way: str) -> None:
    """One that adds up is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

    def step(number: int, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        if way == "left":
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            for weight, slope in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
                if way == "assigned" or weight.grad is None:
                    weight.grad = slope
                else:
                    weight.grad.copy_(slope)
        optimizer.step()
        return loss

    found = {one.finding for one in _told(tmp_path / "run", model, step)}
    assert ("leftover_gradients" in found) == (way == "left")


def test_weights_moved_by_hand_name_no_optimizer_that_is_not_there(tmp_path: Path) -> None:
    """By hand is one of the two ways that are named."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

    def step(number: int, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight in model.parameters():
                weight.sub_(weight.grad, alpha=0.1)  # type: ignore[arg-type]
        return loss

    one, = [one for one in _told(tmp_path / "run", model, step, adam=False) if one.finding == "idle_optimizer"]
    assert "by hand" in one.text
    assert "steps an optimizer" not in one.text
