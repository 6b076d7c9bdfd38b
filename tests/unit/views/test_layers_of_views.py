"""Views of layers and units: activations, weights, the network map, the inspector, structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import images, letters
from torch import Tensor, nn

from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Blocks, Heatmap, Network, Table, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene


def _marks(picture: Picture, kind: type) -> list:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def test_activations_come_strongest_first() -> None:
    """Maps are ordered by their largest value behind the ReLU, and carry their units' keys."""
    scene = images()
    tiles = _marks(scene.view("activations", layer="0", example=4), Tiles)[0]
    raw = scene.activations("0", scene.examples.x[4:5])["0"][0].clamp_min(0)
    order = raw.flatten(1).amax(1).argsort(descending=True)
    assert tiles.keys == tuple(f"unit:0/{int(unit)}" for unit in order)
    assert np.allclose(tiles.images, raw[order].numpy())
    assert tiles.limits is not None
    assert tiles.limits.low == 0
    assert _marks(scene.view("activations", layer="0", sort="index"), Tiles)[0].labels == tuple("012345")


def test_dead_maps_are_marked_once_the_probe_set_was_seen() -> None:
    """The first picture comes without a pass over the probe set; the second one marks the dead unit."""
    scene = images(dead=2)
    first, second = scene.stream("activations", layer="0", sort="index")
    assert not first.final
    assert "dead" not in _marks(first, Tiles)[0].badges
    assert _marks(second, Tiles)[0].badges == ("", "", "dead", "", "", "")
    assert bool(_marks(second, Tiles)[0].faded[2])
    assert "1 unit of the ReLU layers is dead" in second.caption
    assert len(list(scene.stream("activations", layer="0"))) == 1
    dense = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.init.constant_(dense[0].bias, -99.0)
    names = Scene(dense, torch.rand(8, 4), torch.arange(8) % 2).view("activations", layer="0", sort="index")
    assert _marks(names, Heatmap)[0].column_labels == ("0†", "1†", "2†")  # no wider than the cells: words would leave no room
    assert "3 units of the ReLU layers (†) are dead" in names.caption


def test_a_normalised_layer_shows_what_leaves_it() -> None:
    """A convolution followed by batch norm and ReLU shows the values behind both, under its own name."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))
    scene = Scene(model, torch.rand(8, 1, 8, 8), torch.arange(8) % 2)
    tiles = _marks(scene.view("activations"), Tiles)
    assert len(tiles) == 1
    assert tiles[0].title == "Layer 0"
    assert "after layer 1 and ReLU" in tiles[0].caption
    model.eval()
    with torch.no_grad():
        wanted = model[2](model[1](model[0](scene.examples.x[:1])))[0]
    assert tiles[0].images.max() == pytest.approx(float(wanted.max()), abs=1e-6)


def test_a_matrix_of_ones_own_is_shown_by_unit() -> None:
    """Of ``x @ w`` the weights that lead into a unit stand in a column of w."""
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = nn.Parameter(torch.randn(12, 5)), nn.Parameter(torch.randn(5, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ self.w).relu() @ self.v

    model = Own()
    picture = Scene(model, torch.randn(9, 12), torch.arange(9) % 3).view("weights", sort="index")
    assert "its 12 incoming weights" in picture.caption
    shown = next(mark for mark in picture.marks() if getattr(mark, "values", None) is not None and np.shape(mark.values) == (5, 12))
    np.testing.assert_allclose(shown.values, model.w.detach().numpy().T, atol=1e-6)


def test_a_hundred_classes_are_grouped_and_named() -> None:
    """Weights of a layer of 100 classes come as groups of alike pictures with the classes' names, each once."""
    centres = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100))
    with torch.no_grad():
        model[1].weight.copy_(centres.repeat_interleave(20, 0) + 0.1 * torch.randn(100, 64))
    names = tuple(f"class {k}" for k in range(100))
    scene = Scene(model, torch.rand(10, 1, 8, 8), torch.arange(10), classes=names)
    picture = scene.view("weights")
    tiles = _marks(picture, Tiles)
    assert sorted(label for mark in tiles for label in mark.labels) == sorted(names)
    assert all(mark.images.shape[1:] == (8, 8) for mark in tiles)
    for mark in tiles:
        kinds = {int(label.split()[1]) // 20 for label in mark.labels}
        assert len(kinds) == 1, "a group mixes classes with unlike weights"
    assert picture.checks[0].name == "silhouette"
    assert len(_marks(scene.view("weights", group="no", limit=30), Tiles)[0].labels) == 30


def test_weights_keep_their_values_and_order() -> None:
    """Filters are the mean over their inputs, sorted by norm when asked; normalised ones reach 1 each."""
    scene = images()
    weight = scene.parameters()["0.weight"]
    tiles = _marks(scene.view("weights", sort="norm"), Tiles)[0]
    order = np.argsort(-np.linalg.norm(weight.reshape(6, -1), axis=1))
    assert np.allclose(tiles.images, weight[order, 0])
    own = _marks(scene.view("weights", normalise=True), Tiles)[0].images
    assert np.allclose(np.abs(own).reshape(6, -1).max(1), 1)
    assert np.array_equal(weight, scene.parameters()["0.weight"])


def test_a_dense_layer_looks_at_the_maps_before_it() -> None:
    """Weights behind flattened maps take the maps' shape, as the mean over the channels."""
    scene = images()
    tiles = _marks(scene.view("weights", layer="4"), Tiles)[0]
    assert np.allclose(tiles.images, scene.parameters()["4.weight"].reshape(12, 6, 4, 4).mean(1))
    assert _marks(scene.view("weights", layer="6"), Heatmap)[0].values.shape == (3, 12)
    with pytest.raises(NotApplicable, match="ReLU"):
        scene.view("weights", layer="1")


def test_recurrent_weights_come_gate_by_gate() -> None:
    """A cell's picture has one row a gate, in torch's order."""
    scene = letters()
    tiles = _marks(scene.view("weights", layer="rnn.l0"), Tiles)[0]
    assert tiles.images.shape == (3, 4, 8)
    assert np.allclose(tiles.images[0, 2], scene.parameters()["rnn.weight_ih_l0"][6])


def test_the_map_says_what_lies_between_layers() -> None:
    """The network map has a card for each layer with weights, the words for what happens between them, and what a branch reads."""
    blocks = _marks(images().view("map"), Blocks)[0]
    assert [block.label for block in blocks.blocks] == ["0", "4", "6"]
    assert blocks.layout == "list"
    assert [edge.label for edge in blocks.edges] == ["ReLU · max-pool 2", "ReLU"]
    assert blocks.blocks[0].notes[0] == "1→6, 3×3"
    x = {"one": torch.randn(4, 5, 3), "two": torch.randn(4, 6)}
    (branched,) = _marks(Scene(_Branches(), x, torch.arange(4) % 2).view("map"), Blocks)
    assert [(edge.target, edge.label) for edge in branched.edges] == [
        ("layer:rnn.l0.reverse", "from one"), ("layer:rnn.l1", "from rnn.l0 and rnn.l0.reverse"),
        ("layer:rnn.l1.reverse", "from rnn.l0 and rnn.l0.reverse"), ("layer:row", "from two"),
        ("layer:out", "from rnn.l1, rnn.l1.reverse and row · ReLU · joined"),
    ]
    clusters = Scene(_Branches(), x, torch.arange(4) % 2).view("clusters")
    assert "nothing that rnn.l1.reverse makes comes to row: they stand in branches of their own" in clusters.note
    (network,) = _marks(clusters, Network)
    row = {k for k, vertex in enumerate(network.vertices) if vertex.id.startswith("4/")}
    assert row
    assert not row & {int(target) for _, target in network.links}


class _Branches(nn.Module):
    """Two inputs, each read by its own branch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.row, self.out = nn.Linear(6, 5), nn.Linear(13, 2)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        seen, _ = self.rnn(one)
        return self.out(torch.cat([seen[:, -1], self.row(two).relu()], 1))


def test_the_inspector_finds_the_strongest_examples() -> None:
    """A unit's top examples are those with its largest activations, in order; bars are its mean by class."""
    scene = images()
    picture = scene.view("inspector", unit="4/3", count=5)
    high = scene.activations("4")["4"][:, 3].clamp_min(0)
    tiles = _marks(picture, Tiles)[0]
    assert tiles.keys == tuple(f"example:{int(k)}" for k in high.argsort(descending=True, stable=True)[:5])
    means = [float(high[torch.arange(30) % 3 == k].mean()) for k in range(3)]
    assert np.allclose(_marks(picture, Bars)[0].values, means, atol=1e-6)


def test_the_inspector_shows_the_examples_of_a_class_that_drive_a_unit_most() -> None:
    """Where a class is chosen beside a unit, as a cell of units and classes does, its own strongest examples stand below those of all."""
    scene = images()
    picture = scene.view("inspector", select=["class:1", "unit:4/3"], count=4)
    high = scene.activations("4")["4"][:, 3].clamp_min(0)
    own = [int(k) for k in high.argsort(descending=True, stable=True) if int(k) % 3 == 1][:4]
    tiles = _marks(picture, Tiles)[1]
    assert tiles.keys == tuple(f"example:{k}" for k in own)
    assert tiles.title.startswith(f"Of {scene.classes[1]} it fires most for: top 4 of 10 examples")


def test_the_inspector_tells_of_a_class() -> None:
    """A class is told by how much of it is found; what it is taken for adds up to its examples."""
    scene = images()
    picture = scene.view("inspector", class_=1)
    assert _marks(picture, Bars)[0].values.sum() == 10
    assert "10 of 30 examples" in picture.caption


def test_structure_opens_down_to_operations() -> None:
    """A closed module is one block; opened it shows its operations, with shapes and parameter counts."""
    scene = images()
    closed = _marks(scene.view("structure"), Blocks)[0]
    assert not any(block.id.startswith("op:") for block in closed.blocks)
    conv = next(block for block in closed.blocks if block.label == "0")
    assert conv.expandable
    assert "6 × 8 × 8" in conv.detail
    assert "60 weights" in conv.detail
    opened = _marks(scene.view("structure", open="layer:0"), Blocks)[0]
    assert any(block.parent == "layer:0" and block.kind == "conv2d" for block in opened.blocks)
    assert opened.handle is not None
    assert opened.handle.knob == "open"
    assert opened.handle.value == "layer:0"


def test_a_search_leaves_the_neighbourhood() -> None:
    """Searching a unit shows its layer and what touches it, and nothing further away."""
    scene = images()
    found = _marks(scene.view("structure", search="4/7"), Blocks)[0]
    assert {block.label for block in found.blocks} == {"3", "4", "5"}
    with pytest.raises(NotApplicable, match="nothing"):
        scene.view("structure", search="no such thing")


def test_structure_is_coloured_by_a_signal() -> None:
    """The share of dead units colours the layers in front of a ReLU."""
    blocks = _marks(images(dead=2).view("structure", colour="dead share"), Blocks)[0]
    value = {block.label: block.value for block in blocks.blocks}
    assert value["0"] == pytest.approx(1 / 6)
    assert value["6"] is None
    assert blocks.limits is not None


def test_a_layer_is_told_by_its_units() -> None:
    """The inspector of a layer lists each unit with the share of examples for which it is off."""
    table = _marks(images(dead=2).view("inspector", layer="0"), Table)[0]
    off = next(column for column in table.columns if column.name == "off")
    assert off.numbers is not None
    assert off.numbers[2] == 1
