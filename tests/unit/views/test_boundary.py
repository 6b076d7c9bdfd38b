"""Planes through inputs of many numbers: where they lie, what is measured of them, and what the picture says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Field, Group
from diorama.core.picture import Picture
from diorama.derive.planes import Components, apart, flat_inputs
from diorama.scene import Scene
from diorama.views.training._planes import LearntPlane, looked_up, of_components, through


def _scene(weak: bool = True) -> Scene:
    """Six heaps of small pictures told apart by a linear network: by a weak direction each, beside a strong one that says nothing."""
    dice = torch.Generator().manual_seed(0)
    y = torch.arange(96) % 6
    x = 0.05 * torch.randn(96, 16, generator=dice)
    x[torch.arange(96), y] += 1
    if weak:
        x[:, 10:13] += 3 * torch.randn(96, 3, generator=dice)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[:, :6] = 8 * torch.eye(6)
        model[1].bias.zero_()
    return Scene(model, x.reshape(96, 1, 4, 4), y)


def _field(picture: Picture) -> Field:
    body = picture.body
    found = body.children[0] if isinstance(body, Group) else body
    assert isinstance(found, Field)
    return found


def test_components_are_those_of_scikit_learn() -> None:
    """Principal components span what scikit-learn's do, in its order, and coordinates lead back to the rows."""
    rows = torch.randn(20, 7, generator=torch.Generator().manual_seed(1)) @ torch.diag(torch.arange(1.0, 8))
    found, wanted = Components.of(rows), PCA().fit(rows.numpy())
    assert np.allclose(np.abs(found.axes.numpy() @ wanted.components_.T), np.eye(7), atol=1e-4)
    assert torch.allclose(found.inputs(found.coordinates(rows)), rows, atol=1e-4)
    alike = Components.of(torch.ones(4, 5), 2)
    assert torch.allclose(alike.axes @ alike.axes.T, torch.eye(2), atol=1e-6)


def test_a_plane_that_keeps_few_answers_is_faded_and_says_why() -> None:
    """The share of kept answers is counted by hand; below a half the plane is pale and the caption says so, above it is neither."""
    scene = _scene()
    picture = scene.view("boundary", resolution=9)
    flat = flat_inputs(scene).numpy()
    two = PCA(2).fit(flat)
    again = torch.tensor(two.inverse_transform(two.transform(flat))).float().reshape(-1, 1, 4, 4)
    share = float((scene.model(again).argmax(1) == scene.model(scene.live.x).argmax(1)).double().mean())
    assert {check.name: check.value for check in picture.checks}["answers kept"] == pytest.approx(share)
    assert share < 0.5
    assert _field(picture).faded
    assert "It is faded" in picture.caption
    strong = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        strong[1].weight.copy_(torch.tensor(two.components_))
    clear = Scene(strong, scene.live.x, scene.live.y % 2).view("boundary", plane="components", resolution=9)
    assert not _field(clear).faded
    assert "faded" not in clear.caption


def test_a_plane_through_three_examples_holds_them() -> None:
    """Each of the three lies on its plane as it is, others do not; those named, chosen or of three classes are taken."""
    scene = _scene()
    plane = through(scene, (3, 14, 20), 0.1)
    assert torch.allclose(plane.inputs(torch.tensor(plane.points())), scene.live.x[[3, 14, 20]], atol=1e-5)
    chosen = scene.view("boundary", select=["example:7", "example:9"], plane="examples", resolution=9)
    assert set(chosen.idle) == {"x", "y", "steps", "seed"}
    assert _field(chosen).point_keys[:2] == ("example:7", "example:9")
    assert len(_field(chosen).point_keys) == 3
    with pytest.raises(UsageError, match="three examples"):
        scene.view("boundary", plane="examples", through="3+3+4")
    with pytest.raises(UsageError, match="same or lie on one line"):
        through(Scene(scene.model, scene.live.x[[0, 0, 1]], scene.live.y[:3]), (0, 1, 2), 0.1)


def test_a_learnt_plane_keeps_the_answers_that_components_lose() -> None:
    """The learnt map keeps four of five answers of examples it never saw, as asked of the network by hand, and places lead to those inputs."""
    scene = _scene()
    value = scene.derive("input_map", steps=80).value
    plane = LearntPlane(scene, value, 0.1)
    back = plane.inputs(torch.tensor(plane.points()))
    held = torch.arange(96) % 4 == 3
    same = scene.model(back).argmax(1) == scene.model(scene.live.x).argmax(1)
    assert value["kept"] == pytest.approx(float(same[held].double().mean())) == plane.kept
    assert value["kept_seen"] == pytest.approx(float(same[~held].double().mean()))
    assert value["kept"] >= 0.8 > 0.5 > (of_components(scene, 0.1).kept or 0)


def test_distance_is_measured_against_the_examples_own() -> None:
    """Places on the examples lie at 0, places as far as examples from each other at 1."""
    examples = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert apart(examples, examples) == 0
    assert apart(examples + torch.tensor([0.0, 1.0]), examples) == pytest.approx(1)


def test_numbers_are_kept_by_their_variance() -> None:
    """Of a regression the share of the answers' variance is told: all of it where the answer lies in the plane."""
    scene = _scene()
    two = Components.of(flat_inputs(scene), 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    with torch.no_grad():
        model[1].weight.copy_(two.axes[:1])
    told = Scene(model, scene.live.x, model(scene.live.x).detach()[:, 0], task="regression")
    assert of_components(told, 0.1).kept == pytest.approx(1, abs=1e-4)


def test_inputs_between_which_none_lie_have_no_plane() -> None:
    """Tokens are refused in a sentence, and columns where there are none."""
    letters = Scene(nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2)), torch.randint(0, 5, (8, 4)), torch.arange(8) % 2)
    with pytest.raises(NotApplicable, match="no others lie"):
        letters.view("boundary")
    with pytest.raises(NotApplicable, match="have no columns"):
        _scene().view("boundary", plane="columns")
    with pytest.raises(NotApplicable, match="plain function"):
        diorama.Scene(lambda x: x.flatten(1)[:, :2], torch.rand(9, 1, 3, 3), torch.arange(9) % 2).view("boundary", plane="learnt")


def test_a_plane_without_answers_says_so() -> None:
    """Where no score is a number there is no answered class to speak of; where some are none their share is told."""
    scene = _scene()
    with torch.no_grad():
        scene.model[1].weight.fill_(float("nan"))
    picture = scene.view("boundary", resolution=9)
    assert picture.caption.startswith("No place has an answer, as the scores are not numbers. ")
    assert "Colour is the answered class" not in picture.caption
    assert "has an answer" not in _scene().view("boundary", resolution=9).caption


class _Ranked(nn.Module):
    """Two columns of numbers that are looked up, and some that are not."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.shop, self.brand, self.last = nn.Embedding(4, 3), nn.Embedding(7, 3), nn.Linear(6 + columns - 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.shop(x[:, 0].long()), self.brand(x[:, 1].long()), x[:, 2:]], 1))


@pytest.mark.parametrize("columns", [3, 5])
def test_columns_that_are_looked_up_span_no_plane(columns: int) -> None:
    """Of a table with numbers of shops and brands the plane is that of columns between whose numbers others lie, counts among them; who asks for
    another is told which columns there are, and nothing is looked up out of range."""
    dice = torch.Generator().manual_seed(0)
    x = torch.cat([
        torch.randint(4, (40, 1), generator=dice), torch.randint(7, (40, 1), generator=dice), torch.randint(9, (40, 1), generator=dice),
        torch.randn(40, columns - 3, generator=dice),
    ], 1).float()
    names = ["shop", "brand", "count", "price", "age"][:columns]
    scene = Scene(_Ranked(columns), x, x[:, 2:3], inputs=diorama.Table(columns=names))
    assert looked_up(scene) == [0, 1]
    with torch.no_grad():
        scene.model.last.weight.zero_()  # then no column is used, and those of numbers are still no others
    assert looked_up(Scene(scene.model, x, x[:, 2:3], inputs=diorama.Table(columns=names))) == [0, 1]
    for knobs in ({"x": "brand"}, {"y": "shop"}, {"plane": "components"}, {"plane": "examples"}, *([{}] if columns == 3 else [])):
        with pytest.raises(NotApplicable, match="shop and brand are looked up by whole numbers"):
            scene.view("boundary", **knobs)
    if columns > 3:
        for knobs, titles in (({}, ("count", "price")), ({"x": "age"}, ("age", "count")), ({"y": "count"}, ("price", "count"))):
            field = _field(scene.view("boundary", resolution=8, **knobs))
            assert (field.x_title, field.y_title) == titles
