"""Faces against other pictures: a network trained in seconds has a unit that sees faces, and the live scan finds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor, nn

import diorama
from diorama.core.marks import Image, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene

SIDE, CANVAS = 25, 36
LAYER = "4"
CORNERS = ((0, 0), (0, 11), (11, 0), (11, 11))


class _Largest(nn.Module):
    """Each map's largest value."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3))


def _net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.Conv2d(16, 8, 5), nn.ReLU(),
        _Largest(), nn.Linear(8, 2),
    )


def _canvas(picture: NDArray[np.floating], other: NDArray[np.floating], at: tuple[int, int]) -> NDArray[np.float32]:
    """A picture somewhere on a canvas that is filled with four copies of another one."""
    whole = np.tile(other, (2, 2))[:CANVAS, :CANVAS].astype(np.float32)
    whole[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE] = picture
    return whole


def _canvases(pictures: NDArray[np.floating], others: NDArray[np.floating], count: int, seed: int) -> Tensor:
    dice = np.random.default_rng(seed)
    made = [
        _canvas(pictures[k % len(pictures)], others[dice.integers(len(others))], tuple(dice.integers(0, CANVAS - SIDE, 2)))
        for k in range(count)
    ]
    return torch.from_numpy(np.stack(made))[:, None]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A network trained on 80 faces and 80 other pictures, in a scene of those that it has not seen."""
    pictures = data.lfw_subset()
    faces, others = pictures[:100], pictures[100:]
    x = torch.cat([_canvases(faces[:80], others[:80], 160, 0), _canvases(others[:80], others[:80], 160, 1)]) - 0.5
    y = 1 - torch.arange(320) // 160
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _net()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(15):
            for part in torch.randperm(320).split(16):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
    held = torch.cat([_canvases(faces[80:], others[80:], 40, 2), _canvases(others[80:], others[80:], 40, 3)]) - 0.5
    kind = diorama.Image(range=(0, 1), mean=0.5)
    return Scene(model.eval(), held, 1 - torch.arange(80) // 40, classes=("no face", "face"), inputs=kind)


def _of(picture: Picture, kind: type, start: str = "") -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, kind) and mark.title.startswith(start))


def _face_units(scene: Scene) -> set[str]:
    """The units that nine of ten faces drive higher than other pictures do."""
    table = scene.view("selectivity", select=["class:1", "class:0"], layer=LAYER).marks()
    rows = next(mark for mark in table if mark.title.startswith("The units that tell"))
    apart = next(column for column in rows.columns if column.name == "apart").numbers
    return {key for key, share in zip(rows.row_keys, apart, strict=True) if share > 0.9}


def _seen(face: int, at: tuple[int, int]) -> Tensor:
    pictures = data.lfw_subset()
    return torch.from_numpy(_canvas(pictures[80 + face], pictures[180 + face], at))[None] - 0.5


def test_a_network_trained_in_seconds_knows_faces_it_has_not_seen(scene: Scene) -> None:
    """Eight of ten held-out pictures at least are answered rightly, and some but not all of its units are face units."""
    right = (scene.predictions() == scene.examples.y).float().mean()
    assert float(right) > 0.8
    assert 0 < len(_face_units(scene)) < 8


def test_the_live_scan_puts_the_face_unit_first(scene: Scene) -> None:
    """Whichever held-out face is shown, wherever it lies, a face unit comes first in nearly all pictures."""
    faces, first = _face_units(scene), []
    for face in range(0, 20, 3):
        for at in CORNERS:
            grid = _of(scene.with_input(_seen(face, at)).view("scan", layer=LAYER, sort="response"), Tiles)
            first.append(grid.keys[0] in faces)
    assert np.mean(first) > 0.8
    unlike = []
    for other in range(0, 20, 3):
        x = scene.examples.x[40 + other : 41 + other]
        grid = _of(scene.with_input(x).view("scan", layer=LAYER, sort="unusual"), Tiles)
        unlike.append(grid.keys[0] in faces)
    assert np.mean(unlike) < 0.4


def test_the_locked_map_follows_the_face(scene: Scene) -> None:
    """With the face unit kept in sight, its box lies on the face and moves with it."""
    (unit, *_) = sorted(_face_units(scene))
    hits = []
    for face in (1, 5, 9):
        for at in CORNERS:
            picture = scene.with_input(_seen(face, at)).view("scan", select=[unit])
            (box,) = _of(picture, Image, "your input").boxes
            middle = (box.y + box.height / 2, box.x + box.width / 2)
            hits.append(all(low <= m <= low + SIDE for low, m in zip(at, middle, strict=True)))
            heat = _of(picture, Image, "its map over the picture").heat
            assert heat.shape == (CANVAS, CANVAS)
            strongest = np.unravel_index(int(heat.argmax()), heat.shape)
            assert all(abs(k - m) < 2 for k, m in zip(strongest, middle, strict=True))
    assert np.mean(hits) > 0.8


def test_the_card_of_the_face_unit_shows_faces(scene: Scene) -> None:
    """The strongest examples of a face unit are faces, and what suppresses it is something else."""
    for unit in _face_units(scene):
        picture = scene.view("card", select=[unit], synthesize=False, back="none")
        assert _of(picture, Tiles, "Fires most").labels.count("face") >= 8
        assert _of(picture, Tiles, "Suppressed most").labels.count("no face") >= 8
