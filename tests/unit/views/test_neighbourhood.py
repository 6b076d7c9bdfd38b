"""The view neighbourhood: what matters to one unit out of a network of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.marks import Network
from diorama.model.connections import connections
from diorama.scene import Scene


class _Joined(nn.Module):
    """A residual sum, two maps put beside one another, a flattening: every way in which units are handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.two, self.three, self.out = nn.Conv2d(4, 3, 1), nn.Conv2d(7, 2, 1), nn.Linear(2 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.norm(self.one(x))
        x = torch.cat([x, self.two(x)], 1)
        found: Tensor = self.out(F.max_pool2d(self.three(x), 2).flatten(1))
        return found


def _scene() -> Scene:
    torch.manual_seed(0)
    return diorama.Scene(_Joined(), torch.rand(12, 1, 6, 6), torch.arange(12) % 3)


def test_connections_are_those_that_a_silenced_unit_is_missed_through() -> None:
    """Each weight that leads from a unit to a reader is known: with the other weights at zero, silencing the unit changes the reader."""
    scene = _scene()
    layers = [one for one in scene.layers.leaves if one.weight is not None and not one.normalises]
    wired = connections(scene.model, scene.live.x, layers)
    assert wired.layers == ("stem", "one", "two", "three", "out")
    for reader, layer in enumerate(layers[1:], 1):
        values, streams = wired.strengths(scene.parameters(), reader)
        for earlier in range(reader):
            for unit in range(layers[earlier].units):
                stream = wired.writes[earlier][unit]
                told = stream in streams
                # The reference: how far the reader's own numbers move with the unit's, by what autograd makes of the pass.
                reads = _reads(scene, layers[earlier].name, unit, layer.name)
                assert told == reads, (layers[earlier].name, unit, layer.name)
        assert values.shape == (layer.units, len(streams))
    weight = scene.parameters()["out.weight"].reshape(3, 2, 9)
    values, _ = wired.strengths(scene.parameters(), 4)
    assert np.allclose(np.abs(values), np.linalg.norm(weight, axis=2), rtol=1e-5)
    assert (np.sign(values) == np.sign(weight.sum(2))).all()


class _Stacked(nn.Module):
    """Votes of capsules: stacks of matrices, multiplied with one another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)
        self.turn, self.scale = nn.Parameter(torch.randn(5, 4, 4)), nn.Parameter(torch.randn(5, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        votes = self.first(x)[:, None, None] @ (self.turn @ self.scale)
        found: Tensor = self.last(votes.sum((1, 2)))
        return found


def test_products_of_stacks_of_weights_are_followed_or_said_not_to_be() -> None:
    """Two stacks that are multiplied place by place are no error: what goes with a unit behind them is shown, and the picture says so."""
    scene = diorama.Scene(_Stacked(), torch.randn(8, 6), torch.arange(8) % 3)
    picture = scene.view("neighbourhood", unit="last/1")
    assert "No weights could be followed that lead to last/1" in picture.note
    assert "go most with last/1 over the examples" in picture.caption
    assert len([one for one in picture.body.vertices if one.form == "box" and not one.faded]) == 7
    # One answer is reached by its weights, though an axis of one is never followed; a net of one layer has lost nothing.
    single = diorama.Scene(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)), torch.randn(8, 6)).derive("neighbourhood").value
    assert single["layer"].tolist() == [0, 0, 0, 0, 1]
    assert single["lost"] == []


def _reads(scene: Scene, source: str, unit: int, target: str) -> bool:
    """Whether a layer takes what a unit of another answers, with no layer with weights between: all others hand on nothing."""
    model = _Joined().double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.partition(".")[0] not in (source, "norm"):
                parameter.zero_()
        for name, parameter in model.named_parameters():
            if name.partition(".")[0] == target:
                parameter.fill_(1.0)
            elif name.partition(".")[0] == source:
                parameter.fill_(0.5)
    kept: list[Tensor] = []

    def double(_: nn.Module, __: object, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, unit] *= 2
        return changed

    hook = getattr(model, target).register_forward_hook(lambda _, __, output: kept.append(output))
    x = torch.ones(1, 1, 6, 6).double()
    model(x)
    other = getattr(model, source).register_forward_hook(double)
    model(x)
    hook.remove()
    other.remove()
    return not torch.equal(kept[0], kept[1])


def test_a_planted_way_is_found_among_twenty_thousand_units() -> None:
    """A chain of strong weights through a net of 20,000 units is what a search for its middle shows, and the picture says how much it leaves out."""
    torch.manual_seed(0)
    wide, narrow = 10_000, 40
    model = nn.Sequential(nn.Linear(4, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, wide), nn.ReLU(), nn.Linear(wide, 2))
    with torch.no_grad():
        model[2].weight[7, 4321] = 5.0
        model[4].weight[8765, 7] = -50.0
        model[6].weight[1, 8765] = 5.0
    scene = diorama.Scene(model, torch.rand(6, 4), torch.arange(6) % 2)
    value = scene.derive("neighbourhood", start="unit:2/7", units=12).value
    found = {(value["layers"][a], b) for a, b in zip(value["layer"].tolist(), value["unit"].tolist(), strict=True)}
    assert {("0", 4321), ("2", 7), ("4", 8765), ("6", 1)} <= found
    picture = scene.view("neighbourhood", search="2/7", units=12)
    assert "4 of 20,042 units shown" in picture.caption
    mark = picture.body
    assert isinstance(mark, Network)
    notes = [vertex.label for vertex in mark.vertices]
    assert {"9,999 others", "39 others", "1 other"} <= set(notes)
    back = scene.derive("neighbourhood", start="class:1", hops=3, units=8).value
    found = {(back["layers"][a], b) for a, b in zip(back["layer"].tolist(), back["unit"].tolist(), strict=True)}
    assert {("4", 8765), ("2", 7), ("0", 4321)} <= found


def test_together_the_units_are_those_that_numpy_correlates_most() -> None:
    """With edges=together the interest is the size of Pearson's correlation over the examples, as NumPy has it."""
    torch.manual_seed(0)
    scene = diorama.Scene(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)), torch.rand(20, 4), torch.arange(20) % 3)
    value = scene.derive("neighbourhood", start="unit:1/2", edges="together", units=6).value
    answers = {name: scene.activations([name], scene.live.x)[name].numpy() for name in ("0", "1", "2")}
    for layer, unit, interest in zip(value["layer"], value["unit"], value["interest"], strict=True):
        wanted = abs(np.corrcoef(answers["1"][:, 2], answers[str(layer)][:, unit])[0, 1])
        assert interest == pytest.approx(wanted, abs=1e-5)
    assert len(value["unit"]) == 6


@pytest.mark.parametrize(
    ("search", "said"), [("nowhere", "no class, layer or unit"), ("class:9", "there are classes 0 to 2"), ("one/99", "has units 0 to 3")]
)
def test_a_search_for_what_is_not_there_names_what_is(search: str, said: str) -> None:
    """A name that nothing has is refused in a sentence with the way out."""
    with pytest.raises(diorama.NotApplicable, match=said):
        _scene().view("neighbourhood", search=search)


def test_a_class_is_found_by_its_name_and_a_layer_by_a_part_of_its() -> None:
    """A search takes the names of classes and parts of layers' names, and what is chosen counts where nothing is searched."""
    torch.manual_seed(0)
    scene = diorama.Scene(_Joined(), torch.rand(12, 1, 6, 6), torch.arange(12) % 3, classes=("cat", "dog", "cow"))
    assert scene.view("neighbourhood", search="dog").title == "Around class dog"
    picture = scene.view("neighbourhood", search="thr")
    assert picture.title == "Around three/0"
    assert "finds three" in picture.note
    assert scene.view("neighbourhood", select=["unit:norm/2"]).title == "Around norm/2"


class _Messages(nn.Module):
    """A layer for rows of all examples together is called in a loop, between two that answer once for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.turn, self.out = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = F.relu(self.enter(x)).flatten(0, 1)
        for _ in range(2):
            rows = F.relu(self.turn(rows))
        found: Tensor = self.out(rows.view(len(x), -1, 5).sum(1))
        return found


def test_what_lies_between_two_layers_is_not_skipped() -> None:
    """Units that share their numbers with a later layer's, as it is called with both, do not feed what reads that one alone."""
    torch.manual_seed(0)
    scene = diorama.Scene(_Messages(), torch.rand(12, 4, 3), torch.arange(12) % 2)
    value = scene.derive("neighbourhood", start="class:0").value
    assert value["layers"] == ["enter", "out"]
    assert (len(value["links"]), value["lost"]) == (0, ["enter", "out"])
    picture = scene.view("neighbourhood", unit="out/0")
    assert "could be followed" in picture.note or "could not be followed" in picture.note


class _Around(nn.Module):
    """A dense layer and a way round it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.fc(x))


class _Two(nn.Module):
    """Two blocks, one behind the other."""

    def __init__(self, e: nn.Module, d: nn.Module) -> None:
        super().__init__()
        self.e, self.d = e, d

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.d(self.e(x))
        return found


def test_what_a_block_hands_on_are_its_last_layers_units() -> None:
    """A layer behind a block of layers in a row reads the last of them by its weights, in every picture of connections."""
    torch.manual_seed(0)
    block, behind = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    scene = diorama.Scene(_Two(block, behind), torch.rand(30, 8), torch.arange(30) % 3)
    pairs = [(pair["source"], pair["target"], pair["how"]) for pair in scene.derive("biclusters").value["pairs"]]
    assert pairs == [("e.0", "e.2", "weights"), ("e.2", "d.0", "weights"), ("d.0", "d.2", "weights")]
    # Also where the block is the column: its units are those of the last layer in it.
    found = scene.derive("biclusters", layers="e+d.0").value["pairs"]
    alone = scene.derive("biclusters", layers="e.2+d.0").value["pairs"]
    assert [(pair["source"], pair["how"]) for pair in found] == [("e", "weights")]
    units = np.argsort(found[0]["sources"]), np.argsort(alone[0]["sources"])
    rows = np.argsort(found[0]["targets"]), np.argsort(alone[0]["targets"])
    np.testing.assert_array_equal(found[0]["strengths"][np.ix_(rows[0], units[0])], alone[0]["strengths"][np.ix_(rows[1], units[1])])
    # What puts maps in a row has other units than the layer in front of it.
    flat = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    scene = diorama.Scene(_Two(flat, nn.Linear(8, 3)), torch.rand(30, 1, 4, 4), torch.arange(30) % 3)
    assert [pair["how"] for pair in scene.derive("biclusters", layers="e+d").value["pairs"]] == ["together"]


def test_blocks_in_a_row_hand_on_the_last_ones_answer() -> None:
    """What reads the last of several residual blocks is joined to the module that holds them by its weights."""
    torch.manual_seed(0)
    blocks = nn.Sequential(*(_Around(6) for _ in range(2)))
    scene = diorama.Scene(_Two(blocks, nn.Linear(6, 3)), torch.rand(30, 6), torch.arange(30) % 3)
    pair = scene.derive("biclusters", layers="e+d").value["pairs"][0]
    assert pair["how"] == "weights"
    weight = scene.model.d.weight.detach().numpy()
    np.testing.assert_allclose(pair["strengths"], weight[np.ix_(pair["targets"], pair["sources"])], rtol=1e-6)


def test_none_of_many_is_passed_over_on_the_way() -> None:
    """Of two wide layers the units kept are those that a search of all ways finds, with the same interest."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(5, 300), nn.ReLU(), nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 4))
        scene = diorama.Scene(net, torch.rand(8, 5), torch.arange(8) % 4)
    most = 30
    value = scene.derive("neighbourhood", start="unit:4/1", hops=2, units=most).value
    last, middle = (scene.parameters()[name].astype(float) for name in ("4.weight", "2.weight"))
    near = np.abs(last[1]) / np.abs(last[1]).max()
    ways = near[:, None] * np.abs(middle) / np.abs(middle).max(1, keepdims=True)
    ways[np.argsort(-near)[most:]] = 0  # what is not kept at one connection is not followed on
    wanted = {(2, 1): 1.0} | {(1, k): worth for k, worth in enumerate(near)} | {(0, k): worth for k, worth in enumerate(ways.max(0))}
    kept = sorted(wanted, key=lambda unit: -wanted[unit])[:most]
    assert {*zip(value["layer"].tolist(), value["unit"].tolist(), strict=True)} == {*kept}
    told = [wanted[unit] for unit in zip(value["layer"].tolist(), value["unit"].tolist(), strict=True)]
    assert value["interest"] == pytest.approx(np.array(told), rel=1e-5)
