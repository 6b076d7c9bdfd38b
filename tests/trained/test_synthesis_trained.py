"""What networks that others trained ask for, and what their layers keep."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch

import diorama
from diorama.core.marks import Table, Tiles


def test_resnet_recognises_what_it_asked_for() -> None:
    """Each of the ten classes' pictures, made in one batch from a seed that nothing was tuned on, is given to its class,
    also when moved and resized by changes that it never saw.
    """
    scene = networks.resnet20(64)
    tiles = next(
        mark for mark in scene.view("synthesis", show="classes", steps=40, seed=4711).marks() if isinstance(mark, Tiles)
    )
    assert tiles.labels == scene.classes
    assert all(float(note.removesuffix("%")) > 90 for note in tiles.notes), tiles.notes
    moved = np.roll(tiles.images, (2, -2), (1, 2)).transpose(0, 3, 1, 2) / 255
    x = (torch.from_numpy(moved).float() - torch.tensor(networks.MEAN)[:, None, None]) / torch.tensor(networks.STD)[
        :, None, None
    ]
    with torch.no_grad():
        right = scene.model(x).argmax(1) == torch.arange(10)
    assert int(right.sum()) >= 9


@pytest.mark.parametrize("name", ["strawberry", "goldfish"])
def test_darknet_recognises_what_it_asked_for(name: str) -> None:
    """A picture made for a class of ImageNet in few steps is of that class to the network, plain and moved."""
    scene = networks.darknet()
    made = diorama.synthesize(scene.model, name, scene.live.x, classes=scene.classes, steps=24, seed=4711)
    assert made.checks["probability"] > 0.9
    assert made.checks["probability, moved"] > 0.7


def test_resnet_keeps_content_in_early_layers_and_loses_it_in_late_ones() -> None:
    """Inversions of a photograph: nearly itself from the first layer, less and less from block to block, unlike each other
    from the answer.
    """
    picture = networks.resnet20(64).view("inversion", example=3, layers=4, starts=2, steps=60)
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    columns = {column.name: column.numbers for column in table.columns}
    pixel, between = columns["pixel error"], columns["between starts"]
    assert pixel[0] < 10
    assert (np.diff(pixel) > 0).all(), pixel
    assert between[0] < 10 < between[-1]
