"""A part of a class against the rest: what was planted is found, and told in numbers that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Image, Table
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
