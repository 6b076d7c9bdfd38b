"""A part of a class against the rest: what was planted is found, and told in numbers that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Image, Scatter, Table
from diorama.scene import Scene


def _inverted() -> Scene:
    """Pictures of two classes, of which the second is half inverted: its examples 1, 5, 9, … are dark on light."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(48) % 2
    x = 0.05 * torch.rand(48, 1, 6, 6, generator=generator)
    x[y == 0, :, :2] += 0.8
    x[y == 1, :, 4:] += 0.8
    x[1::4] = 0.9 - x[1::4]
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Tanh(), nn.Linear(10, 2))
    return Scene(net, x, y, inputs=diorama.Image(range=(0, 1)))


def test_the_hidden_part_of_a_class_is_found() -> None:
    """With nothing chosen the view leads to the class of which half is inverted, and to that half."""
    scene = _inverted()
    picture = scene.view("subgroup", layer="1")
    assert "12 of class 1 against 12 others" in picture.caption
    rows = scene.activations("1")["1"].double().numpy()[1::2]
    (check,) = picture.checks
    assert check.value == pytest.approx(silhouette_score(rows, np.arange(24) % 2), abs=1e-4)
    assert check.good
    first, second, apart = [mark for mark in picture.body.children if isinstance(mark, Image)]
    odd = scene.live.x[1::4].mean(0)[0].numpy() - scene.live.x[3::4].mean(0)[0].numpy()
    assert min(np.abs(apart.pixels - odd).max(), np.abs(apart.pixels + odd).max()) < 0.01
    assert first.pixels.shape == second.pixels.shape == (6, 6)


def test_a_chosen_part_is_compared_with_the_rest_of_its_class() -> None:
    """What a loop holds stands against the others of its class; units by their difference in standard deviations, the nearest outside by distance."""
    scene = _inverted()
    inside, rest = np.arange(1, 48, 4), np.arange(3, 48, 4)
    picture = scene.view("subgroup", layer="1", select="+".join(f"example:{k}" for k in inside), count=4)
    rows = scene.activations("1")["1"].double().numpy()
    both = np.concatenate([rows[inside], rows[rest]])
    wanted = (rows[inside].mean(0) - rows[rest].mean(0)) / both.std(0)
    (units,) = [mark for mark in picture.body.children if isinstance(mark, Bars)]
    order = np.argsort(-np.abs(wanted))[:4]
    np.testing.assert_allclose(np.asarray(units.values), wanted[order], rtol=1e-4)
    assert units.keys[0] == f"unit:1/{order[0]}"
    (table,) = [mark for mark in picture.body.children if isinstance(mark, Table)]
    outside = np.arange(0, 48, 2)
    away = np.linalg.norm(rows[outside] - rows[inside].mean(0), axis=1)
    assert table.row_keys[-4:] == tuple(f"example:{k}" for k in outside[np.argsort(away)[:4]])
    mixed = scene.view("subgroup", layer="1", select="example:1+example:3+example:5+example:0").caption
    assert "The chosen part: 4 examples, of which 3 are of class 1, against 21 others of that class." in mixed


def test_what_was_chosen_among_more_examples_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples beyond the first ones, as a larger map shows them, count as chosen; where none are chosen the first ones are looked at."""
    monkeypatch.setattr("diorama.scene.scene.LIVE", 20)
    scene = _inverted()
    chosen = "+".join(f"example:{k}" for k in range(1, 46, 4))
    assert "The chosen part: 12 of class 1 against 11 others" in scene.view("subgroup", layer="1", select=chosen, examples=20).caption
    assert "20 of 48 examples are looked at" in scene.view("subgroup", layer="1", examples=20).note


def test_columns_of_a_table_are_compared() -> None:
    """Of a table's rows the columns stand beside the units; the planted column comes first."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x[:10, 1] += 6
    scene = Scene(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1)), x, inputs=diorama.Table(columns=("a", "b", "c")))
    columns = scene.view("subgroup", select="example:0-9").body.children[0]
    assert isinstance(columns, Bars)
    assert columns.labels[0] == "b"
    with pytest.raises(NotApplicable, match="all examples are chosen"):
        scene.view("subgroup", select="example:0-39")


class _Both(nn.Module):
    """Two tables, read together."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(torch.cat([own, other], 1))))


def test_columns_of_several_inputs_and_metadata_are_compared() -> None:
    """Each input's columns stand with its name, beside what the user knows of the examples; a value that is not known tells nothing."""
    generator = torch.Generator().manual_seed(0)
    own, other = torch.randn(40, 3, generator=generator), torch.randn(40, 2, generator=generator)
    other[:10, 1] += 6
    far = [float("nan") if k % 4 == 0 else 5.0 for k in range(40)]
    camera = ["old" if k < 10 else "new" for k in range(40)]
    torch.manual_seed(0)
    scene = Scene(
        _Both(), (own, other), torch.arange(40) % 2, metadata={"camera": camera, "far": far},
        inputs={"own": diorama.Table(columns=("a", "b", "c")), "other": diorama.Table(columns=("d", "e"))},
    )
    picture = scene.view("subgroup", select="example:0-9", count=40)
    known = next(mark for mark in picture.body.children if isinstance(mark, Bars) and mark.title == "What is known of them")
    told = dict(zip(known.labels, np.asarray(known.values).tolist(), strict=True))
    assert set(told) == {"own: a", "own: b", "own: c", "other: d", "other: e", "camera: old", "camera: new", "far"}
    # The rest are the others of the class that most of the chosen are of.
    rest = torch.tensor([k for k in range(10, 40) if k % 2 == 0])
    both = torch.cat([other[:10, 1], other[rest, 1]]).double().numpy()
    assert told["other: e"] == pytest.approx((both[:10].mean() - both[10:].mean()) / both.std(), abs=1e-4)
    assert told["far"] == 0
    assert told["camera: old"] > 1.9
    assert "“camera: new” differs most" in picture.caption
    # Maps may be coloured by what is known, and shared examples are told by it.
    (points,) = (mark for mark in scene.view("projection", column="other: e").marks() if isinstance(mark, Scatter))
    np.testing.assert_allclose(np.asarray(points.values), other[:, 1], rtol=1e-5)
    assert scene.view("shared", select="example:0-9").caption.count("other: e")


def test_a_difference_of_colour_is_told_as_one() -> None:
    """Of a class half is red, as bright as the rest: each colour's difference is shown on one scale, and the property is named; of grey ones one."""
    dice = torch.Generator().manual_seed(0)
    y = torch.arange(48) % 2
    x = 0.3 + 0.05 * torch.rand(48, 3, 6, 6, generator=dice)
    x[y == 0, :, :2] += 0.3
    grey = x.clone()
    x[1::4] += torch.tensor([0.4, -0.2, -0.2])[:, None, None]
    grey[1::4] += 0.3
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 10), nn.Tanh(), nn.Linear(10, 2))
    select = "+".join(f"example:{k}" for k in range(1, 48, 4))
    picture = Scene(net, x, y, inputs=diorama.Image(range=(0, 1))).view("subgroup", layer="1", select=select)
    assert "Of the pictures “how red” differs most" in picture.caption
    assert "σ higher in this part." in picture.caption
    _, _, *apart = [mark for mark in picture.body.children if isinstance(mark, Image)]
    assert [mark.title for mark in apart] == ["Difference in red", "Difference in green", "Difference in blue"]
    odd = (x[1::4].mean(0) - x[3::4].mean(0)).numpy()
    for mark, plain in zip(apart, odd, strict=True):
        np.testing.assert_allclose(mark.pixels, plain, atol=0.01)
        assert mark.limits == apart[0].limits
    alike = Scene(net, grey, y, inputs=diorama.Image(range=(0, 1))).view("subgroup", layer="1", select=select)
    assert [mark.title for mark in alike.body.children if isinstance(mark, Image)][2:] == ["Difference, the same in all colours"]
    assert "Of the pictures “brightness" in alike.caption
