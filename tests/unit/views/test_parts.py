"""The picture decomposed: attributions that sum to the score, groups as scikit-learn finds them, and planted parts that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from sklearn.decomposition import NMF
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Group, Image, Tiles
from diorama.scene import Scene
from diorama.views.relate.parts import _binned


def _scene() -> Scene:
    """Four shapes in the quarters of a picture, and a net with units for two of them."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.zeros(2, 4, 4)
    shapes[0, 1:3], shapes[1, :, 1:3] = 1, 1
    x = torch.zeros(24, 1, 8, 8)
    which = torch.randint(0, 2, (24, 2, 2), generator=generator)
    for n in range(24):
        for r in range(2):
            for c in range(2):
                x[n, 0, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = shapes[which[n, r, c]]
    x = x + 0.02 * torch.rand(x.shape, generator=generator)
    conv = nn.Conv2d(1, 2, 4, stride=4)
    with torch.no_grad():
        conv.weight[0, 0], conv.weight[1, 0] = 2 * shapes[0] - shapes.sum(0), 2 * shapes[1] - shapes.sum(0)
        conv.bias.zero_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    y = which[:, 0, 0]
    return Scene(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), *head), x, y, inputs=diorama.Image(range=(0, 1)))


def test_attributions_sum_to_the_score_and_are_those_of_captum() -> None:
    """What places add sums to the score less that of a silent layer, unit by unit as Captum's integrated gradients from zero."""
    scene = _scene()
    value = scene.derive("parts", layer="0", example=3, answer=2).value
    assert value["attribution"].sum() == pytest.approx(value["score"] - value["without"], abs=1e-3)
    tail = scene.model[2:]
    h = scene.model[:2](scene.live.x[3:4]).detach()
    wanted = IntegratedGradients(tail).attribute(h, torch.zeros_like(h), target=2, n_steps=400)[0].numpy()
    np.testing.assert_allclose(value["attribution"], wanted, atol=1e-3)
    np.testing.assert_allclose(value["values"], h[0].numpy(), atol=1e-6)
    rest = np.einsum("ghw,gu->uhw", value["weights"], value["groups"])
    np.testing.assert_allclose(rest, value["values"], atol=1e-2 * value["values"].max())
    assert value["added"].sum() == pytest.approx(value["attribution"].sum(), abs=0.02)


def test_groups_are_those_of_scikit_learn() -> None:
    """A layer of many units in few groups leaves as much over as scikit-learn's factors of the same rows, and none is negative."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 9, 3), nn.ReLU(), nn.Flatten(), nn.Linear(324, 3))
    scene = Scene(net, torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(6) % 3)
    value = scene.derive("parts", layer="0", groups=3).value
    rows = value["values"].reshape(9, -1).T
    made = NMF(3, init="nndsvda", random_state=0, max_iter=400)
    weights = made.fit_transform(rows / rows.max())
    left = np.linalg.norm(rows / rows.max() - weights @ made.components_) / np.linalg.norm(rows / rows.max())
    assert value["left"] == pytest.approx(left, abs=1e-3)
    assert (value["weights"] >= 0).all()
    assert (value["groups"] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(value["groups"], axis=1), 1)


def test_places_are_shown_by_what_drives_them() -> None:
    """Where a shape was planted, a part of another example with the same shape is shown, and its cosine is near one."""
    scene = _scene()
    picture = scene.view("parts", example=5)
    mosaic = [mark for mark in picture.marks() if isinstance(mark, Image)][1]
    assert mosaic.patches == (2, 2)
    units = scene.activations("0", scene.live.x[5:6])["0"][0].argmax(0).reshape(-1).tolist()
    assert mosaic.patch_keys == tuple(f"unit:0/{unit}" for unit in units)
    for place, unit in enumerate(units):
        cell = mosaic.pixels[place // 2 * 40 : place // 2 * 40 + 40, place % 2 * 40 : place % 2 * 40 + 40, 0].astype(float)
        across, along = cell[19:21, 4:36].mean(), cell[4:36, 19:21].mean()
        assert (across > along) == (unit == 0)
    checks = {check.name: check for check in picture.checks}
    assert checks["cosine"].value > 0.95
    assert checks["cosine"].good
    assert checks["sum of attribution"].value < 0.01
    groups = [mark for mark in picture.marks() if isinstance(mark, Tiles)]
    assert [mark.title for mark in groups] == ["Groups of layer 0"]
    assert isinstance(picture.body, Group)


def test_pictures_form_where_they_are_made() -> None:
    """A picture made from noise drives its place's units in the place's own proportion, more nearly than noise does."""
    picture = _scene().view("parts", example=5, made="synthesis", sized="attribution", steps=40)
    (cosine,) = [check for check in picture.checks if check.name == "cosine"]
    assert cosine.good
    assert "made from noise in 40 steps" in picture.caption


def test_lesions_are_in_the_parts() -> None:
    """A silenced unit neither answers nor adds anything, and the sum still holds; a layer without maps is refused in a sentence."""
    scene = _scene().edit("unit:0/1", lesion=True)
    value = scene.derive("parts", layer="0", example=3).value
    assert not value["values"][1].any()
    assert value["attribution"].sum() == pytest.approx(value["score"] - value["without"], abs=1e-3)
    with pytest.raises(NotApplicable, match="flat maps"):
        scene.view("parts", layer="3")


def test_finer_maps_count_each_place_once() -> None:
    """Of maps that are larger than can be shown, sums over neighbours keep their total, and means lie between their values."""
    maps = np.random.default_rng(0).normal(size=(2, 11, 7))
    sums, means = _binned(maps, 4, mean=False), _binned(maps, 4, mean=True)
    assert sums.shape == means.shape == (2, 4, 4)
    np.testing.assert_allclose(sums.sum((1, 2)), maps.sum((1, 2)))
    np.testing.assert_allclose(means[0, 0, 0], maps[0, :2, :1].mean())
