"""The view of clusters: boxes named by what they serve, bundles that hold the strengths, what opens."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_runs import recorded
from torch import nn

from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Network
from diorama.core.picture import Picture
from diorama.derive.columns import columns
from diorama.derive.derivations import clusters
from diorama.model.layers import layers
from diorama.scene import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Eight pictures' quarters: each of sixteen filters answers to one of four bright corners, and the answers read them in blocks."""
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16 * 4, 4)
    with torch.no_grad():
        first.weight.zero_()
        first.bias.zero_()
        first.weight[:, 0, 1, 1] = 1.0
        second.weight.zero_()
        for unit, place in itertools.product(range(16), range(4)):
            second.weight[place, unit * 4 + place] = 1.0 if unit % 2 == place % 2 else -0.5
    net = nn.Sequential(first, nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), second)
    y = torch.arange(40) % 4
    x = 0.1 * torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    for k, label in enumerate(y.tolist()):
        x[k, 0, 3 * (label // 2) : 3 * (label // 2) + 3, 3 * (label % 2) : 3 * (label % 2) + 3] += 1 + label
    return Scene(net, x, y, classes=("north", "east", "south", "west"))


def _network(picture: Picture) -> Network:
    return next(mark for mark in picture.marks() if isinstance(mark, Network))


def test_answers_stand_by_themselves_and_bear_their_class(scene: Scene) -> None:
    """Of a classifier's last layer each answer is a box of its own, named by the class that it answers to most."""
    network = _network(scene.view("clusters"))
    last = [vertex for vertex in network.vertices if vertex.keys and vertex.keys[0].startswith("unit:4/")]
    assert len(last) == 4
    profile = scene.derive("clusters").value["layers"][-1]["profile"]
    for vertex in last:
        unit = int(vertex.keys[0].split("/")[1])
        assert vertex.label.startswith(scene.classes[int(profile[unit].argmax())])
        assert vertex.colour == int(profile[unit].argmax())


def test_every_unit_is_in_one_box(scene: Scene) -> None:
    """No unit is lost or told twice, and no box lies over another."""
    network = _network(scene.view("clusters"))
    boxes = [k for k, vertex in enumerate(network.vertices) if vertex.form == "box"]
    keys = [key for k in boxes for key in network.vertices[k].keys]
    assert len(keys) == len(set(keys)) == 20
    for one, other in itertools.combinations(network.places[boxes], 2):
        apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0] or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
        assert apart


@pytest.mark.parametrize("select", ["class:2", "+".join(f"example:{k}" for k in range(2, 40, 4))])
def test_what_is_chosen_lights_its_clusters(scene: Scene, select: str) -> None:
    """Of a class, or of its examples drawn round by hand, the clusters stay that answer to it by a standard deviation on average, others are pale."""
    picture = scene.view("clusters", select=select.split("+"))
    profile = scene.derive("clusters", layers="0+4").value["layers"]
    above = [(part["profile"][:, 2] - part["profile"].mean(1)) / np.maximum(1e-12, part["profile"].std(1)) for part in profile]
    boxes = [vertex for vertex in _network(picture).vertices if vertex.form == "box"]
    lit = 0
    for vertex in boxes:
        layer = 0 if vertex.keys[0].startswith("unit:0/") else 1
        mean = np.mean([above[layer][int(key.split("/")[1])] for key in vertex.keys])
        assert vertex.faded == (mean < 1)
        lit += not vertex.faded
    assert 0 < lit < len(boxes)
    assert f"of the {len(boxes)} clusters on average; the others are pale." in picture.caption
    assert not any(vertex.faded for vertex in _network(scene.view("clusters")).vertices)


def test_an_example_without_numbers_takes_no_unit_with_it(scene: Scene) -> None:
    """One that is answered with no number is left out, also of regions; units of one class, of one example and of none are told for what they are."""
    x = torch.cat([scene.examples.x, torch.full((1, 1, 6, 6), torch.nan)])
    y = torch.cat([scene.examples.y, torch.tensor([1])])
    broken, told = Scene(scene.model, x, y), scene.derive("clusters", layers="0+4").value
    found = broken.derive("clusters", layers="0+4").value
    assert found["examples"] == 40
    for one, other in zip(found["layers"], told["layers"], strict=True):
        np.testing.assert_allclose(one["profile"], other["profile"], rtol=1e-5)
        np.testing.assert_array_equal(one["cluster"], other["cluster"])
    assert "1 of 41 examples is answered with no finite numbers and left out." in broken.view("clusters").note
    assert "are looked at" not in broken.view("clusters").note
    assert len(broken.derive("communities", layers="0+4").value["profile"]) == len(scene.derive("communities", layers="0+4").value["profile"])
    assert "20 of 820 answers are no finite number" in broken.view("communities").note
    same = Scene(scene.model, scene.examples.x, torch.ones(40, dtype=torch.int64))
    assert "All examples that are looked at are of one class" in same.view("clusters").note
    with pytest.raises(NotApplicable, match="there is one"):
        Scene(scene.model, x[:1], y[:1]).view("clusters")


def test_boxes_of_many_columns_say_how_many_they_show(scene: Scene) -> None:
    """Of more than 64 classes or examples a box shows 64, and the picture says so; of fewer it says nothing."""
    classes = torch.arange(140) % 70
    many = Scene(nn.Linear(8, 70), torch.randn(140, 8), classes)
    assert "Boxes show 64 of 70 classes, those that units differ about most." in many.view("clusters").note
    assert "Boxes show 64 of 140 examples." in many.view("clusters", by="example").note
    assert "Boxes show" not in scene.view("clusters").note


@pytest.mark.parametrize("by", ["class", "example"])
def test_what_is_seen_so_far_is_told(scene: Scene, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the way the clusters are exactly those of the examples that have been looked at, also where some classes are still to come."""
    monkeypatch.setattr(clusters, "SOON", 0.0)
    monkeypatch.setattr(clusters, "SHARE", 0.0)
    stages = list(scene.derive("clusters", by=by, count=3, layers="1").stream())
    assert [stage.value["examples"] for stage in stages[:-1] if stage.value is not None] == [8, 16, 32, 40]
    for stage in stages[:3]:
        alone = scene.derive("clusters", by=by, count=3, layers="1", examples=stage.value["examples"]).value
        assert stage.value["columns"] == alone["columns"]
        np.testing.assert_allclose(stage.value["layers"][0]["profile"], alone["layers"][0]["profile"], rtol=1e-6)


@pytest.mark.parametrize("planted", [True, False])
def test_weak_connections_are_left_out(scene: Scene, planted: bool) -> None:
    """The higher the threshold, the fewer stay, and at 1 the strongest does; what enters a bundle leaves it."""
    counts = []
    for threshold in (0.0, 0.3, 0.6, 1.0):
        network = _network((_blocked() if planted else scene).view("clusters", threshold=threshold))
        counts.append(len(network.strengths))
        assert np.abs(network.strengths).max() <= 1.0
        for k, vertex in enumerate(network.vertices):
            assert vertex.form != "joint" or {int((network.links[:, side] == k).any()) for side in (0, 1)} == {1}
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] >= 1


def test_an_open_cluster_shows_its_units(scene: Scene) -> None:
    """Each of them stands by itself below the cluster's name, and the knob holds what is open."""
    closed = _network(scene.view("clusters"))
    box = next(vertex for vertex in closed.vertices if len(vertex.keys) > 1)
    opened = _network(scene.view("clusters", open=box.id))
    alone = {vertex.keys for vertex in opened.vertices if vertex.label.startswith("unit ")}
    assert alone == {(key,) for key in box.keys}
    assert opened.handle is not None
    assert opened.handle.value == box.id
    assert next(vertex for vertex in opened.vertices if vertex.id == box.id).open


def _blocked() -> Scene:
    """Twelve units that read three numbers, and six that read them in signed blocks."""
    first, second = nn.Linear(3, 12), nn.Linear(12, 6)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3).repeat(4, 1))
        first.bias.zero_()
        second.weight.copy_(torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.5]]).repeat(3, 4))
        second.weight += 0.05 * torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] * 2 + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    return Scene(nn.Sequential(first, nn.ReLU(), second), x, y, task="classification")


def test_an_open_bundle_shows_its_weights() -> None:
    """A bundle tells how much of it is positive, and opened it shows exactly the weights that run through it."""
    scene = _blocked()
    joints = [vertex for vertex in _network(scene.view("clusters")).vertices if vertex.form == "joint"]
    assert joints
    picture = scene.view("clusters", open=joints[0].id)
    shown = next(mark for mark in picture.marks() if isinstance(mark, Heatmap))
    rows, units = ([int(key.split("/")[1]) for key in keys] for keys in (shown.row_keys, shown.column_keys))
    weight = scene.model[2].weight.detach().double().numpy()[np.ix_(rows, units)]
    np.testing.assert_allclose(shown.values, weight, rtol=1e-6)
    assert joints[0].shares == pytest.approx((weight[weight > 0].sum(), -weight[weight < 0].sum()), rel=1e-5)


def test_patches_and_recurrent_layers(scene: Scene) -> None:
    """Boxes hold pictures where they are asked for; a recurrent layer opens on how its cells feed one another."""
    patched = _network(scene.view("clusters", show="patches"))
    assert any(vertex.pixels is not None and vertex.pixels.ndim == 3 for vertex in patched.vertices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.GRU(3, 5, batch_first=True)
    texts = Scene(net, torch.randn(12, 6, 3), outputs=0)
    heading = next(vertex for vertex in _network(texts.view("clusters")).vertices if vertex.form == "heading" and vertex.expandable)
    own = next(mark for mark in texts.view("clusters", open=heading.id).marks() if isinstance(mark, Heatmap))
    order = [int(key.split("/")[1]) for key in own.row_keys]
    weight = net.weight_hh_l0.detach().double().numpy().reshape(3, 5, 5)
    np.testing.assert_allclose(own.values, (np.sqrt((weight**2).sum(0)) * np.sign(weight[2]))[np.ix_(order, order)], rtol=1e-6)


def test_a_deep_network_stands_in_few_columns() -> None:
    """Modules that hold layers stand for them; of many equal ones some are left out, and the first and the last stay."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(4, 6)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(12))
            self.head = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = x + block(x)
            found: torch.Tensor = self.head(x)
            return found

    table = layers(Deep(), torch.randn(3, 4))
    names = [layer.name for layer in columns(table, most=6)]
    assert len(names) == 6
    assert (names[0], names[-1]) == ("stem", "head")
    assert all(name.startswith("blocks.") and name.count(".") == 1 for name in names[1:-1])
    assert [layer.name for layer in columns(table, "blocks.3")] == ["blocks.3.0", "blocks.3.2"]


def test_still_units_hand_nothing_on() -> None:
    """Dead units are told in a box of their own, and no line leads from or to them, however large their weights."""
    scene = _blocked()
    with torch.no_grad():
        scene.model[0].bias[:4] = -100.0
    network = _network(scene.view("clusters", threshold=0.0))
    still = next(k for k, vertex in enumerate(network.vertices) if vertex.label == "still")
    assert set(network.vertices[still].keys) == {f"unit:0/{k}" for k in range(4)}
    assert len(network.links)
    assert still not in network.links


def test_boxes_hold_still_over_a_training(tmp_path: Path) -> None:
    """In a film every box has the units and the place of the newest snapshot, and what it shows is each step's own."""
    scene = recorded(tmp_path, steps=9, snapshots=4).scene()
    held, own = scene.view("clusters", held=9), scene.view("clusters")
    network = _network(held)
    assert {vertex.keys for vertex in network.vertices} == {vertex.keys for vertex in _network(own).vertices if vertex.form != "joint"}
    frames = [_network(frame) for frame in own.frames()]  # type: ignore[misc]
    assert len(frames) == len(scene.steps) > 2
    for step, frame in zip(scene.steps, frames, strict=True):
        np.testing.assert_array_equal(frame.places, network.places)
        assert [vertex.keys for vertex in frame.vertices] == [vertex.keys for vertex in network.vertices]
        _is_of(frame, scene.at(step))
    assert any((frame.strengths[:1] != network.strengths[:1]).any() for frame in frames)


def _is_of(frame: Network, scene: Scene) -> None:
    """The matrices are the means over the classes beside the spread over the examples at this step, computed here by themselves."""
    x, y = scene.examples.x, scene.examples.y
    hidden = torch.relu(scene.model.first(x)).double()
    means = torch.stack([hidden[y == k].mean(0) for k in range(2)], 1).detach().numpy()
    apart = np.maximum(hidden.std(0, correction=0).detach().numpy(), 1e-300)[:, None]
    for vertex in frame.vertices:
        units = [int(key.split("/")[1]) for key in vertex.keys if key.startswith("unit:first/")]
        if units and vertex.pixels is not None:
            rows = means[units]
            spread, size = rows.std(1, keepdims=True), np.abs(rows).max(1, keepdims=True)
            wanted = np.where(spread > 1e-6 * size, (rows - rows.mean(1, keepdims=True)) / apart[units], 0)
            np.testing.assert_allclose(vertex.pixels, wanted, atol=1e-4)
