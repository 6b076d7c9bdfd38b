"""Regions that drive a unit or a class, on networks that are known to look at one part of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import letters
from torch import nn

from diorama.core.errors import Cancelled, NotApplicable, UsageError
from diorama.core.marks import Image, Tiles
from diorama.core.picture import Picture, Progress
from diorama.methods.proposals import Region, apart, segments, windows
from diorama.scene import Scene


def _corner(count: int = 6) -> Scene:
    """A unit that is as bright as one pixel in the lower left, and two classes: of it, and of the mean."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 100, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[0, 0, 1, 1] = 1.0
        model[0].weight[1, 0, 0, 0] = -1.0
        model[3].weight[1, 8 * 10 + 1] = 9.0
        model[3].bias[0] = 4.0
    x = 0.05 * torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    for k in range(count):
        x[k, 0, 9, 2] = 0.5 + 0.05 * k
    return Scene(model, x, torch.ones(count, dtype=torch.long), classes=("dull", "bright"))


def _images(picture: Picture) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, Image)]


def test_regions_of_a_class_hold_what_the_network_looks_at() -> None:
    """The highest region of each picture holds the one pixel that counts, and the smallest of those that do comes first."""
    scene = _corner()
    picture = scene.view("regions", class_=1, among=3, shown=3, overlap=0.0)
    images = _images(picture)
    assert len(images) == 3
    for mark in images:
        box = mark.boxes[0]
        assert box.x <= 2 < box.x + box.width
        assert box.y <= 9 < box.y + box.height
        assert box.width * box.height == min(
            region.area for region in windows(12, 12)
            if region.top <= 9 < region.top + region.height and region.left <= 2 < region.left + region.width
        )
    # Three pictures, brightest first.
    assert [mark.key for mark in images] == ["example:5", "example:4", "example:3"]


def test_a_regions_value_is_the_network_on_all_else_covered() -> None:
    """Values are those of a picture that was covered by hand around the region, for classes and for units."""
    scene = _corner()
    for chosen in ({"class_": 1}, {"unit": "0/0"}):
        picture = scene.view("regions", example=2, where="this input", shown=2, **chosen)
        tiles = next(mark for mark in picture.marks() if isinstance(mark, Tiles))
        for mark, told in zip(_images(picture), tiles.labels, strict=True):
            box = mark.boxes[0]
            inside = (slice(int(box.y), int(box.y + box.height)), slice(int(box.x), int(box.x + box.width)))
            x = scene.examples.x[2:3]
            covered = torch.full_like(x, float(x.mean()))
            covered[:, :, inside[0], inside[1]] = x[:, :, inside[0], inside[1]]
            if "class_" in chosen:
                value = float(scene.probabilities(covered)[0, 1])
            else:
                value = float(scene.activations("0", covered)["0"][0, 0].clamp_min(0).max())
            assert float(told) == pytest.approx(value, rel=6e-3)


def test_a_units_region_is_shown_with_what_its_place_sees() -> None:
    """The second box is the receptive field of the place that answers: three pixels around the bright one."""
    picture = _corner().view("regions", unit="0/0", example=1, where="this input", shown=1)
    first, second = _images(picture)[0].boxes
    assert first.x <= 2 < first.x + first.width
    assert (second.x, second.y, second.width, second.height, second.label) == (1, 8, 3, 3, "sees")


def test_windows_cover_a_picture_and_stay_inside() -> None:
    """Every pixel lies in windows of each size, none leaves the picture, and small pictures have some too."""
    for rows, columns in ((12, 12), (9, 40), (1, 1), (3, 2)):
        found = windows(rows, columns)
        assert len(set(found)) == len(found) > 0
        for size in {(region.height, region.width) for region in found}:
            seen = np.zeros((rows, columns), bool)
            for top, left, height, width in (region for region in found if (region.height, region.width) == size):
                assert top >= 0 <= left
                assert top + height <= rows
                assert left + width <= columns
                seen[top : top + height, left : left + width] = True
            assert seen.all()


def test_segments_find_a_rectangle() -> None:
    """A rectangle of one colour on another is among the regions, to a pixel or two, also in grey."""
    pixels = np.full((40, 60, 3), (20, 90, 30), np.uint8)
    pixels[10:26, 30:52] = (220, 30, 40)
    for shown in (pixels, pixels[:, :, 0]):
        found = segments(shown, 30)
        assert max(region.overlap(Region(10, 30, 16, 22)) for region in found) > 0.85
        assert all(region.area < 40 * 60 for region in found)


def test_what_overlaps_a_higher_region_is_left_out() -> None:
    """Overlap is the shared area as a share of both; the order decides who stays."""
    regions = [Region(0, 0, 4, 4), Region(0, 2, 4, 4), Region(0, 4, 4, 4)]
    assert regions[0].overlap(regions[1]) == pytest.approx(8 / 24)
    assert regions[0].overlap(regions[2]) == 0
    assert apart(regions, [0, 1, 2], 0.3) == [0, 2]
    assert apart(regions, [1, 0, 2], 0.3) == [1]
    assert apart(regions, [1, 0, 2], 0.4) == [1, 0, 2]


def test_regions_say_their_passes_refine_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of passes is told first, too many are refused, pictures come as they are done, and cancelling ends it."""
    monkeypatch.setattr("diorama.scene.stream.PACE", 0.0)
    monkeypatch.setattr("diorama.scene.stream.SHARE", 0.0)
    scene, told = _corner(), []
    pictures = list(scene.stream("regions", among=4, progress=told.append))
    assert isinstance(told[0], Progress)
    passes = 4 * len(windows(12, 12))
    assert told[0].note.startswith(f"{passes:,} forward passes")
    assert told[-1].done == told[-1].total == passes
    assert [picture.final for picture in pictures] == [False] * 3 + [True]
    with pytest.raises(UsageError, match="raise limit"):
        scene.view("regions", limit=10)
    with pytest.raises(Cancelled):
        list(scene.stream("regions", cancel=lambda: True))


def test_texts_are_sent_elsewhere() -> None:
    """A model that takes no pictures is refused with what to use."""
    with pytest.raises(NotApplicable, match="attribution"):
        letters().view("regions")
