"""Synthesis, dream and inversion as a user asks for them: three lines, and a picture that tells what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from planted_nets import BOTH, HORIZONTAL, VERTICAL, edges
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Image, Lines, Table, Text, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The network that sees edges."""
    return edges()


def _all(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _strongest(scene: Scene) -> float:
    with torch.no_grad():
        return float(scene.model[0](scene.live.x)[:, VERTICAL].mean((1, 2)).max())  # type: ignore[index]


def test_a_units_picture_forms_and_is_judged(scene: Scene) -> None:
    """For a unit wired to upright edges the view ends with one picture for and one against it: an edge each, the other way
    round; the curve has a value for each step, and the largest response of the examples stands beside.
    """
    stream = list(scene.stream("synthesis", unit=f"0/{VERTICAL}", steps=60))
    picture = stream[-1]
    assert picture.final
    assert not any(one.final for one in stream[:-1])
    images = _all(picture, Image)
    assert [one.title for one in images] == [f"for layer 0/{VERTICAL}", f"against layer 0/{VERTICAL}"]
    across = [float(np.diff(one.pixels.astype(float), axis=1).mean()) for one in images]
    assert across[0] > 0 > across[1]
    assert all(len(line.x) == 60 for line in _all(picture, Lines)[0].series)
    checks = {check.name: check for check in picture.checks}
    assert checks["strongest example"].value == pytest.approx(_strongest(scene), rel=1e-5)
    assert checks["response"].value > 0.5 * checks["strongest example"].value


def test_two_facets_of_a_unit_are_seen(scene: Scene) -> None:
    """A unit that upright and lying edges feed shows one facet of each, from groups of examples that are told."""
    picture = scene.view("synthesis", unit=f"2/{BOTH}", facets=2, steps=40, jitter=0, rotate=0.0, crop=0.0, scale=0.0)
    found = [one.pixels.astype(float) / 255 for one in _all(picture, Image) if one.title.startswith("facet")]
    assert len(found) == 2
    with torch.no_grad():
        maps = scene.model[0](torch.from_numpy(np.stack(found)).float()[:, None]).relu().mean((2, 3))  # type: ignore[index]
    more = [bool(one[VERTICAL] > one[HORIZONTAL]) for one in maps]
    assert sorted(more) == [False, True]
    assert "groups hold" in picture.caption


def test_a_layer_and_all_classes_are_grids(scene: Scene) -> None:
    """A whole layer, and all classes, are tiles that select what they were made for; classes with their probability."""
    tiles = _all(scene.view("synthesis", layer="0", steps=10), Tiles)[0]
    assert tiles.keys == tuple(f"unit:0/{k}" for k in range(4))
    tiles = _all(scene.view("synthesis", show="classes", steps=10), Tiles)[0]
    assert tiles.labels == scene.classes
    assert all(note.endswith("%") for note in tiles.notes)


def test_variants_differ() -> None:
    """Variants pushed apart look less alike to their layer than those that are not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    x = torch.rand(24, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, torch.arange(24) % 2)

    def alike(diversity: float) -> float:
        picture = scene.view(
            "synthesis", unit="3/4", variants=3, diversity=diversity, negative=False, steps=60, jitter=0, rotate=0.0
        )
        made = torch.from_numpy(np.stack([one.pixels for one in _all(picture, Image)])).float()[:, None] / 255
        with torch.no_grad():
            units = model[:4](made).flatten(2)
        grams = nn.functional.normalize((units @ units.transpose(1, 2)).flatten(1))
        return float((grams @ grams.T).triu(1).sum() / 3)

    assert alike(10.0) < alike(0.0) - 0.02


def test_rows_and_texts_are_made_too() -> None:
    """A table's class is shown as bars named by the columns, without talk of moving; a text's as tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator)
    table = Scene(rows, x, torch.arange(40) % 2, inputs=diorama.Table(columns=("age", "height", "weight")))
    picture = table.view("synthesis", steps=40)
    bars = _all(picture, Bars)[0]
    assert bars.labels == ("age", "height", "weight")
    assert "moved" not in bars.caption
    assert all("moved" not in check.sentence for check in picture.checks)
    for name in ("dream", "inversion"):
        with pytest.raises(NotApplicable, match="pictures"):
            table.view(name)
    letters = diorama.Tokens(vocabulary=list("abcdefghi"))
    text = Scene(words, torch.randint(0, 9, (20, 5), generator=generator), torch.arange(20) % 2, inputs=letters)
    shown = _all(text.view("synthesis", steps=30), Text)[0]
    assert len(shown.tokens) == 5
    assert set(shown.tokens) <= set("abcdefghi")


def test_layers_keep_less_and_less(scene: Scene) -> None:
    """Inversion has a column for each layer with the chosen one among them, a row for each start, and says the errors; a
    decoder's stand beside them, and the example at hand is not among its lessons.
    """
    stream = list(
        scene.stream(
            "inversion", layer="2", example=0, starts=2, steps=60, decoder=True, decoder_steps=20, decoder_seconds=5.0
        )
    )
    tiles, table = _all(stream[-1], Tiles)[0], _all(stream[-1], Table)[0]
    columns = {column.name: column for column in table.columns}
    assert columns["layer"].texts == ("0", "2", "5")
    assert tiles.columns == 4
    assert len(tiles.images) == 3 * 4
    assert (tiles.images[::4] == tiles.images[0]).all()
    pixel = columns["pixel error"].numbers
    assert pixel[0] < 15 < pixel[2]
    assert np.isfinite(columns["decoder: pixel error"].numbers).all()
    assert np.isfinite(columns["decoder: code error"].numbers).all()
    assert stream[-1].final


class _Block(nn.Module):
    """A convolution and a way round it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.conv(x))


def test_blocks_with_a_way_round_are_taken_whole() -> None:
    """Of a residual network the outputs of its blocks are inverted, not the convolutions that something passes by."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 64, 2)
        model = nn.Sequential(first, nn.Sequential(_Block(), _Block()), nn.Flatten(), last)
    x = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = Scene(model, x, torch.arange(12) % 2).view("inversion", starts=1, steps=2)
    assert _all(picture, Table)[0].columns[0].texts == ("0", "1.0", "1.1", "3")


def test_a_dream_is_a_film(scene: Scene, tmp_path: Path) -> None:
    """A dream of some frames is saved as a film of them, each more strongly responded to than the picture at first."""
    picture = scene.view("dream", layer="0", example=0, frames=3, steps=3)
    picture.save(tmp_path / "dream.mp4")
    with av.open(str(tmp_path / "dream.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in film.decode(video=0)]
    assert len(frames) >= 3
    assert max(float(abs(frame - frames[0]).mean()) for frame in frames) > 1
    response = _all(picture, Lines)[0].series[0].y
    assert len(response) == 4
    assert (response[1:] > response[0]).all()


def test_a_response_stands_beside_the_examples_by_one_measure() -> None:
    """The number beside the strongest example is the same measure of the shown input: plain, and named as what it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, torch.arange(20) % 3, task="classification")
    picture = scene.view("synthesis", unit="0/1", steps=20)
    found = {check.name: check for check in picture.checks}
    best = float(model[0](x).detach()[:, 1].mean((1, 2)).max())
    assert found["strongest example"].value == pytest.approx(best, rel=1e-4)
    assert found["response"].value >= best - 1e-4
    assert "mean activation over all places" in found["response"].sentence
    assert "mean activation over all places" in found["strongest example"].sentence
    said = {check.name: check for check in scene.view("synthesis", class_=1, steps=20).checks}
    scores = model(x).detach()
    assert said["strongest example"].value == pytest.approx(float((scores + scores.log_softmax(1))[:, 1].max()), rel=1e-4)
    assert "score plus the logarithm" in said["strongest example"].sentence
    assert said["probability of 1"].unit == "%"
