"""What separates two classes, on networks whose evidence is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.marks import Bars, Image, Lines, Text, Tiles
from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.scene import Scene
from diorama.views import pairs


def _marks(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _planted() -> Scene:
    """Class 0 is the top left pixel, class 1 the bottom right one, class 2 the middle; the rest is noise."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 3, bias=False))
    with torch.no_grad():
        model[1].weight.zero_()
        for number, place in enumerate((0, 24, 12)):
            model[1].weight[number, place] = 2.0
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(60, 1, 5, 5, generator=generator) * 0.2, torch.arange(60) % 3
    x.reshape(60, 25)[torch.arange(60), torch.tensor([0, 24, 12])[y]] += 0.7
    return Scene(model, x, y, classes=("seven", "two", "five"), inputs=diorama.Image(range=(0.0, 1.0)))


def test_the_picture_of_a_pair_is_the_mean_of_its_maps() -> None:
    """For a linear network the picture is the difference of the weights times the mean input, each class counting the same."""
    scene = _planted()
    picture = scene.view("contrast", a="seven", b="two", method="input_x_gradient")
    x, y = scene.examples.x[:, 0].numpy(), scene.examples.y.numpy()
    weights = (scene.model[1].weight[0] - scene.model[1].weight[1]).detach().numpy().reshape(5, 5)
    wanted = weights * (x[y == 0].mean(0) + x[y == 1].mean(0)) / 2
    image = _marks(picture, Image)[0]
    assert image.pixels == pytest.approx(wanted, abs=1e-6)
    assert image.limits.scale == "diverging"
    assert np.argwhere(image.pixels > 0.1).tolist() == [[0, 0]]
    assert np.argwhere(image.pixels < -0.1).tolist() == [[4, 4]]
    assert _marks(picture, Image)[1].pixels == pytest.approx(np.abs(wanted), abs=1e-6)


def test_classes_count_the_same_however_many_examples_they_have() -> None:
    """With many examples of one class and few of the other, the picture is still the mean of the two classes' means."""
    scene = _planted()
    keep = torch.cat([torch.arange(60)[scene.examples.y == 0], torch.arange(60)[scene.examples.y == 1][:4]])
    few = Scene(scene.model, scene.examples.x[keep], scene.examples.y[keep], classes=scene.classes)
    image = _marks(few.view("contrast", a="0", b="1", method="input_x_gradient"), Image)[0].pixels
    x, y = few.examples.x[:, 0].numpy(), few.examples.y.numpy()
    assert image[0, 0] == pytest.approx(2 * (x[y == 0, 0, 0].mean() + x[y == 1, 0, 0].mean()) / 2)


def test_agreement_leaves_the_example_itself_out() -> None:
    """The cosines are those of a slow loop in which each example is compared with the mean of all others."""
    scene = _planted()
    picture = scene.view("contrast", a="seven", b="two", method="input_x_gradient", shown=20)
    x, y = scene.examples.x[:, 0].numpy(), scene.examples.y.numpy()
    weights = (scene.model[1].weight[0] - scene.model[1].weight[1]).detach().numpy().reshape(5, 5)
    slow = {}
    for k in np.flatnonzero(y < 2):
        rest = [np.mean([weights * x[j] for j in np.flatnonzero(y == c) if j != k], 0) for c in (0, 1)]
        own, mean = weights * x[k], np.mean(rest, 0)
        slow[int(k)] = float((own * mean).sum() / np.linalg.norm(own) / np.linalg.norm(mean))
    tiles = [mark for mark in _marks(picture, Tiles) if mark.notes]
    for mark, best in zip(tiles, (True, False), strict=True):
        order = sorted(slow, key=lambda k: -slow[k] if best else slow[k])[: len(mark.keys)]
        assert [int(key.removeprefix("example:")) for key in mark.keys] == order
        assert [float(note) for note in mark.notes] == pytest.approx([slow[k] for k in order], abs=0.006)
    check = {check.name: check.value for check in picture.checks}
    assert check["median agreement"] == pytest.approx(float(np.median(list(slow.values()))), abs=1e-6)
    lines = _marks(picture, Lines)[0]
    assert [float(series.y.sum()) for series in lines.series] == pytest.approx([1, 1])


def test_hiding_what_separates_takes_the_lead_away() -> None:
    """Without the strongest tenth of the picture each class loses more of its lead than without random tenths."""
    check = next(
        check for check in _planted().view("contrast", a="seven", b="two").checks if check.name.startswith("hiding")
    )
    assert check.good
    assert check.value > 0.5


def test_rows_of_a_table_become_bars() -> None:
    """For a table there is a bar a column, and a tick for the current row."""
    model = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -2.0]]))
    x = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)) + 1
    scene = Scene(model, x, torch.arange(30) % 2, inputs=diorama.Table(columns=("red", "green", "blue")))
    bars = _marks(scene.view("contrast", a="0", b="1", method="input_x_gradient", example=4), Bars)[0]
    assert bars.labels == ("red", "green", "blue")
    mean = x.numpy() * np.array([1.0, 0.0, 2.0])
    assert bars.values == pytest.approx((mean[0::2].mean(0) + mean[1::2].mean(0)) / 2, abs=1e-6)
    assert bars.reference == pytest.approx(mean[4], abs=1e-6)


def test_texts_are_summed_up_word_by_word() -> None:
    """A word that speaks for a class wherever it stands has the largest bar."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(4, 2), nn.Linear(2, 2, bias=False)
            with torch.no_grad():
                self.embed.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.5, 0.0]]))
                self.out.weight.copy_(torch.eye(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.embed(x).mean(1))

    x = torch.tensor([[1, 0, 3], [0, 2, 0], [0, 1, 0], [2, 0, 3]])
    kind = diorama.Tokens(vocabulary=("the", "sun", "rain", "day"), separator=" ")
    scene = Scene(Bag(), x, torch.tensor([0, 1, 0, 1]), classes=("dry", "wet"), inputs=kind)
    picture = scene.view("contrast", a="dry", b="wet", method="input_x_gradient")
    bars = _marks(picture, Bars)[0]
    assert dict(zip(bars.labels, bars.values.tolist(), strict=True)) == pytest.approx(
        {"sun": 0.5, "day": 1 / 12, "rain": -0.5}
    )
    assert _marks(picture, Text)[0].tokens == ("sun", "the", "day")


def test_the_pair_is_what_was_chosen_or_what_is_confused() -> None:
    """Classes of the selection come first, then knobs alone; without either it is the pair that is mixed up most often."""
    scene = _planted()
    chosen = scene.view("contrast", select=Selection.of("class:2", against=["class:1"]), method="gradient")
    assert chosen.title == "What separates five from two?"
    wrong = scene.examples.y.clone()
    wrong[[0, 3, 6]] = 2
    mixed = Scene(scene.model, scene.examples.x, wrong, classes=scene.classes)
    assert pairs.confused(mixed)[:2] == (0, 2)
    assert mixed.view("contrast", method="gradient").title == "What separates seven from five?"
    assert mixed.view("contrast", a="five", method="gradient").title == "What separates five from seven?"
    with pytest.raises(UsageError, match="twice"):
        scene.view("contrast", a="five", b="five")
    with pytest.raises(NotFound):
        scene.view("contrast", a="eight")
    with pytest.raises(NotApplicable, match="not a classifier"):
        Scene(nn.Linear(2, 1), torch.rand(4, 2), torch.rand(4)).view("contrast")
