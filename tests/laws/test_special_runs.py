"""Trainings that lack what others have: each view of the room *Training* draws a picture or says a sentence, and no finding alarms falsely."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.run import Run
from diorama.scene import Scene
from diorama.views.training import ROOM

STEPS = 12
REFUSED = "refused: "
VIEWS = sorted({place.view for part in (ROOM, *ROOM.openings) for place in part.training})
"""What stands in the room while a training is looked at."""


def _net(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, outputs))


def _data(classes: int = 3) -> tuple[Tensor, Tensor]:
    x = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long() if classes == 3 else torch.arange(48) % classes


def _train(path: Path, net: nn.Module, x: Tensor, y: Tensor, steps: int = STEPS, bad: int | None = None, **told: Any) -> None:
    optimizer = told.pop("optimizer", None) or torch.optim.SGD(net.parameters(), 0.1)
    given = {"probe": (x, y), "optimizer": optimizer, "every": 2, "snapshots": 4, **told}
    with diorama.watch(net, path, **{name: value for name, value in given.items() if value is not None}) as recorder:
        for step in range(steps):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == bad:
                with torch.no_grad():
                    next(net.parameters()).fill_(float("nan"))
            recorder.step(loss=loss)


def _adversaries(path: Path) -> None:
    """A generator and what judges it, each with a recorder of its own."""
    torch.manual_seed(0)
    maker, judge = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6)), _net(1)
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in (maker, judge)]
    real, noise = _data()[0], torch.randn(48, 2, generator=torch.Generator().manual_seed(2))
    says = nn.functional.binary_cross_entropy_with_logits
    with (
        diorama.watch(maker, path, probe=noise, optimizer=optimizers[0], every=2, snapshots=4) as first,
        diorama.watch(judge, path.with_name("judge"), probe=real, optimizer=optimizers[1], every=2, snapshots=4) as second,
    ):
        for _ in range(STEPS):
            made = maker(noise)
            judged = says(judge(real), torch.ones(48, 1)) + says(judge(made.detach()), torch.zeros(48, 1))
            optimizers[1].zero_grad()
            judged.backward()
            optimizers[1].step()
            second.step(loss=judged)
            fooled = says(judge(made), torch.ones(48, 1))
            optimizers[0].zero_grad()
            fooled.backward()
            optimizers[0].step()
            first.step(loss=fooled)


def _made(kind: str, path: Path) -> None:
    x, y = _data()
    if kind == "adversaries":
        return _adversaries(path)
    told: dict[str, dict[str, Any]] = {
        "numbers that are none": {"bad": 5}, "one step": {"steps": 1}, "no probe set": {"probe": None}, "no labels": {"probe": x},
        "no optimizer": {"optimizer": None},
    }
    if kind == "thousand classes":
        return _train(path, _net(1000), x, torch.arange(48) % 1000)
    if kind == "no optimizer":
        net = _net()
        with diorama.watch(net, path, probe=(x, y), every=2, snapshots=4) as recorder:
            for _ in range(STEPS):
                loss = nn.functional.cross_entropy(net(x), y)
                for parameter, slope in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
                    parameter.data -= 0.1 * slope
                recorder.step(loss=loss)
        return None
    return _train(path, _net(), x, y, **told[kind])


KINDS = ("numbers that are none", "one step", "no probe set", "no labels", "no optimizer", "thousand classes", "adversaries")


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A run of a kind, recorded once."""
    folder = tmp_path_factory.mktemp("special")

    @functools.cache
    def run(kind: str) -> Run:
        path = folder / kind.replace(" ", "_")
        _made(kind, path)
        return diorama.open(path)

    return run


def _said(scene: Scene, name: str) -> str:
    """The caption of a view's last picture, or why there is none."""
    try:
        return scene.view(name).caption
    except DioramaError as error:
        return f"{REFUSED}{error}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_view_of_the_room_draws_or_says_why_not(kind: str, special: Any) -> None:
    """Each view gives a last picture with a caption, or an error that says why not; none fails."""
    scene = special(kind).scene()
    drawn = 0
    for name in VIEWS:
        said = _said(scene, name)
        assert said.strip(), name
        drawn += not said.startswith(REFUSED)
        assert "fault of diorama" not in said, f"{name}: {said}"
    assert drawn > 8


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_alarms_that_is_not_so(kind: str, special: Any) -> None:
    """Numbers that are none are told as such, and no other kind of training here has a fault."""
    alarms = {found.finding for found in special(kind).findings() if found.severity >= 0.5}
    assert alarms == ({"not_finite"} if kind == "numbers that are none" else set())
