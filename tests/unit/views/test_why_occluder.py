"""The occluder: by hand and swept, against the network run on images that were covered by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import images, letters
from torch import Tensor, nn

from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Bars, Image
from diorama.core.picture import Picture, Progress
from diorama.scene import Scene


def _images(picture: Picture) -> dict[str, Any]:
    return {mark.title: mark for mark in picture.marks() if isinstance(mark, Image)}


def _covered(scene: Scene, example: int, top: int, left: int, size: int, value: float) -> Tensor:
    x = scene.examples.x[example : example + 1].clone()
    x[:, :, max(0, top) : top + size, max(0, left) : left + size] = value
    return x


def test_a_patch_by_hand_is_the_network_on_the_covered_image() -> None:
    """Bars, ticks and both maps are those of the image as shown, with and without the patch."""
    scene = images()
    picture = scene.view("occluder", example=3, patch=3, at="4,5", fill="constant", value=0.5, sweep=False, layer="0")
    x = _covered(scene, 3, 3, 4, 3, 0.5)
    bars = next(mark for mark in picture.marks() if isinstance(mark, Bars))
    assert np.allclose(bars.values, scene.probabilities(x)[0], atol=1e-6)
    assert np.allclose(bars.reference, scene.probabilities(scene.examples.x[3:4])[0], atol=1e-6)
    plain = scene.activations("0", scene.examples.x[3:4])["0"][0].clamp_min(0)
    unit = int(plain.flatten(1).sum(1).argmax())
    found = _images(picture)
    assert np.allclose(found[f"Unit {unit} of layer 0 without"].pixels, plain[unit], atol=1e-6)
    assert np.allclose(found[f"Unit {unit} of layer 0 with"].pixels, scene.activations("0", x)["0"][0, unit].clamp_min(0), atol=1e-6)
    place = found["The patch in place"]
    assert (place.boxes[0].x, place.boxes[0].y, place.boxes[0].width, place.boxes[0].height) == (4, 3, 3, 3)
    assert (place.handle.knob, place.handle.kind, place.handle.value) == ("at", "point", "4,5")
    assert place.pixels[3:6, 4:7].std() == 0


def test_a_sweep_is_a_plain_loop() -> None:
    """At the middle of each window the three maps are what the network answers to the image covered by hand."""
    scene = images()
    picture = scene.view("occluder", example=1, patch=3, stride=1, fill="constant", value=1.0, class_=2, unit="0/4")
    found = _images(picture)
    for top in range(6):
        for left in range(6):
            x = _covered(scene, 1, top, left, 3, 1.0)
            chances = scene.probabilities(x)[0]
            at = (top + 1, left + 1)
            assert found["Probability of two"].pixels[at] == pytest.approx(float(chances[2]), abs=1e-6)
            total = float(scene.activations("0", x)["0"][0, 4].clamp_min(0).sum())
            assert found["Sum of unit 4's map"].pixels[at] == pytest.approx(total, rel=1e-5)
            colours = found["Likeliest class"].pixels
            wanted = ((63, 144, 218), (255, 169, 14), (189, 31, 1))[int(chances.argmax())]
            assert tuple(colours[at]) == wanted
            named = found["Likeliest class"]
            assert named.names[named.meant[at]] == scene.classes[int(chances.argmax())]


def test_the_patch_stands_where_the_sweep_hurts_most() -> None:
    """A network that looks at one pixel alone: the sweep is dark where the patch covers it, and the patch goes there."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[1, 8 * 12 + 3] = 20.0
        model[1].bias.copy_(torch.tensor([10.0, 0.0]))
    x = torch.rand(4, 1, 12, 12) * 0.1
    x[:, :, 8, 3] = 1.0
    scene = Scene(model, x, torch.ones(4, dtype=torch.long), classes=("no", "yes"))
    picture = scene.view("occluder", patch=3, stride=1, fill="constant")
    seen = _images(picture)["Probability of yes"].pixels
    dark = np.argwhere(seen < 0.5)
    assert dark.min(0).tolist() == [7, 2]
    assert dark.max(0).tolist() == [9, 4]
    box = _images(picture)["The patch in place"].boxes[0]
    assert box.x <= 3 < box.x + box.width
    assert box.y <= 8 < box.y + box.height
    assert next(check for check in picture.checks if check.name == "answer holds").value == pytest.approx(91.0)


def test_random_pixels_are_averaged() -> None:
    """With random pixels of an image of one colour, nothing changes anywhere."""
    scene = images().with_input(torch.full((1, 8, 8), 0.3))
    picture = scene.view("occluder", fill="random", draws=3)
    found = _images(picture)
    answer = next(title for title in found if title.startswith("Probability"))
    assert float(np.ptp(found[answer].pixels)) < 1e-6
    assert "means of 3 draws" in picture.caption


def test_a_sweep_is_kept_while_the_hand_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving the patch, or following another class, asks nothing of the sweep again; another patch does."""
    from diorama.views.why._sweep import OccludedImage

    counted: list[int] = []
    plain = OccludedImage.batch
    monkeypatch.setattr(OccludedImage, "batch", lambda self, *a: counted.append(1) or plain(self, *a))
    scene = images()
    scene.view("occluder", patch=2)
    first = len(counted)
    scene.view("occluder", patch=2, at="1,1")
    scene.view("occluder", patch=2, at="6,1", class_=2)
    assert len(counted) == first > 0
    scene.view("occluder", patch=3)
    assert len(counted) > first


def test_a_sweep_refines_and_says_its_passes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of passes is told, a coarse sweep comes before the whole one, and what is not visited is empty."""
    monkeypatch.setattr("diorama.scene.stream.PACE", 0.0)
    monkeypatch.setattr("diorama.scene.stream.SHARE", 0.0)
    scene = images().with_input(torch.rand(1, 8, 8))
    told: list[Progress] = []
    pictures = list(scene.stream("occluder", patch=1, stride=1, progress=told.append))
    assert told[0].note.startswith("64 forward passes")
    assert len(_images(pictures[0])) < len(_images(pictures[1])) == len(_images(pictures[-1]))
    assert [picture.final for picture in pictures] == [False] * (len(pictures) - 1) + [True]
    assert told[-1].done == told[-1].total == 64


def test_too_many_passes_are_refused_with_a_stride_that_goes() -> None:
    """A stride of 1 on a large image is refused before anything is swept, with a stride that the limit allows."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scene = Scene(model, torch.rand(2, 1, 1000, 1000), torch.arange(2))
    with pytest.raises(UsageError, match=r"923,521 forward passes.* take stride=(\d+)") as caught:
        scene.view("occluder", patch=40, stride=1)
    assert "by hand" in str(caught.value)
    with pytest.raises(UsageError, match="row,column"):
        images().view("occluder", at="here")
    with pytest.raises(UsageError, match="rows 0 to 7"):
        images().view("occluder", at="8,1")


def test_what_is_no_picture_is_sent_elsewhere() -> None:
    """Texts are refused with the view that covers them; a model that takes a picture and more is not told it takes none."""

    class Two(nn.Module):
        def forward(self, picture: Tensor, row: Tensor) -> Tensor:
            return picture.flatten(1)[:, :3] + row

    with pytest.raises(NotApplicable, match="takes none; use the view attribution"):
        letters().view("occluder")
    two = Scene(Two(), (torch.rand(4, 1, 8, 8), torch.rand(4, 3)), task="classification")
    for view in ("occluder", "regions", "replacement"):
        with pytest.raises(NotApplicable, match="takes several inputs; use the view"):
            two.view(view)


def test_numbers_are_followed_too() -> None:
    """A regression on images shows its answer instead of probabilities."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    scene = Scene(model, torch.rand(6, 1, 8, 8), torch.rand(6, 1), task="regression")
    picture = scene.view("occluder", patch=2, fill="constant", stride=2)
    seen = _images(picture)["The answer"].pixels
    assert seen[0, 0] == pytest.approx(float(scene.scores(_covered(scene, 0, 0, 0, 2, 0.0))), abs=1e-5)
