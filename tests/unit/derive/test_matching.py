"""Units of two networks are found again whatever their order, and what is said of them is so."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import ZOO, Specimen

import diorama
from diorama.core.errors import NotApplicable
from diorama.derive.derivations.matching import WeightMatching, reordered
from diorama.model.permutations import Permutations, permutations
from diorama.scene import Scene

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]


class _Block(nn.Module):
    """A residual block; where it widens, every second place goes on, among channels of zeros, as He et al. 2015 do it."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, 1 + (given != width), 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if x.shape != y.shape:
            side = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return F.relu(x + y)


class _Residual(nn.Module):
    """Two stages of residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(_Block(8, 8), _Block(8, 16), _Block(16, 16))
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class _Joined(nn.Module):
    """Branches that are concatenated, a depthwise convolution, flattening, a product, and two weights that are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 5, 3, padding=1)
        self.deep, self.norm = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.GroupNorm(1, 16)
        self.point, self.code, self.fc = nn.Conv2d(16, 6, 1), nn.Linear(54, 7), nn.Linear(7, 3)
        self.gate = nn.Linear(54, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x).relu()], 1)
        x = F.max_pool2d(self.norm(self.deep(x)), 2)
        x = self.point(x).permute(0, 2, 3, 1).contiguous().flatten(1)
        return self.fc(self.code(x).tanh() * torch.sigmoid(self.gate(x)))


def _model(kind: type[nn.Module], seed: int = 0) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind()
        x = torch.randn(24, next(model.parameters()).shape[1], 8 if kind is _Residual else 6, 8 if kind is _Residual else 6)
        for _ in range(4):
            model(x)  # so that running statistics are some
    return model.eval(), x


def _planted(model: nn.Module, x: Tensor, noise: float, seed: int = 1) -> tuple[nn.Module, dict[str, Any], Permutations]:
    """The model with the units of every group in another order and noise on its weights; and how it was before that order."""
    found = permutations(model, x, {})
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    state = {
        name: value + noise * value.std() * torch.randn(value.shape, generator=generator) if value.ndim > 1 else value.clone()
        for name, value in model.state_dict().items()
    }
    other = copy.deepcopy(model)
    other.load_state_dict(found.moved(state, [draw.permutation(group.units) for group in found.groups]))
    return other, state, found


@pytest.mark.parametrize("how", ["weights", "activations"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("kind", [_Residual, _Joined])
def test_a_planted_order_is_undone(kind: type[nn.Module], noise: float, how: str) -> None:
    """Every weight and buffer comes back to its place, residual streams included, also where noise was added."""
    model, x = _model(kind)
    other, before, found = _planted(model, x, noise)
    assert sum(group.units for group in found.groups) == (56 if kind is _Residual else 21)
    value = Scene(model, x).derive("matching", other=Scene(other, x), how=how).value
    back = reordered(other.state_dict(), value)
    for name, wanted in before.items():
        torch.testing.assert_close(back[name], wanted)
    assert value["cosine"]["after"] > 0.97 > value["cosine"]["before"]
    assert value["cosine"]["numbers"] == value["cosine"]["total"] == sum(p.numel() for p in model.parameters())
    assert not value["note"]
    other.load_state_dict(back)
    answers = Scene(other, x).scores()
    if not noise:
        torch.testing.assert_close(answers, Scene(model, x).scores(), atol=1e-5, rtol=1e-5)
        for layer in value["layers"].values():
            varies = np.isfinite(layer["correlation"])
            np.testing.assert_allclose(layer["correlation"][varies], 1.0, atol=1e-6)


def test_the_parts_of_a_residual_sum_share_one_order() -> None:
    """The stem and both convolutions that are added to it lie in one group; the channels of zeros are another set."""
    model, x = _model(_Residual)
    found = permutations(model, x, {"stem": 1, "blocks.0.conv2": 1, "blocks.0.conv1": 1, "fc": 1})
    stream = next(group for group in found.groups if any(use.name == "stem.weight" for use in group.uses))
    names = {(use.name, use.axis) for use in stream.uses}
    assert {("blocks.0.conv1.weight", 1), ("blocks.0.conv2.weight", 0), ("norm.running_var", 0), ("fc.weight", 1)} <= names
    assert ("blocks.0.conv1.weight", 0) not in names
    assert [name for name, _ in stream.layers] == ["stem", "blocks.0.conv2"]
    assert found.tied == {"fc"}


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_groups_of_any_network_hold(specimen: Specimen) -> None:
    """Whatever the network, the units of the groups that are found may change places and the answers stay."""
    model, x = specimen()
    scene = Scene(model, x)
    found = permutations(scene.model, scene.network.few(), {})
    draw = np.random.default_rng(3)
    other = copy.deepcopy(scene.model)
    orders = [draw.permutation(group.units) for group in found.groups]
    other.load_state_dict(found.moved(other.state_dict(), orders))
    tolerance = 0.05 if "bfloat16" in specimen.name else 1e-4
    torch.testing.assert_close(Scene(other, x).scores(), scene.scores(), atol=tolerance, rtol=tolerance)


def test_the_order_of_one_hidden_layer_is_the_best_of_all() -> None:
    """With one group the assignment equals the best of all 120 orders, tried one by one, by the sum of products of weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        one, other = (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(2))
        x = torch.randn(12, 3)
    value = Scene(one, x).derive("matching", other=Scene(other, x)).value

    def overlap(order: tuple[int, ...]) -> float:
        a, b = one.state_dict(), other.state_dict()
        index = list(order)
        return float(
            (a["0.weight"] * b["0.weight"][index]).sum() + (a["0.bias"] * b["0.bias"][index]).sum()
            + (a["2.weight"] * b["2.weight"][:, index]).sum()
        )

    best = max(itertools.permutations(range(5)), key=overlap)
    assert value["layers"]["0"]["units"].tolist() == list(best)


def test_correlations_are_those_of_the_activations() -> None:
    """The correlation of each pair, and of units of the same number, equals NumPy's over all examples and places."""
    model, x = _model(_Residual)
    other, _ = _model(_Residual, seed=5)
    one, two = Scene(model, x), Scene(other, x)
    value = one.derive("matching", other=two).value
    for name in ("stem", "blocks.2.conv1"):
        a, b = (each.activations(name)[name].double().transpose(0, 1).flatten(1).numpy() for each in (one, two))
        whole = np.corrcoef(a, b)[: len(a), len(a) :]
        told = value["layers"][name]
        # Maps of many places are sampled, those of the last stage are compared whole.
        near = 0.12 if name == "stem" else 1e-9
        np.testing.assert_allclose(told["by_index"], np.diag(whole), atol=near)
        np.testing.assert_allclose(told["correlation"], whole[np.arange(len(a)), told["units"]], atol=near)


def test_a_round_of_descent_never_loses() -> None:
    """From wherever it starts, the sum of products of the weights is no less after the descent."""
    model, x = _model(_Residual)
    other, _ = _model(_Residual, seed=5)
    found = permutations(model, x, {})
    matcher = WeightMatching(found, Scene(model, x).parameters(), Scene(other, x).parameters())
    draw = np.random.default_rng(0)
    for start in (matcher.same(), matcher.forward(), [draw.permutation(group.units) for group in found.groups]):
        assert matcher.overlap(matcher.descended(start, 0)) >= matcher.overlap(start)


def test_networks_of_two_makes_are_matched_by_what_they_answer() -> None:
    """Where the second network is built otherwise, layers of the same name are matched, the larger's rest without partners."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        small = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        large = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2))
        x = torch.randn(30, 4)
    with torch.no_grad():
        large[0].weight[2:8], large[0].bias[2:8] = small[0].weight, small[0].bias
    value = Scene(small, x).derive("matching", other=Scene(large, x)).value
    assert "built differently" in value["note"]
    assert value["layers"]["0"]["units"].tolist() == [2, 3, 4, 5, 6, 7]
    assert value["layers"]["0"]["how"] == "activations"
    back = Scene(large, x).derive("matching", other=Scene(small, x)).value
    assert back["layers"]["0"]["units"].tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, -1]


def test_matching_one_network_says_what_is_missing() -> None:
    """Without a second network, and with examples that the second cannot take, a sentence says so."""
    model, x = _model(_Residual)
    with pytest.raises(NotApplicable, match="second run or step"):
        Scene(model, x).derive("matching")
    with pytest.raises(NotApplicable, match="plain function"):
        Scene(model, x).derive("matching", other=diorama.Scene(lambda rows: rows, x))
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(3, 4))
    value = Scene(model, x).derive("matching", other=Scene(narrow, torch.randn(6, 3))).value
    assert value["layers"] == {}
