"""Trainings of which little can be told: every view of the room is a picture or a sentence that is so, and no finding is false."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.core.registry import views
from diorama.record.findings import ALARM
from diorama.run import Run

ROOM = sorted(name for name, view in views.items() if view.__module__.startswith("diorama.views.training."))
"""The views of the room "How is it learning?"."""


def _net(classes: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, classes))


def _examples(classes: int = 4) -> tuple[Tensor, Tensor]:
    x = torch.randn(400, 10)
    return x, (x @ torch.randn(10, classes)).argmax(1)


def _trained(path: Path, steps: int, classes: int = 4, *, lacks: str = "", broken_at: int = 0) -> list[Path]:
    """A table network's training, without what it ``lacks``; its weights become NaN after a step by hand."""
    torch.manual_seed(0)
    model, (x, y) = _net(classes), _examples(classes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    probe = None if lacks == "probe" else x[:128] if lacks == "labels" else (x[:128], y[:128])
    with diorama.watch(model, path / "run", probe=probe, optimizer=None if lacks == "optimizer" else optimizer, every=5) as recorder:
        for step in range(1, steps + 1):
            rows = torch.randint(128, 400, (64,))
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == broken_at:
                with torch.no_grad():
                    model[0].weight.fill_(float("nan"))
            recorder.step(loss=loss)
    return [path / "run"]


def _gan(path: Path) -> list[Path]:
    """Two networks that train against one another, each with a recorder."""
    torch.manual_seed(0)
    made, judge = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)), nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    first, second = (torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.9)) for net in (made, judge))
    judged = nn.functional.binary_cross_entropy_with_logits
    codes, real = torch.randn(128, 4), torch.randn(128, 2) * 0.3 + 1
    pairs = torch.cat([real, made(codes).detach()])
    with (
        diorama.watch(made, path / "made", probe=codes, optimizer=first, every=10) as one,
        diorama.watch(judge, path / "judge", probe=pairs, optimizer=second, every=10) as other,
    ):
        for _ in range(200):
            fake = made(torch.randn(64, 4))
            loss = judged(judge(torch.randn(64, 2) * 0.3 + 1), torch.ones(64, 1)) + judged(judge(fake.detach()), torch.zeros(64, 1))
            second.zero_grad()
            loss.backward()
            second.step()
            other.step(loss=loss)
            loss = judged(judge(fake), torch.ones(64, 1))
            first.zero_grad()
            loss.backward()
            first.step()
            one.step(loss=loss)
    return [path / "made", path / "judge"]


SPECIAL: dict[str, Callable[[Path], list[Path]]] = {
    "no step": lambda path: _trained(path, 0),
    "one step": lambda path: _trained(path, 1),
    "no probe set": lambda path: _trained(path, 60, lacks="probe"),
    "no labels": lambda path: _trained(path, 60, lacks="labels"),
    "no optimizer": lambda path: _trained(path, 60, lacks="optimizer"),
    "a thousand classes": lambda path: _trained(path, 40, 1000),
    "two recorders": _gan,
}


def _said(run: Run, name: str) -> str:
    """The caption of a view at the run's end, or the sentence that says why there is none; a warning from beneath fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            picture = run.scene().view(name)
        except DioramaError as error:
            return str(error)
        picture.to_bytes()
        return picture.caption


@pytest.mark.parametrize("special", SPECIAL)
def test_a_training_of_which_little_is_known_is_a_picture_or_a_sentence(tmp_path: Path, special: str) -> None:
    """No view fails or lets a library warn, each says something, and nothing is an alarm: these trainings have no fault."""
    for path in SPECIAL[special](tmp_path):
        run = diorama.open(path)
        said = {name: _said(run, name) for name in ROOM}
        assert all(said.values())
        assert not [text for text in said.values() if "nan" in text.split()]
        assert not [found for found in run.findings() if found.severity >= ALARM]


def test_weights_that_are_no_numbers_are_said_to_be(tmp_path: Path) -> None:
    """What lives on numbers says that there are none, and none takes them for dead units, other answers or places that are gone."""
    run = diorama.open(_trained(tmp_path, 40, broken_at=20)[0])
    said = {name: _said(run, name) for name in ROOM}
    assert all(said.values())
    assert not [text for text in said.values() if "nan" in text.replace(",", " ").split()]
    assert "which units are dead is not told" in said["activations"]
    assert "128 examples have no answer here" in said["compare"]
    assert "the weights are not numbers" in said["weight_series"]
    assert "NaN on the probe set" in said["curves"]
    assert {found.finding for found in run.findings() if found.severity >= ALARM} == {"not_finite"}
