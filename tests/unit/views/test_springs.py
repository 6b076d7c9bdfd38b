"""Units held by springs: one place of rest, that changes with the weights alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diorama.core.marks import Network
from diorama.core.picture import Draft, Progress
from diorama.core.selection import Selection
from diorama.scene import Scene
from diorama.views.relate.springs import SpringsView, joined, rest, strongest


def test_rest_is_where_relaxing_ends() -> None:
    """Units that are moved in turn to the mean of what pulls at them, signs and all, end where the springs' own equations say."""
    draw = np.random.default_rng(0)
    for sizes in ([7, 5, 3], [4, 3, 5, 2, 4, 3]):
        springs = joined([draw.normal(size=(after, before)) for before, after in zip(sizes, sizes[1:], strict=False)], sizes)
        at, force = rest(springs, 3)
        free = len(at) - 3
        moved = np.zeros_like(at)
        moved[free:] = at[free:]
        for _ in range(3000):
            moved[:free] = (springs[:free] @ moved) / np.abs(springs[:free]).sum(1, keepdims=True)
        np.testing.assert_allclose(at, moved, atol=1e-4)
        assert force < 1e-5
        np.testing.assert_allclose(np.linalg.norm(at[free:], axis=1), 1)


def test_places_are_continuous_in_the_weights() -> None:
    """Half a change of the weights moves a unit half as far, and none moves it not at all; the same weights, the same picture."""
    draw = np.random.default_rng(1)
    first, second, way = draw.normal(size=(8, 6)), draw.normal(size=(4, 8)), draw.normal(size=(4, 8))
    at = [rest(joined([first, second + share * way], [6, 8, 4]), 4)[0] for share in (0.0, 0.0, 1e-4, 2e-4)]
    assert np.array_equal(at[0], at[1])
    one, two = (np.linalg.norm(each - at[0]) for each in at[2:])
    assert two == pytest.approx(2 * one, rel=1e-2)


def test_what_hangs_on_nothing_rests_in_the_middle() -> None:
    """Dead units, weights that are no numbers, and a single answer are placed, and nothing fails."""
    at, _ = rest(joined([np.zeros((3, 4)), np.full((2, 3), np.nan)], [4, 3, 2]), 2)
    assert np.isfinite(at).all()
    assert not at[:7].any()
    assert not rest(joined([np.ones((1, 4))], [4, 1]), 1)[0].any()


def test_a_unit_stands_by_the_answer_that_it_works_for() -> None:
    """It lies on the side of the answer that it feeds, and across from the one that it holds back."""
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]]))
        net[2].weight.copy_(torch.tensor([[1.0, 0, 0.5, -1], [0, 1, 0, 0]]))
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    scene = Scene(net, x, (x[:, 1] > x[:, 0]).long(), task="classification")
    network = next(mark for mark in scene.view("springs").marks() if isinstance(mark, Network))
    at = {vertex.keys[0]: place[:2] + place[2:] / 2 for vertex, place in zip(network.vertices, network.places, strict=True) if vertex.keys}
    middle = np.array(network.extent) / 2
    towards = {key: (place - middle) @ (at["unit:2/0"] - middle) for key, place in at.items()}
    assert towards["unit:0/0"] > 0
    assert towards["unit:0/3"] < 0
    assert np.sign(network.strengths).min() == -1
    assert [vertex.label for vertex in network.vertices if vertex.form == "heading"] == list(scene.classes)


def test_a_draft_stands_on_the_first_examples_and_waits_for_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is seen soon, with the same springs: weights are known before any example; blocks of connections are not asked for."""
    monkeypatch.setattr("diorama.derive.derivations.clusters.SOON", 0.0)
    monkeypatch.delattr("diorama.derive.derivations.biclusters.BiclustersDerivation.stages")
    draw = torch.Generator().manual_seed(0)
    scene = Scene(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(40, 3, generator=draw), torch.arange(40) % 3)
    told = [one for one in SpringsView().pictures(scene, Selection()) if not isinstance(one, Progress)]
    first, last = (one.make() if isinstance(one, Draft) else one for one in (told[0], told[-1]))
    assert first is not None
    assert last is not None
    drawn = [next(mark for mark in picture.marks() if isinstance(mark, Network)) for picture in (first, last)]
    assert not first.final
    assert last.final
    assert "first 8 " in first.note or "8 of" in first.note
    np.testing.assert_array_equal(drawn[0].places, drawn[1].places)


def test_lines_are_the_strongest() -> None:
    """As many as were asked for, the strongest first; of equal ones the first, and none where none is asked for."""
    sizes = np.random.default_rng(0).integers(0, 30, 200).astype(float)
    for most in (0, 1, 7, 199, 200, 500):
        assert strongest(sizes, most).tolist() == np.argsort(-sizes, kind="stable")[:most].tolist()


def test_a_caption_says_where_connections_are_no_weights() -> None:
    """Of blocks, which do not read each other from unit to unit, lines and springs are correlations: named, counted, or all of them."""
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.b(torch.tanh(self.a(x))))

    def stack(blocks: int) -> nn.Module:
        return nn.Sequential(*(Block() for _ in range(blocks)), nn.Linear(4, 3))

    torch.manual_seed(0)
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    told = "correlations of answers over the examples"
    plain = Scene(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), x, y)
    assert told not in plain.view("springs").caption + plain.view("clusters").caption
    for view, what in (("springs", "springs"), ("clusters", "lines")):
        assert f" All {what} are {told}, none is a weight." in plain.view(view, edges="together").caption
        assert f" Between layer 0 and layer 1; layer 1 and layer 2, {what} are {told}, no weights." in _columned(view, stack(3), x, y)
    assert f" Between 4 of 5 pairs of layers springs are {told}, no weights." in _columned("springs", stack(5), x, y)


def _columned(view: str, net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> str:
    """The caption of a network that is shown by its blocks."""
    return Scene(net, x, y).view(view, most=max(4, len(list(net.children())))).caption
