"""What answers the same to everything, or with no numbers, is said so in each view of the room, and gets no class by chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diorama.core.marks import Network, Scatter
from diorama.core.picture import Picture
from diorama.scene import Scene


def _net(still: tuple[int, ...] = (), broken: tuple[int, ...] = (), tells: bool = False) -> Scene:
    """``tells``: what the other units answer goes with the classes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].bias.fill_(2.0)  # so that the ReLU lets all through
        if tells:
            net[0].weight[:, 0] = 2.0
        for unit in still:
            net[0].weight[unit] = 0.0
            net[0].bias[unit] = 0.1  # the mean of many is not quite 0.1
        for unit in broken:
            net[0].weight[unit] = torch.nan
    x = torch.rand(61, 5)
    return Scene(net, x, (3 * x[:, 0]).long() if tells else torch.arange(61) % 3, classes=("a", "b", "c"))


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
    picture = _net(still=(1, 4), broken=(6,), tells=True).view("springs")
    dots = {vertex.keys[0]: vertex for vertex in _network(picture).vertices if vertex.form == "dot"}
    grey = {key for key, vertex in dots.items() if vertex.colour is None}
    assert {key for key in dots if key.startswith("unit:0/")} & grey == {"unit:0/1", "unit:0/4", "unit:0/6"}
    assert all(dots[key].note == "answers about the same to all classes, beside how its answers differ within one, or no numbers" for key in grey)
    assert f"; {len(grey)} of 11 units answer about the same to all classes, or no numbers, and have none." in picture.caption


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


def _shut(*units: int, norm: bool = False) -> Scene:
    """Ten units of which some never pass the ReLU behind their layer, or behind its norm; the others tell the classes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 10), *([nn.BatchNorm1d(10)] if norm else []), nn.ReLU(), nn.Linear(10, 3)).eval()
    with torch.no_grad():
        net[0].bias.fill_(2.0)
        net[0].weight[:, 0] = 2.0
        net[0].bias[list(units)] = -50.0
    x = torch.rand(61, 5)
    return Scene(net, x, (3 * x[:, 0]).long(), classes=("a", "b", "c"))


@pytest.mark.parametrize("norm", [False, True])
def test_springs_hold_no_colour_for_who_is_not_heard(norm: bool) -> None:
    """A unit that never passes the ReLU behind is a small grey dot that says so, and the caption counts it apart from those that are still."""
    picture = _shut(2, 7, norm=norm).view("springs")
    network = _network(picture)
    dots = {vertex.keys[0]: (vertex, size) for vertex, (_, _, size, _) in zip(network.vertices, network.places, strict=True) if vertex.form == "dot"}
    shut = {key for key, (vertex, _) in dots.items() if vertex.note == "never passes the ReLU behind"}
    assert shut == {"unit:0/2", "unit:0/7"}
    assert all(dots[key][0].colour is None and dots[key][1] < dots["unit:0/1"][1] for key in shut)
    assert "2 of 13 units, small and grey, never pass the ReLU behind: nothing that follows hears of them." in picture.caption
    assert "the same to all classes" not in picture.caption
    assert "ReLU" not in _net().view("springs").caption


def test_a_box_says_that_nothing_hears_of_its_units() -> None:
    """Units that never pass the ReLU behind are not said to answer the same: before it they may not."""
    told = [vertex.told for vertex in _network(_shut(2, 7).view("clusters")).vertices if vertex.told]
    assert told == ["they never pass the ReLU behind"]
    told = [vertex.told for vertex in _network(_net(still=(1, 4)).view("clusters")).vertices if vertex.told]
    assert told == ["they answer the same to everything"]


def test_a_matrix_without_colour_says_why() -> None:
    """Rows of units that answer the same to all, or with no numbers, are counted; where all are such there is nothing to see."""
    every = tuple(range(8))
    assert _net(still=every).view("matrix", layer="0").caption.endswith(
        "The 8 units all answer the same to every example, so there is nothing to see.")
    assert _net(broken=every).view("matrix", layer="0").caption.endswith("The 8 units all answer with no numbers, so there is nothing to see.")
    some = _net(still=(1, 4), broken=(6,)).view("matrix", layer="0").caption
    assert some.endswith("2 of 8 units answer the same to every example and 1 of 8 units answers with no numbers, so they have no colour.")
    assert "2 of 11 units answer the same to every example, so they have no colour." in _net(still=(1, 4)).view("matrix", of="cube").caption
    assert "colour" not in _net().view("matrix", layer="0").caption


def test_layers_that_tell_nothing_apart_are_not_said_to_be_broken() -> None:
    """A layer that answers the same to all examples has no likeness, though its numbers are finite; one without finite numbers has none either."""
    every = tuple(range(8))
    assert _net(still=every).view("matrix", of="layers").note == "There is no likeness to layer 0 and layer 2, which answer the same to all examples."
    assert _net(broken=every).view("matrix", of="layers").note == (
        "There is no likeness to layer 0 and layer 2, which answer with numbers that are not all finite.")
    other = _net(still=every)
    assert _net().view("matrix", of="layers", other=other).note == (
        "There is no likeness to layer 0 and layer 2 of the other network, which answer the same to all examples.")


def test_one_unit_stands_near_nobody() -> None:
    """Of a layer of one unit nothing is said to be near another; regions count the units that are in one."""
    torch.manual_seed(0)
    scene = Scene(nn.Sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 3)), torch.randn(30, 4), torch.arange(30) % 3)
    assert scene.view("units", layer="0").caption.startswith("1 unit of layer 0, by itself: where it stands says nothing")
    assert "11 units of 2 layers, 9 of them (the others never change) in " in _net(still=(1, 4)).view("communities").caption
