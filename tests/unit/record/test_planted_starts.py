"""Faults of how a training begins and steps, planted in three networks each, are found; their healthy twin raises no alarm."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis


class Swinging(nn.Module):
    """A recurrence over the rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.RNN(4, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes."""
        return self.out(self.first(x)[0][:, -1])


def _dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4))


def _convolutional() -> nn.Module:
    parts = nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh()
    return nn.Sequential(nn.Unflatten(1, (1, 4)), *parts, nn.Flatten(), nn.Linear(96, 4))


MAKERS: dict[str, Callable[[], nn.Module]] = {"dense": _dense, "convolutional": _convolutional, "recurrent": Swinging}


def _found(path: Path, model: nn.Module, rate: float = 0.1, steps: int = 40, scale: float = 0.0) -> dict[str, Diagnosis]:
    """Train on which of four quarters of a table is the largest; ``scale``: by a gradient scaler, and a loss so many times as large."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 4, 4, generator=generator)
    y = torch.stack([x[:, :2, :2], x[:, :2, 2:], x[:, 2:, :2], x[:, 2:, 2:]], 1).mean((2, 3)).argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=bool(scale))
    with diorama.watch(model, path, probe=(x[128:], y[128:]), optimizer=optimizer, every=10, state=[scaler] if scale else []) as recorder:
        for _ in range(steps):
            loss = F.cross_entropy(model(x[:128]), y[:128])
            optimizer.zero_grad()
            scaler.scale(max(1.0, scale) * loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss=loss.detach())
    return {one.finding: one for one in diorama.open(path).findings() if one.severity >= ALARM}


@pytest.mark.parametrize("name", list(MAKERS))
def test_how_a_training_begins_and_steps_is_found(tmp_path: Path, name: str) -> None:
    """A rate that throws the weights about (where what is squashed keeps all numbers finite), first weights that are far too large, and gradients
    that are finite at no scale are told, each with its place; none of them in the same training without."""

    def made() -> nn.Module:
        torch.manual_seed(0)
        return MAKERS[name]()

    last = [path for path, layer in made().named_modules() if isinstance(layer, nn.Linear)][-1]
    thrown = _found(tmp_path / "thrown", made(), 100.0)["exploding_updates"]
    assert thrown.keys[0] == f"layer:{last}"
    assert thrown.action is not None
    assert thrown.action[1]["factor"] < 0.1
    large = made()
    with torch.no_grad():
        for weight in large.parameters():
            weight.mul_(80.0 if weight.ndim > 1 else 1.0)
    begun = _found(tmp_path / "large", large, 1e-3, 20)["large_first_weights"]
    assert f"layer:{last}" in begun.keys  # noqa: SIM118 - the finding's keys
    assert "gradient_overflow" in _found(tmp_path / "over", made(), scale=math.inf)
    assert not _found(tmp_path / "usual", made(), scale=1.0)


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_loop_without_a_step_of_its_optimizer_is_found(tmp_path: Path, name: str) -> None:
    """Backward passes run, no optimizer steps: told with what to call. Not where gradients are added up and it steps now and then, however seldom;
    while they are added up and it has not stepped yet, it is said and is no alarm, for it may come."""
    torch.manual_seed(0)
    x, y = torch.randn(32, 4, 4), torch.arange(32) % 4
    for often, told in ((0, {"stopped_layer"}), (50, set()), (230, {"stopped_layer"})):
        model = MAKERS[name]()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        with diorama.watch(model, tmp_path / str(often), probe=(x, y), optimizer=optimizer, every=20) as recorder:
            for step in range(220):
                if not often:
                    optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()  # type: ignore[no-untyped-call]
                if often and step % often == often - 1:
                    optimizer.step()
                    optimizer.zero_grad()
                recorder.step(loss=loss.detach())
        run = diorama.open(tmp_path / str(often))
        found = [one for one in run.findings() if one.finding == "stopped_layer"]
        assert {one.finding for one in found} == told
        assert not any(one.finding == "stopped_layer" for one in run.findings(100))  # so many are added up by some
        for one in found:
            assert (one.severity >= ALARM) == (not often)
            assert one.title == ("No step in 220 steps of the loop" if often else "No weight moves")
            assert "no step of the optimizer was seen" in one.text
            assert "optimizer.step()" in one.helps
