"""Regions that fire together, what they cost, and that looking at them leaves the model as it was."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import nn

from diorama.core.errors import UsageError
from diorama.core.marks import Bars, Heatmap, Network, Table
from diorama.methods.grouping import modularity, regions
from diorama.scene import Scene
from diorama.views.sets import mixed


class _Lanes(nn.Module):
    """Three lanes that never meet: each class has its own units in both layers, and its own answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 12), nn.Linear(12, 9), nn.Linear(9, 3)
        with torch.no_grad():
            for layer in (self.first, self.second, self.out):
                layer.weight.zero_()
                layer.bias.zero_()
                for target in range(layer.out_features):
                    layer.weight[target, target % 3 :: 3] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.second(self.first(x).relu()).relu())
        return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The lanes, on sixty points of which each drives its own lane most."""
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] + 0.3 * torch.rand(60, 3, generator=torch.Generator().manual_seed(1))
    return Scene(_Lanes(), x, y, task="classification")


def test_lanes_are_regions(scene: Scene) -> None:
    """Units of all layers that one class drives are one region."""
    found = scene.derive("communities").value
    assert len(found["profile"]) == 3
    for name, region in zip(found["layers"], found["region"], strict=True):
        assert adjusted_rand_score(np.arange(len(region)) % 3, region) == 1, name
    classes = [int(region[0]) for region in found["region"]]
    assert len(set(classes)) == 1
    lit = found["profile"].argmax(1)
    assert sorted(lit.tolist()) == [0, 1, 2]


def test_a_silenced_region_costs_the_class_that_it_was_lit_for(scene: Scene) -> None:
    """Its own class is lost, the others are not; costs equal those of a network with the units' weights set to zero."""
    found = scene.derive("communities").value
    for region, lit in enumerate(found["profile"].argmax(1)):
        assert found["by_class"][region, lit] == -1
        assert (np.delete(found["by_class"][region], lit) == 0).all()
        model = _Lanes()
        with torch.no_grad():
            for layer, name in ((model.first, "first"), (model.second, "second")):
                units = found["units"][found["layers"].index(name)][found["region"][found["layers"].index(name)] == region]
                layer.weight[units] = 0
            loss = nn.functional.cross_entropy(model(scene.examples.x), scene.examples.y) - nn.functional.cross_entropy(
                _Lanes()(scene.examples.x), scene.examples.y
            )
        assert found["loss"][region] == pytest.approx(float(loss), rel=1e-4)
        # Nothing leads from one lane to another.
        assert np.nan_to_num(found["influence"][region]).max() == pytest.approx(0, abs=1e-9)


def test_influence_is_measured_by_lesion() -> None:
    """Where one lane feeds another, the other moves by as many of its own standard deviations as by hand."""
    model = _Lanes()
    with torch.no_grad():
        model.second.weight[1::3, 0::3] = -0.2
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] + 0.3 * torch.rand(60, 3, generator=torch.Generator().manual_seed(1))
    scene = Scene(model, x, y, task="classification")
    found = scene.derive("communities", count=3, probed=60).value
    first, second, out = found["region"]
    source, target = int(first[0]), int(first[1])
    assert np.nanargmax(found["influence"][source]) == target
    with torch.no_grad():
        whole = model.second(model.first(x).relu()).relu()
        less = model.first(x).relu()
        less[:, first == source] = 0
        lesioned = model.second(less).relu()
        lesioned[:, second == source] = 0
        moved = [(lesioned - whole).abs().mean(0) / whole.std(0, unbiased=False), (model.out(lesioned) - model.out(whole)).abs().mean(0)
                 / model.out(whole).std(0, unbiased=False)]
    wanted = np.concatenate([moved[0].numpy()[second == target], moved[1].numpy()[out == target]]).mean()
    assert found["influence"][source, target] == pytest.approx(float(wanted), rel=1e-4)


def test_lesions_leave_the_model_bitwise_as_it_was(scene: Scene) -> None:
    """Every weight keeps its bits, and the next answer is the same."""
    before = {name: tensor.clone() for name, tensor in scene.model.state_dict().items()}
    answer = scene.scores()
    scene.view("communities", lesion=1, count=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in scene.model.state_dict().items())
    assert torch.equal(scene.scores(), answer)


def test_a_pulse_lights_layer_after_layer(scene: Scene) -> None:
    """Units of layers that the input has not reached are small and faded; the class's own lane is the largest."""
    network = next(mark for mark in scene.view("communities", pulse=1).marks() if isinstance(mark, Network))
    dots = [k for k, vertex in enumerate(network.vertices) if vertex.form == "dot"]
    assert {network.vertices[k].faded for k in dots if "first" in network.vertices[k].label} == {False}
    assert {network.vertices[k].faded for k in dots if "second" in network.vertices[k].label} == {True}
    whole = next(mark for mark in scene.view("communities").marks() if isinstance(mark, Network))
    sizes = {vertex.keys[0]: float(place[2]) for vertex, place in zip(whole.vertices, whole.places, strict=True) if vertex.form == "dot"}
    assert min(sizes[f"unit:first/{k}"] for k in (0, 3, 6, 9)) > max(sizes[f"unit:first/{k}"] for k in (1, 2, 4, 5))


def test_a_pulse_is_moved_from_layer_to_layer(scene: Scene) -> None:
    """Its slider stands at whole layers alone: what it shows between them would be that of a layer."""
    network = next(mark for mark in scene.view("communities", pulse=1).marks() if isinstance(mark, Network))
    assert network.handle is not None
    assert network.handle.whole
    with pytest.raises(UsageError):
        scene.view("communities", pulse=0.5)


def test_two_sets_are_poured_through_the_regions(scene: Scene) -> None:
    """A unit that one set alone drives is blue or red, and the region of a set's lane takes that set, as means by hand say."""
    picture = scene.view("communities", colour="sets", select="class:0|class:1")
    network = next(mark for mark in picture.marks() if isinstance(mark, Network))
    dots = {vertex.keys[0]: vertex.ink for vertex in network.vertices if vertex.form == "dot"}
    answers = scene.model.first(scene.examples.x).relu().detach().numpy()
    means = [answers[scene.examples.y.numpy() == k].mean(0) for k in range(2)]
    for unit, share in enumerate(means[0] / (means[0] + means[1])):
        assert dots[f"unit:first/{unit}"] == "#" + bytes(mixed(np.array([share]))[0]).hex()
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    columns = {column.name: column for column in table.columns}
    taken = dict(zip(columns["lit by"].texts, columns["part of A"].numbers, strict=True))
    assert taken["0"] > 0.7 > 0.3 > taken["1"]
    blue, purple, red = mixed(np.array([1.0, 0.5, 0.0])).astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert abs(purple[0] - purple[2]) < 60


def test_the_ranking_and_the_answers(scene: Scene) -> None:
    """The dearest region stands first; a chosen one is silenced for the current input, whose answer stands beside the whole one's."""
    picture = scene.view("communities", lesion=1)
    marks = list(picture.marks())
    table = next(mark for mark in marks if isinstance(mark, Table))
    cost = next(column for column in table.columns if column.name == "cost").numbers
    assert cost is not None
    assert (np.diff(cost) <= 0).all()
    assert sum(isinstance(mark, Bars) for mark in marks) == 2
    assert any(isinstance(mark, Heatmap) for mark in marks)
    with pytest.raises(UsageError, match="regions 1 to 3"):
        scene.view("communities", lesion=9)


def test_modularity_equals_networkx() -> None:
    """Of communities found in a random graph, and of planted ones, which are found."""
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), (6, 9, 12, 20))
    rows = draw.normal(size=(4, 80))[truth] + draw.normal(size=(47, 80))
    labels, value = regions(rows)
    assert adjusted_rand_score(truth, labels) >= 0.95
    graph = np.clip(np.corrcoef(rows), 0, None)
    np.fill_diagonal(graph, 0)
    groups = [set(np.flatnonzero(labels == k).tolist()) for k in range(labels.max() + 1)]
    joined, judged = networkx.from_numpy_array(graph), networkx.community.modularity
    assert value == pytest.approx(judged(joined, groups), abs=1e-9)
    best = judged(joined, networkx.community.louvain_communities(joined, seed=0))
    assert value >= best - 1e-3
    assert modularity(graph, np.zeros(47, np.int64)) == pytest.approx(0)
    assert regions(np.ones((5, 4)))[0].tolist() == [-1] * 5
    # As many as are asked for: groups of groups are told apart where more are wanted than modularity would have.
    rows = np.repeat(draw.normal(size=(3, 80)), 18, 0) + np.repeat(draw.normal(size=(9, 80)), 6, 0) + 0.3 * draw.normal(size=(54, 80))
    assert regions(rows)[0].max() == 2
    for wanted in (3, 9):
        assert adjusted_rand_score(np.arange(54) // (54 // wanted), regions(rows, wanted)[0]) == 1
