"""What units of networks that others trained see: their strongest crops, what they ask for, what layers keep, dreams."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from torch import Tensor

import diorama
from diorama.core.marks import Image, Lines
from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.derive.scans import seen
from diorama.methods.synthesis.code_inversion import Inversions, Yardstick, climb, invert
from diorama.scene import Scene
from diorama.views.crops import box_of, field_of
from diorama.views.unit import _made_inputs

FIRST, EARLY, LATE = "conv1", "layer1.0.conv1", "layer3.2.conv2"
CLASSES = ("Egyptian cat", "espresso", "daisy")
HELD_OUT = 1009


@pytest.fixture(scope="module")
def pictures() -> Scene:
    """ResNet-20 with CIFAR pictures."""
    return networks.resnet20(120)


def _maps(scene: Scene, layer: str) -> Tensor:
    """Every map of a layer for every example, one picture at a time."""
    kept: list[Tensor] = []
    module = scene.model.get_submodule(layer)
    handle = module.register_forward_hook(lambda module, args, output: kept.append(output.detach().clone()))
    with torch.no_grad():
        for k in range(len(scene.examples)):
            scene.model(scene.examples.x[k : k + 1])  # type: ignore[index]
    handle.remove()
    return torch.cat(kept)


@pytest.mark.parametrize("layer", [EARLY, LATE])
def test_top_crops_are_the_maxima_of_a_plain_loop(pictures: Scene, layer: str) -> None:
    """The nine strongest pictures of every unit, their values and their places are those that a plain loop finds."""
    found = _maps(pictures, layer)
    examples, units, rows, columns = found.shape
    best, places = found.flatten(2).max(2)
    top = seen(pictures, pictures.layers[layer]).statistics.top
    for unit in range(units):
        order = best[:, unit].argsort(descending=True, stable=True)[:9]
        np.testing.assert_allclose(top.values[unit], best[order, unit], rtol=1e-4, atol=1e-4)
        # Values that are equal to within rounding may change places.
        clear = np.diff(best[:, unit].sort(descending=True).values[:10].numpy()) < -1e-3
        sure = np.append(True, clear)[:9] & clear[:9]
        assert (top.examples[unit] == order.numpy())[sure].all()
        ways = found[order, unit].flatten(1).topk(2).values
        alone = sure & (ways[:, 0] - ways[:, 1] > 1e-3).numpy()
        assert (top.places[unit] == places[order, unit].numpy())[alone].all()
    assert rows * columns > int(top.places.max())
    assert examples > int(top.examples.max())


def test_a_crop_holds_all_that_its_unit_saw(pictures: Scene) -> None:
    """What lies outside a crop's box does not change the unit's value there; what lies inside does."""
    layer = pictures.layers["layer1.1.conv1"]
    top = seen(pictures, layer).statistics.top
    field = field_of(pictures, layer)
    for unit in (0, 7):
        example, place = int(top.examples[unit, 0]), np.unravel_index(int(top.places[unit, 0]), layer.shape[1:])
        box = box_of(field, tuple(int(part) for part in place))
        assert box is not None
        assert max(box.width, box.height) == 9
        x = pictures.examples.batch([example])
        assert isinstance(x, Tensor)
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)] = True
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(unit))
        values = [
            float(pictures.activations(layer.name, changed)[layer.name][(0, unit, *place)])
            for changed in (x, torch.where(inside, x, noise), torch.where(inside, noise, x))
        ]
        assert values[0] == pytest.approx(float(top.values[unit, 0]), rel=1e-4)
        assert values[1] == pytest.approx(values[0], rel=1e-4)
        assert values[2] < values[0] - 0.1


def test_inversions_keep_the_picture_early_and_lose_it_late(pictures: Scene) -> None:
    """From an early layer's code the picture comes back, from a late one's another with nearly the same code."""
    stage = _made_inputs.staged(pictures, Selection(), 0)
    x = pictures.examples.batch([3])
    yard = Yardstick.of(stage, [FIRST, EARLY, LATE], pictures.examples.batch(list(range(60))))
    made: dict[str, Inversions] = {}
    for layer in (FIRST, EARLY, LATE):
        made[layer] = list(invert(stage, layer, x, yard, climb(stage, 120), starts=2))[-1]
    first, early, late = made.values()
    assert float(first.pixel_error.max()) < 0.05
    assert float(first.pixel_error.max()) < float(early.pixel_error.min())
    assert float(late.pixel_error.min()) > 2 * float(early.pixel_error.max())
    assert late.spread > 5 * early.spread
    # The late pictures differ from the example, and not in what the layer says of them.
    assert float(late.code_error.max()) < 0.6 * float(late.pixel_error.min())


@pytest.fixture(scope="module")
def photographs() -> Scene:
    """Darknet-tiny with scikit-image's photographs."""
    return networks.darknet()


@pytest.mark.parametrize("name", CLASSES)
def test_synthesized_classes_are_taken_for_them(photographs: Scene, name: str) -> None:
    """A picture made for a class is classified as it, also moved, turned and resized by seeds it was not made with."""
    made = diorama.synthesize(
        photographs.model, name, photographs.examples.x, steps=12, classes=photographs.classes, inputs=photographs.kind,
        task="classification", seed=HELD_OUT + CLASSES.index(name),
    )
    number = photographs.classes.index(name)
    assert int(photographs.scores(made.x)[0].argmax()) == number  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(HELD_OUT)
    for _ in range(3):
        down, over = (int(k) for k in torch.randint(-6, 7, (2,), generator=generator))
        moved = torch.roll(made.x, (down, over), (2, 3))  # type: ignore[arg-type]
        assert int(photographs.scores(moved)[0].argmax()) == number
    assert made.checks["probability, moved"] > 0.5


def test_a_dream_into_the_cat_amplifies_what_was_asked_for(photographs: Scene) -> None:
    """Dreaming into the photograph of a cat raises the chosen layer's norm, and the cat remains where it was."""
    picture = photographs.view("dream", layer="conv2d_9", example=0, steps=4, octaves=2, size=112, frames=2, zoom=1.0)
    before, after = _values(picture)
    assert after > 1.3 * before
    shown = [np.asarray(mark.pixels, float) for mark in picture.marks() if isinstance(mark, Image)]
    assert len(shown) >= 2
    dreamed, begun = shown[0], shown[1]
    assert dreamed.shape == begun.shape
    off = float(np.abs(dreamed - begun).mean())
    assert off > 2, "something is dreamed into the picture"
    assert float(np.corrcoef(dreamed.ravel(), begun.ravel())[0, 1]) > 0.6, "the picture is still there"


def _values(picture: Picture) -> tuple[float, float]:
    """The objective before the dream and after it."""
    line = next(mark for mark in picture.marks() if isinstance(mark, Lines)).series[0]
    return float(line.y[0]), float(line.y[-1])
