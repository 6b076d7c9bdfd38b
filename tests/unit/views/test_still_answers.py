"""What answers the same to everything, or with no numbers, is said so in each view of the room, and gets no class by chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diorama.core.marks import Network, Scatter
from diorama.core.picture import Picture
from diorama.scene import Scene


def _net(still: tuple[int, ...] = (), broken: tuple[int, ...] = ()) -> Scene:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].bias.fill_(2.0)  # so that the ReLU lets all through
        for unit in still:
            net[0].weight[unit] = 0.0
            net[0].bias[unit] = 0.1  # the mean of many is not quite 0.1
        for unit in broken:
            net[0].weight[unit] = torch.nan
    return Scene(net, torch.rand(61, 5), torch.arange(61) % 3, classes=("a", "b", "c"))


def _network(picture: Picture) -> Network:
    return next(mark for mark in picture.marks() if isinstance(mark, Network))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_of_answers_that_are_all_alike_says_nothing(method: str) -> None:
    """Where a layer tells no two examples apart, the caption says so, and no number tells how far the map is to be trusted."""
    picture = _net(still=tuple(range(8))).view("projection", layer="0", method=method)
    assert picture.caption.startswith("61 examples: layer 0 answers the same to all of them, or with no numbers, so where they stand says nothing.")
    assert not picture.checks
    assert "says nothing" not in _net(still=(1,)).view("projection", layer="0", method=method).caption


def test_a_unit_that_answers_to_no_class_has_no_class_s_colour() -> None:
    """Among springs, units that are still or answer no numbers are grey, and the caption counts them."""
    picture = _net(still=(1, 4), broken=(6,)).view("springs")
    dots = {vertex.keys[0]: vertex for vertex in _network(picture).vertices if vertex.form == "dot"}
    grey = {key for key, vertex in dots.items() if vertex.colour is None}
    assert {key for key in dots if key.startswith("unit:0/")} & grey == {"unit:0/1", "unit:0/4", "unit:0/6"}
    assert all(dots[key].note == "answers the same to all classes, or no numbers" for key in grey)
    assert f"; {len(grey)} of 11 units answer the same to all classes, or no numbers, and have none." in picture.caption


def test_a_box_of_units_without_numbers_is_not_called_still() -> None:
    """A box of still units says how many of them answer with no numbers; one of these alone bears their name."""
    def box(scene: Scene) -> tuple[str, str]:
        vertex = next(one for one in _network(scene.view("clusters")).vertices if one.told)
        return vertex.label, vertex.told

    assert box(_net(still=(1, 4))) == ("still", "they answer the same to everything")
    assert box(_net(still=(1, 4), broken=(6,))) == ("still", "they answer the same to everything, or (1 of 3) with no numbers")
    assert box(_net(broken=(6, 7))) == ("no numbers", "their answers are no numbers")


def test_a_unit_is_still_also_where_its_mean_is_rounded() -> None:
    """A unit that answers 0.1 to everything never changes, and no choice lights it by the noise of its mean."""
    scene = _net(still=(1,))
    picture = scene.view("units", layer="0", select="class:1")
    assert "1 of 8 units never changes" in picture.caption
    mark = next(mark for mark in picture.marks() if isinstance(mark, Scatter))
    assert mark.labels[mark.keys.index("unit:0/1")] == "never changes"
    assert mark.faded is None or bool(np.asarray(mark.faded)[mark.keys.index("unit:0/1")])
