"""Networks whose last module is no answer: views that take the last layer for it say what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Network
from diorama.core.numerals import plain
from diorama.derive.class_overlap import among
from diorama.derive.columns import answers
from diorama.derive.derivations.serving import hidden
from diorama.scene import Scene
from diorama.views.relate.mixing import MixingView


def _drawn(net: nn.Module, scale: float = 1.0) -> nn.Module:
    """The network with weights drawn by their sizes."""
    with torch.no_grad():
        for number, part in enumerate(net.parameters()):
            part.copy_(scale * torch.randn(part.shape, generator=torch.Generator().manual_seed(number)))
    return net.eval()


class _Towers(nn.Module):
    """Two towers, whose products are the scores; the last to be called has as many units as there are classes."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.whole = nn.Linear(4, 3), nn.Linear(4, 3), nn.Parameter(torch.eye(3))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (torch.tanh(self.left(a)) * self.right(b)) @ self.whole


class _Experts(nn.Module):
    """A shared layer, and four experts of which each row is answered by one."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(6, 8)
        self.experts = nn.ModuleList(nn.Linear(8, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.trunk(x))
        chosen, out = found[:, :4].argmax(1), found.new_zeros(len(found), 3)
        for k, expert in enumerate(self.experts):
            rows = (chosen == k).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(found[rows]))
        return out


@pytest.fixture(scope="module")
def towers() -> Scene:
    """Two towers, and what they answer as the truth."""
    x = tuple(torch.randn(60, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    net = _drawn(_Towers())
    return Scene(net, x, net(*x).argmax(1), classes=("u", "v", "w"))


@pytest.fixture(scope="module")
def experts() -> Scene:
    """Experts, and what they answer as the truth."""
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(2))
    net = _drawn(_Experts())
    return Scene(net, x, net(x).argmax(1))


def test_mixing_ends_at_the_scores(towers: Scene, experts: Scene) -> None:
    """Where the last layer is not the answer the scores stand behind it, and the sentence is about them."""
    for scene, layers in ((towers, ["left", "right", "the scores"]), (experts, ["input", "trunk", "the scores"])):
        value = scene.derive("mixing").value
        y = np.asarray(scene.live.y)
        assert value["layers"] == layers
        wanted = among(scene.scores().double().numpy(), y, [tuple(pair) for pair in value["pairs"].tolist()], 5)
        np.testing.assert_allclose(value["mixed"][-1], wanted)
        picture = scene.view("mixing")
        assert "in the scores" in picture.caption
        (mark,) = [one for one in picture.marks() if isinstance(one, Heatmap)]
        assert mark.column_keys[-1] == ""


def test_mixing_says_how_many_count_and_how_far_layers_part() -> None:
    """Of classes of few no more nearest are said than there are others of each, and that they say little; what is parted little is not "as much"."""
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(7))
    picture = Scene(_drawn(nn.Linear(4, 2)), x, (torch.arange(10) < 4).long(), classes=("u", "v")).view("mixing")
    assert "of the nearest of each (5 of one of u, 3 of one of v) in" in picture.caption
    assert "There are 4 of v, so few that a share of their nearest says little." in picture.note
    for shares, said in (
        ((0.21, 0.13), "The layers part them little further: input mixes 21 %."), ((0.3, 0.3), "No layer tells them apart: input mixes them already"),
        ((0.12, 0.12), "No layer parts them further: input mixes them as much."), ((0.12, 0.18), "further: input mixes them less (12 %)."),
        ((0.4, 0.13), "The layers part them, but not to the end: input mixes 40 %."), ((0.28, 0.12, 0.2), "The layers part them little further"),
    ):
        assert said in plain(MixingView()._where(np.array(shares), ["input", "0", "1"][: len(shares)], -1, "")), shares


def test_springs_tell_which_units_are_no_answers(towers: Scene) -> None:
    """Units of a branch bear no names of classes, and the sentence says that they are none; those of the last layer do."""
    picture = towers.view("springs")
    assert "right is the last layer here, and its units are not the answers" in picture.caption
    (network,) = [one for one in picture.marks() if isinstance(one, Network)]
    assert [one.label for one in network.vertices if one.form == "heading"] == ["0", "1", "2"]
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    usual = Scene(_drawn(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))), x, torch.arange(20) % 3)
    assert "not the answers" not in usual.view("springs").caption


def test_influence_names_its_layer_and_what_else_leads_to_the_answer(towers: Scene) -> None:
    """Of two towers one is looked at, by its own gradient, and the other is named as left out."""
    x, y = towers.live.x, towers.live.y
    assert isinstance(x, tuple)
    assert isinstance(y, Tensor)
    slopes = []
    for k in range(3):
        loss = cross_entropy(towers.model(x[0][k : k + 1], x[1][k : k + 1]), y[k : k + 1])
        slopes.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, [towers.model.right.weight, towers.model.right.bias])]))
    value = towers.derive("influence", example=0).value
    assert value["last"] == ["right", "left"]
    np.testing.assert_allclose(value["scores"][1:3], [float(slopes[0] @ one) for one in slopes[1:]], rtol=1e-4)
    assert "in right alone, exactly. The answer is made from left as well" in towers.view("influence", example=0).caption


def test_the_last_shared_layer_before_experts_is_silenced(towers: Scene, experts: Scene) -> None:
    """Units that experts read serve classes, as silencing them by hand says, and so do both towers; gradients need not be on."""
    assert [one.name for one in hidden(experts)] == ["trunk"]
    assert [one.name for one in hidden(towers)] == ["left", "right"]
    with torch.no_grad():
        value = experts.derive("serving", of_class=1, count=8).value
        x, y, base = experts.live.x, experts.live.y, experts.losses()
        assert isinstance(y, Tensor)
        for unit, cost in zip(value["unit"], value["cost"], strict=True):
            handle = experts.model.trunk.register_forward_hook(
                lambda module, given, answer, unit=unit: answer * (torch.arange(8) != int(unit))
            )
            rise = (cross_entropy(experts.model(x), y, reduction="none") - base)[y == 1].mean()
            handle.remove()
            assert cost == pytest.approx(rise.item(), abs=1e-4)


class _Bent(nn.Module):
    """Ends in what is asked for."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.end, self.first, self.out = end, nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.tanh(self.first(x))
        scores = self.out(found)
        if self.end == "doubled":
            return scores + self.out(scores)
        return {"plain": scores, "softmax": scores.softmax(1), "sum": scores + found}[self.end]


@pytest.mark.parametrize(("end", "is_it"), [("plain", True), ("softmax", True), ("sum", False), ("doubled", False)])
def test_a_layer_is_the_answer_where_nothing_else_reaches_it(end: str, is_it: bool) -> None:
    """A softmax behind it changes nothing; what is added to it does, also by another call of it. The model stays as it was."""
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(4))
    net = _drawn(_Bent(end))
    scene = Scene(net, x, torch.arange(12) % 3)
    assert answers(scene, scene.layers.leaves[-1]) is is_it
    assert not any(module._forward_hooks for module in net.modules())
    assert all(one.grad is None for one in net.parameters())


def test_what_has_no_class_an_example_is_told_so() -> None:
    """Of several labels and of places the true classes were passed: it is said that an example has one, and not to pass them."""
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    places = Scene(_drawn(nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))), x, torch.zeros(8, 6, 6).long())
    several = Scene(_drawn(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))), x.flatten(1)[:, :4], (x.flatten(1)[:, :3] > 0).float())
    for scene, has in ((places, "has a class at each place"), (several, "has several labels")):
        for name in ("mixing", "serving"):
            assert diorama.views[name].fits(scene).endswith(f"one class an example; here each example {has}")
    with pytest.raises(NotApplicable, match="complex numbers, whose cost"):
        Scene(_Waves(), x.flatten(1)[:, :4], torch.arange(8) % 2).view("serving")


class _Waves(nn.Module):
    """A complex hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(4, 3, dtype=torch.complex64), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inside(x.to(torch.complex64)).abs())
