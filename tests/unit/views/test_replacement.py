"""Images rebuilt from the patches of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.core.errors import NotApplicable
from diorama.core.marks import Image, Tiles
from diorama.core.picture import Picture
from diorama.data import kinds
from diorama.scene import Scene
from diorama.scene import scene as scenes
from diorama.views import crops
from diorama.views.unit._patchwork import PlaceGrid


def _net() -> nn.Module:
    """Each place sees its own four by four pixels, and tells all of them apart."""
    model = nn.Sequential(nn.Conv2d(1, 16, 4, stride=4, bias=False), nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        square = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))
        model[0].weight.copy_(torch.linalg.qr(square)[0].reshape(16, 1, 4, 4))
    return model


def _pictures(count: int) -> Tensor:
    """Noise; the first picture is made of four patches of the next ones, each at another place."""
    x = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(4)).float() / 255
    for place in range(4):
        row, column = 4 * (place // 2), 4 * (place % 2)
        other = (place + 1) % 4
        top, left = 4 * (other // 2), 4 * (other % 2)
        x[0, :, row : row + 4, column : column + 4] = x[3 + place, :, top : top + 4, left : left + 4]
    return x


def _scene(count: int = 30) -> Scene:
    return Scene(_net(), _pictures(count), torch.arange(count) % 2, inputs=kinds.Image(range=(0, 1)))


def _image(picture: Picture, title: str) -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, Image) and mark.title.startswith(title))


def test_an_image_of_others_patches_is_rebuilt_exactly() -> None:
    """Where every patch lies in some other picture, they are found, and put together they are the image."""
    scene = _scene()
    picture = scene.view("replacement", layer="0", example=0, size=4)
    np.testing.assert_array_equal(_image(picture, "rebuilt").pixels, scene.examples.shown([0])[0])
    checks = {check.name: check.value for check in picture.checks}
    assert checks["pixels"] == 0
    assert checks["alike"] == pytest.approx(1, abs=1e-5)
    assert checks["by chance"] < 0.95
    near = next(mark for mark in picture.marks() if isinstance(mark, Tiles))
    assert near.keys[0] == "example:6"
    assert (near.boxes[0].x, near.boxes[0].y, near.boxes[0].width) == (0, 0, 4)


@pytest.mark.parametrize("k", [1, 4])
def test_the_patches_are_those_of_a_plain_search(k: int) -> None:
    """Each place holds the mean of the k patches of other examples whose features have the largest cosine."""
    scene = _scene()
    pixels = scene.examples.shown().astype(float)
    with torch.no_grad():
        codes = scene.model[0](scene.examples.x).flatten(2).transpose(1, 2)  # type: ignore[index,operator]
    wanted = np.zeros((8, 8))
    for place in range(4):
        found = []
        for other in range(30):
            for at in range(4):
                alike = torch.cosine_similarity(codes[5, place], codes[other, at], dim=0)
                if other != 5:
                    found.append((-float(alike), other, at))
        cut = [
            pixels[other, 4 * (at // 2) : 4 * (at // 2) + 4, 4 * (at % 2) : 4 * (at % 2) + 4]
            for _, other, at in sorted(found)[:k]
        ]
        row, column = 4 * (place // 2), 4 * (place % 2)
        wanted[row : row + 4, column : column + 4] = np.mean(cut, 0)
    made = _image(scene.view("replacement", layer="0", example=5, size=4, k=k), "rebuilt").pixels
    np.testing.assert_allclose(made, wanted, atol=1)


def test_many_examples_go_through_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the live examples an index finds the same patches, is built once, and says what share it finds."""
    monkeypatch.setattr(scenes, "LIVE", 3)
    scene = _scene(60)
    told: list[str] = []
    (*_, picture) = scene.stream(
        "replacement", layer="0", example=0, size=4, examples=60, progress=lambda progress: told.append(progress.note)
    )
    np.testing.assert_array_equal(_image(picture, "rebuilt").pixels, scene.examples.shown([0])[0])
    assert {check.name: check.value for check in picture.checks}["found"] > 90
    assert any("index" in note for note in told)
    told.clear()
    list(scene.stream("replacement", layer="0", example=1, examples=60, progress=lambda each: told.append(each.note)))
    assert not told


def test_a_drawn_image_is_rebuilt_too() -> None:
    """An input that is not in the probe set is rebuilt from all of it."""
    scene = _scene()
    picture = scene.with_input(scene.examples.x[7:8]).view("replacement", layer="0", size=4)
    near = next(mark for mark in picture.marks() if isinstance(mark, Tiles))
    assert near.keys[0] == "example:7"
    assert "30 other examples" in picture.caption


def test_too_few_patches_are_said() -> None:
    """With one other picture of four patches, nine patches a place cannot be had, and the way out is told."""
    with pytest.raises(NotApplicable, match="smaller k"):
        _scene(8).view("replacement", layer="0", example=0, k=9, examples=2)


def test_a_layer_without_places_is_refused() -> None:
    """A dense layer keeps no places of the picture."""
    with pytest.raises(NotApplicable, match="maps"):
        _scene().view("replacement", layer="2")


def test_a_net_without_padding_leaves_no_border() -> None:
    """Where no patch lies stands what the outermost places see; where they see nothing, grey; never black that is in no picture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Conv2d(6, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 8 * 8, 2))
    x = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(1)) / 2 + 0.5
    scene = Scene(model, x, torch.arange(20) % 2, inputs=kinds.Image(range=(0, 1)))
    for size in (None, 2, 9):
        rebuilt = _image(scene.view("replacement", layer="2", example=0, size=size), "rebuilt").pixels
        assert rebuilt.min() >= 127
    plain = _image(scene.view("replacement", layer="2", example=0, size=2), "rebuilt").pixels
    assert not (plain[0] == crops.GREY).all()
    field = crops.field_of(scene, scene.layers["2"])
    assert field is not None
    assert PlaceGrid(field, (8, 8), None).side == 4
    assert PlaceGrid(field, (8, 8), 2).side == 2
