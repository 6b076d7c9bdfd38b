"""The smallest change that flips an answer, against distances that are known and the network run again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import letters
from torch import Tensor, nn

import diorama
from diorama.core.errors import Cancelled, NotApplicable, UsageError
from diorama.core.marks import Bars, Image, Lines
from diorama.core.picture import Picture, Progress
from diorama.methods.method import Look
from diorama.methods.perturbation.flip import flip
from diorama.scene import Scene


def _marks(picture: Picture, kind: type[Any]) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _rows() -> Scene:
    """A table of five columns and a linear network with four classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, x = nn.Linear(5, 4), torch.randn(12, 5)
    columns = ("age", "height", "weight", "pulse", "salt")
    return Scene(model, x, torch.arange(12) % 4, classes=("a", "b", "c", "d"), inputs=diorama.Table(columns=columns))


def _curved() -> Scene:
    """Small pictures and a network with curved borders between its classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))
        x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        model[1].weight *= 4
    return Scene(model, x, torch.arange(4) % 3)


def _distances(model: nn.Linear, x: Tensor, order: int) -> Tensor:
    """How far each other class's plane is from an input, in the norm whose dual has this order."""
    scores = model(x)
    best = int(scores.argmax())
    away = torch.linalg.vector_norm(model.weight - model.weight[best], order, dim=1)
    found = (scores[0, best] - scores[0]) / away
    return torch.cat([found[:best], found[best + 1 :]]).min()


@pytest.mark.parametrize(("norm", "dual"), [("L2", 2), ("Linf", 1)])
def test_a_linear_network_flips_at_its_nearest_plane(norm: Any, dual: int) -> None:
    """The norm that is found is the distance to the nearest plane between classes, within one percent, in both norms."""
    scene = _rows()
    model = scene.model
    assert isinstance(model, nn.Linear)
    for example in range(6):
        x = scene.examples.x[example : example + 1]
        picture = scene.view("flip", example=example, norm=norm)
        change = torch.tensor(_marks(picture, Bars)[0].values)
        size = float(torch.linalg.vector_norm(change, 2 if dual == 2 else torch.inf))
        with torch.no_grad():
            exact = float(_distances(model, x, dual))
            assert exact * (1 - 1e-4) <= size <= exact * 1.01
            assert int(model(x + change).argmax()) != int(model(x).argmax())
            assert int(model(x + 0.98 * change).argmax()) == int(model(x).argmax())
        assert picture.checks[0].value == 1


def test_a_network_that_looks_at_a_corner_is_flipped_there() -> None:
    """Only the pixels that the network looks at change, and the pictures show just that."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight.view(2, 12, 12)[1, :4, :4] = 1.0
        model[1].bias.copy_(torch.tensor([8.0, 0.0]))
    x = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.1
    x[:, :, :4, :4] += 0.6
    scene = Scene(model, x, torch.ones(4, dtype=torch.long), classes=("no", "yes"))
    picture = scene.view("flip", example=1)
    before, after, change = _marks(picture, Image)
    assert (before.title, after.title) == ("example 1: yes", "changed: no")
    assert float(np.abs(change.pixels[4:]).max()) == float(np.abs(change.pixels[:, 4:]).max()) == 0
    assert (change.pixels[:4, :4] < 0).all()
    assert change.limits.low == -change.limits.high
    assert np.array_equal(before.pixels[4:], after.pixels[4:])
    changed = torch.tensor(change.pixels)[None, None] + x[1:2]
    with torch.no_grad():
        assert int(model(changed).argmax()) == 0
    bars = _marks(picture, Bars)[0]
    assert np.allclose(bars.values, scene.probabilities(changed)[0], atol=1e-4)
    assert np.allclose(bars.reference, scene.probabilities(x[1:2])[0], atol=1e-5)
    way = _marks(picture, Lines)[0]
    assert way.series[0].y[0] == pytest.approx(float(bars.reference[1]), abs=1e-5)
    # Halfway the old answer holds, beyond the change the new one.
    assert way.series[0].y[8] > 0.5 > way.series[0].y[24]


def test_a_chosen_class_is_reached() -> None:
    """With a chosen class, or the knob, the changed input gets that answer; the own answer as a choice means any other."""
    scene = _rows()
    own = int(scene.scores(scene.examples.x[2:3]).argmax())
    for number in {0, 1, 2, 3} - {own}:
        name = scene.classes[number]
        for picture in (scene.view("flip", example=2, class_=number), scene.view("flip", example=2, to=name)):
            bars = _marks(picture, Bars)[1]
            assert bars.labels[int(np.argmax(bars.values))] == name
    free = scene.view("flip", example=2, class_=own)
    assert f"from {scene.classes[own]} into" in free.caption
    with pytest.raises(UsageError, match="already"):
        scene.view("flip", example=2, to=scene.classes[own])


def test_a_smaller_change_of_a_coloured_image_stays_in_each_channels_range() -> None:
    """Bounds are each channel's own, so that what flips is a picture."""
    kind = diorama.Image(mean=(0.1, 0.5, 0.9), std=(0.1, 0.2, 0.5), channels=3, height=6, width=6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(108, 3))
    pixels = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(part)[:, None, None] for part in (kind.mean, kind.std))
    found = flip(Look(model, x=pixels, kind=kind, task="classification"), (pixels - mean) / std, norm="Linf")
    assert bool(found.flipped.any())
    shown = found.x * std + mean
    assert float(shown.min()) >= -1e-5
    assert float(shown.max()) <= 1 + 1e-5


def test_a_network_with_one_answer_is_said_to_stay() -> None:
    """Where nothing flips, the picture shows the answer and says so, and the check is off."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([5.0, 0.0]))
    picture = Scene(model, torch.rand(3, 1, 8, 8), torch.zeros(3).long()).view("flip", steps=8)
    assert picture.caption.startswith("No change within the valid range")
    assert picture.checks[0].value == 0
    assert picture.checks[0].good is False


def test_the_search_says_its_steps_refines_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost comes first, changes found so far only shrink, and cancelling ends it."""
    monkeypatch.setattr("diorama.scene.stream.PACE", 0.0)
    monkeypatch.setattr("diorama.scene.stream.SHARE", 0.0)
    told: list[Progress] = []
    scene = _curved()
    pictures = list(scene.stream("flip", steps=30, progress=told.append))
    assert told[0].note.startswith("30 steps, about")
    assert told[-1].done == told[-1].total == 30
    sizes = [float(np.linalg.norm(_marks(picture, Image)[2].pixels)) for picture in pictures]
    assert len(sizes) > 2
    assert sizes[-1] <= sizes[0]
    assert [picture.final for picture in pictures] == [False] * (len(pictures) - 1) + [True]
    with pytest.raises(Cancelled):
        list(scene.stream("flip", cancel=lambda: True))


def test_words_and_numbers_are_sent_elsewhere() -> None:
    """A text has no neighbour to go to, and a regression has no answer to flip."""
    with pytest.raises(NotApplicable, match="flips"):
        letters().view("flip")
    words = nn.Sequential(nn.Embedding(8, 4), nn.Flatten(), nn.Linear(20, 2))
    x = torch.randint(0, 8, (6, 5), generator=torch.Generator().manual_seed(1))
    with pytest.raises(NotApplicable, match="view words"):
        Scene(words, x, torch.arange(6) % 2, inputs=diorama.Tokens(vocabulary=tuple("abcdefgh"))).view("flip")
    with pytest.raises(NotApplicable, match="attribution"):
        Scene(nn.Linear(3, 1), torch.rand(6, 3), torch.rand(6, 1), task="regression").view("flip")
