"""A layer that reads several layers side by side: each has the weights that are its own, in every picture of connections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO

from diorama.core.marks import Network
from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.scene import Scene, wiring
from diorama.scene.directions import default_layer
from diorama.views.relate.clusters import ClustersView
from diorama.views.relate.neighbourhood import NeighbourhoodView
from diorama.views.relate.springs import SpringsView
from diorama.views.unit.card import CardView

Last = Callable[[Tensor, Tensor], Tensor]
LAST: dict[str, Last] = {
    "output": lambda out, h: out[:, -1],
    "mean": lambda out, h: out.mean(1),
    "state": lambda out, h: h[-1],
    "ways": lambda out, h: torch.cat([h[-2], h[-1]], 1),
}


class _Branches(nn.Module):
    """A recurrent layer and a dense one, read side by side."""

    def __init__(self, kind: str = "GRU", last: str = "output", layers: int = 1) -> None:
        super().__init__()
        two = last == "ways"
        self.rnn = getattr(nn, kind)(3, 5, layers, batch_first=True, bidirectional=two)
        self.dense, self.head = nn.Linear(4, 6), nn.Linear((10 if two else 5) + 6, 7)
        self.end, self.last = nn.Linear(7, 3), LAST[last]

    def forward(self, series: Tensor, numbers: Tensor) -> Tensor:
        out, state = self.rnn(series)
        h = state[0] if isinstance(state, tuple) else state
        found: Tensor = self.end(self.head(torch.cat([self.last(out, h), self.dense(numbers).relu()], 1)).relu())
        return found


def _network(picture: Picture) -> Network:
    return next(mark for mark in picture.marks() if isinstance(mark, Network))


def _scene(model: nn.Module) -> Scene:
    x = (torch.randn(30, 8, 3, generator=torch.Generator().manual_seed(1)), torch.randn(30, 4, generator=torch.Generator().manual_seed(2)))
    return Scene(model, x, torch.arange(30) % 3, task="classification")


@pytest.mark.parametrize(("kind", "last", "layers"), [
    ("GRU", "output", 1), ("LSTM", "output", 2), ("RNN", "mean", 1), ("GRU", "state", 2), ("LSTM", "state", 1), ("LSTM", "ways", 1),
])
def test_each_branch_has_the_columns_that_are_its_own(kind: str, last: str, layers: int) -> None:
    """The weights of a layer behind a concatenation belong to the layers that its columns come from, recurrent ones too."""
    torch.manual_seed(0)
    model = _Branches(kind, last, layers)
    scene = _scene(model)
    found = wiring.reads(scene, scene.layers["head"])
    weight = model.head.weight.detach().numpy()
    top = f"rnn.l{layers - 1}"
    names = [top, f"{top}.reverse"] if last == "ways" else [top]
    assert set(found) == {*names, "dense"}
    assert np.allclose(np.concatenate([found[name] for name in (*names, "dense")], 1), weight)
    assert not wiring.lost(scene, scene.layers["head"])
    if layers > 1:
        assert set(wiring.reads(scene, scene.layers[top])) == {"rnn.l0"}
    assert not wiring.reads(scene, scene.layers["dense"])


def test_pictures_of_connections_join_branches_to_what_reads_them() -> None:
    """Clusters, springs, the neighbourhood and a unit's card draw lines from both branches by one measure, and none between the branches."""
    torch.manual_seed(0)
    model = _Branches()
    with torch.no_grad():
        model.head.weight[:, 5:] *= 0.05
    scene = _scene(model)
    pairs = [(pair["source"], pair["target"], pair["how"]) for pair in scene.derive("biclusters").value["pairs"]]
    assert pairs == [("rnn.l0", "dense", "together"), ("rnn.l0", "head", "weights"), ("dense", "head", "weights"), ("head", "end", "weights")]
    picture = list(ClustersView(threshold=0.0).pictures(scene, Selection()))[-1]
    network = _network(picture)
    columns = {vertex.id: int(vertex.id[0]) for vertex in network.vertices if "/" in vertex.id and vertex.id[0].isdigit()}
    joints: dict[str, set[int]] = {}
    strongest = {0: 0.0, 1: 0.0}
    for (a, b), strength in zip(network.links.tolist(), network.strengths.tolist(), strict=True):
        ends = [network.vertices[k].id for k in (a, b)]
        for one, other in (ends, ends[::-1]):
            if one in columns and other in columns:
                joints.setdefault(f"{a}-{b}", set()).add(columns[one])
            elif one in columns:
                joints.setdefault(other, set()).add(columns[one])
        if ends[0] in columns and columns[ends[0]] < 2:
            strongest[columns[ends[0]]] = max(strongest[columns[ends[0]]], abs(strength))
    assert {frozenset(ends) for ends in joints.values()} >= {frozenset((0, 2)), frozenset((1, 2))}
    assert {0, 1} not in joints.values()
    assert 0 < strongest[1] < 0.5 * strongest[0]
    assert "could not be followed" not in picture.note
    assert "correlations" not in picture.caption
    around = list(NeighbourhoodView().pictures(scene, Selection()))[-1]
    assert "could not be followed" not in around.note
    assert any(key.startswith("unit:rnn.l0/") for vertex in _network(around).vertices for key in vertex.keys)
    springs = list(SpringsView().pictures(scene, Selection()))[-1]
    assert "correlations" not in springs.caption


class _Sorted(_Branches):
    """What the recurrent layer says is put in another order for each example, so that no unit has a place."""

    def forward(self, series: Tensor, numbers: Tensor) -> Tensor:
        found: Tensor = self.end(self.head(torch.cat([self.rnn(series)[0][:, -1].sort(1)[0], self.dense(numbers).relu()], 1)).relu())
        return found


@pytest.mark.parametrize("layers", [1, 2])
def test_the_ways_back_and_forth_stand_side_by_side(layers: int) -> None:
    """No line runs from a recurrent layer that reads forward to the one that reads the same backward, and the note says so."""
    torch.manual_seed(0)
    picture = _scene(_Branches("GRU", "ways", layers)).view("clusters", inside="rnn")
    network = _network(picture)
    boxes = [vertex.keys[0].rpartition("/")[0] if vertex.keys else "" for vertex in network.vertices]
    joined = {(boxes[source], boxes[target]) for source, target in network.links.tolist()}
    assert not joined & {(f"unit:rnn.l{k}", f"unit:rnn.l{k}.reverse") for k in range(layers)}
    assert all(f"nothing that rnn.l{k} makes comes to rnn.l{k}.reverse" in picture.note.lower() for k in range(layers))
    assert "correlations" not in picture.caption


def test_a_branch_that_cannot_be_followed_is_named() -> None:
    """No other branch stands for one whose units could not be followed: the picture names it."""
    torch.manual_seed(0)
    scene = _scene(_Sorted())
    assert set(wiring.reads(scene, scene.layers["head"])) == {"dense"}
    for view in (ClustersView(), SpringsView()):
        assert "Rnn.l0 is read by head, through what could not be followed" in list(view.pictures(scene, Selection()))[-1].note.replace("rnn", "Rnn")
    assert "rnn.l0" in list(NeighbourhoodView().pictures(scene, Selection()))[-1].note


class _Streams(nn.Module):
    """Two layers whose streams meet in one of several ways before a third reads them."""

    def __init__(self, way: Last, width: int) -> None:
        super().__init__()
        self.a, self.b, self.head, self.way = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(width, 3), way

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.way(self.a(x), self.b(x)))
        return found


@pytest.mark.parametrize(("way", "width", "by_hand"), [
    (lambda a, b: torch.cat([a, a + b], 1), 10, lambda w: w[:, 5:]),
    (lambda a, b: torch.tanh(a) - torch.tanh(b), 5, lambda w: -w),
    (lambda a, b: torch.cat([a + b, a], 1).relu(), 10, lambda w: w[:, :5]),
    (lambda a, b: 1 - b + a, 5, lambda w: -w),
    (lambda a, b: torch.cat([a, b, (a - b).abs()], 1), 15, None),
    (lambda a, b: torch.cat([a + b, a - b], 1) ** 2, 10, None),
])
def test_streams_that_meet_have_each_its_own_weights(way: Last, width: int, by_hand: Callable[[np.ndarray], np.ndarray] | None) -> None:
    """Through a sum the columns of that sum count alone, through a difference with its sign; where neither can be told, no number is."""
    torch.manual_seed(0)
    model = _Streams(way, width)
    scene = Scene(model, torch.randn(30, 4), torch.arange(30) % 3, task="classification")
    found = wiring.reads(scene, scene.layers["head"])
    assert (wiring.lost(scene, scene.layers["head"]) == ()) == (by_hand is not None)
    if by_hand is None:
        assert "b" not in found
        return
    assert np.allclose(found["b"], by_hand(model.head.weight.detach().numpy()))
    around = scene.derive("neighbourhood", start="unit:head/0").value
    names = [one.name for one in wiring.weighted(scene)]
    told = {int(around["unit"][a]): float(strength) for (a, b), strength in zip(around["links"], around["strengths"], strict=True)
            if names[around["layer"][a]] == "b" and names[around["layer"][b]] == "head" and around["unit"][b] == 0}
    own = found["b"][0][list(told)]
    assert told
    assert np.allclose(np.array([*told.values()]) / np.abs([*told.values()]).max(), own / np.abs(own).max(), atol=1e-5)


def test_a_branch_that_reads_the_input_alone_is_not_called_missing() -> None:
    """A second layer that reads one number of the input was followed: nothing of it is missing."""
    torch.manual_seed(0)

    class _One(_Branches):
        def forward(self, series: Tensor, numbers: Tensor) -> Tensor:
            found: Tensor = self.end(self.head(torch.cat([self.own(series[:, 0, :1]), self.dense(numbers)], 1).relu()).relu())
            return found

    model = _One()
    model.own = nn.Linear(1, 5)
    assert "could not be followed" not in list(NeighbourhoodView().pictures(_scene(model), Selection()))[-1].note


class _Looked(nn.Module):
    """A table that is looked up, in one of several ways, and a dense layer, read side by side."""

    def __init__(self, way: str) -> None:
        super().__init__()
        made = {"layer": nn.Embedding, "bag": nn.EmbeddingBag}.get(way)
        self.table = made(9, 4) if made is not None else nn.Parameter(torch.randn(9, 4))
        self.places, self.way = nn.Parameter(torch.randn(9, 4)), way
        self.dense, self.head, self.end = nn.Linear(3, 5), nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, kinds: Tensor, numbers: Tensor) -> Tensor:
        one = kinds if self.way == "bag" else kinds[:, 0]
        found = nn.functional.embedding(one, self.table) if self.way == "functional" else (
            self.table[one] if self.way == "rows" else self.table(one))
        found = found + self.places[torch.tensor(2)]
        answer: Tensor = self.end(self.head(torch.cat([found, self.dense(numbers).relu()], 1)).relu())
        return answer


@pytest.mark.parametrize("way", ["layer", "bag", "functional", "rows"])
def test_a_table_that_is_looked_up_has_its_lines_or_is_named(way: str) -> None:
    """An embedding beside a dense layer is joined to what reads both by its own weights; a table that is no layer is named in words."""
    torch.manual_seed(0)
    model = _Looked(way)
    scene = Scene(model, (torch.randint(0, 9, (30, 2)), torch.randn(30, 3)), torch.arange(30) % 3, task="classification")
    found, weight = wiring.reads(scene, scene.layers["head"]), model.head.weight.detach().numpy()
    assert np.allclose(found["dense"], weight[:, 4:])
    pictures = {
        type(view): list(view.pictures(scene, Selection.of("unit:head/0")))[-1]
        for view in (ClustersView(threshold=0.0), SpringsView(), NeighbourhoodView(), CardView())
    }
    if way in ("layer", "bag"):
        assert np.allclose(found["table"], weight[:, :4])
        assert not any("could not be followed" in picture.note or "look" in picture.note for picture in pictures.values())
        keys = {key for vertex in _network(pictures[NeighbourhoodView]).vertices for key in vertex.keys}
        assert any(key.startswith("unit:table/") for key in keys)
        assert "table" in next(mark.title for mark in pictures[CardView].marks() if mark.title.startswith("Fed most by"))
        assert not any("correlations" in pictures[view].caption for view in (ClustersView, SpringsView))
    else:
        assert set(found) == {"dense"}
        for picture in (pictures[ClustersView], pictures[SpringsView], pictures[CardView]):
            assert "Head also reads rows that each example looks up in weights that are no layer" in picture.note.replace("head", "Head")
        assert "What leads to head or from there could not be followed" in pictures[NeighbourhoodView].note


def test_places_that_are_the_same_for_all_examples_are_named_by_nothing() -> None:
    """Rows of a table that no example chooses are as constant as a bias."""
    torch.manual_seed(0)
    model = _Looked("layer")
    model.places = nn.Parameter(torch.randn(9, 4))
    scene = Scene(model, (torch.randint(0, 9, (30, 2)), torch.randn(30, 3)), torch.arange(30) % 3, task="classification")
    assert not wiring.connected(scene).tables
    assert not wiring.connected(scene).aside


def test_a_table_that_is_the_weight_of_the_answers_too_feeds_them() -> None:
    """A weight that an embedding shares with the layer of the answers goes by one name: the layer's own columns are found."""
    scene = Scene(*next(one for one in ZOO if one.name == "custom_attention")())
    assert {"embed", "blocks.0.proj", "blocks.1.proj"} <= set(wiring.reads(scene, scene.layers["head"]))
    assert not wiring.lost(scene, scene.layers["head"])


def test_maps_open_on_no_table_that_is_looked_up_beside_other_layers() -> None:
    """The layer that views open on by themselves is none that only says in other numbers which kind an example is of."""
    torch.manual_seed(0)

    class _Late(_Looked):
        def forward(self, kinds: Tensor, numbers: Tensor) -> Tensor:
            answer: Tensor = self.end(torch.cat([self.dense(numbers).relu(), self.table(kinds)], 1))
            return answer

    model = _Late("bag")
    model.end = nn.Linear(9, 3)
    scene = Scene(model, (torch.randint(0, 9, (30, 2)), torch.randn(30, 3)), torch.arange(30) % 3, task="classification")
    assert default_layer(scene).name == "dense"
