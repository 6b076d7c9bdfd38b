"""Layer-wise relevance propagation against its formulas in plain loops, against Captum, and against stored maps of another library."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr._utils import lrp_rules
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.core.errors import NotApplicable
from diorama.methods.attribute import attribute

ORACLES = Path(__file__).parents[2].parent / "shared" / "data" / "oracles"


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


class Small(nn.Module):
    """A CNN with a module for each activation."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1, bias=bias), nn.Conv2d(3, 4, 3, bias=bias)
        self.act1, self.act2, self.pool = nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)
        self.mean, self.fc = nn.AvgPool2d(2), nn.Linear(4, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.first(x)))
        return self.fc(self.mean(self.act2(self.second(x))).flatten(1))


def shares(contributions: np.ndarray, bias: float, r: float, rule: str) -> np.ndarray:
    """What one unit gives to each of its inputs, from what they contribute to it."""
    above, below = np.clip(contributions, 0, None), np.clip(contributions, None, 0)
    plus, minus = above.sum() + max(bias, 0), below.sum() + min(bias, 0)
    z = contributions.sum() + bias
    if rule in ("zero", "epsilon"):
        epsilon = 0.01 * (1 if z >= 0 else -1) if rule == "epsilon" else 0.0
        return contributions / (z + epsilon) * r
    if rule == "gamma":
        own, total = (above, plus) if z >= 0 else (below, minus)
        return (contributions + 0.25 * own) / (z + 0.25 * total) * r
    if rule == "z_plus":
        return above / plus * r if plus else np.zeros_like(above)
    found = 2 * above / plus * r if plus else np.zeros_like(above)
    return found - (below / minus * r if minus else 0)


def plain(weights: list[np.ndarray], biases: list[np.ndarray], x: np.ndarray, unit: int, rule: str) -> np.ndarray:
    """Relevance of one output of a ReLU network, layer by layer and unit by unit."""
    inputs = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(np.clip(w @ inputs[-1] + b, 0, None))
    r = np.zeros(len(weights[-1]))
    r[unit] = (weights[-1] @ inputs[-1] + biases[-1])[unit]
    for w, b, a in zip(reversed(weights), reversed(biases), reversed(inputs), strict=True):
        back = np.zeros(len(a))
        for j, row in enumerate(w):
            if r[j]:
                back += shares(row * a, b[j], r[j], rule)
        r = back
    return r


@pytest.mark.parametrize("rule", ["zero", "epsilon", "gamma", "z_plus", "alpha_beta"])
def test_rules_equal_plain_loops(rule: str) -> None:
    """Each rule gives a ReLU network's map as its formula does, unit by unit, also for negative inputs."""
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x = torch.randn(5, 6).double()
    heat = attribute(net, x, 1, method="lrp", rule=rule, epsilon=0.01)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    weights, biases = ([getattr(layer, name).detach().numpy() for layer in layers] for name in ("weight", "bias"))
    for row, found in zip(x.numpy(), heat.values, strict=True):
        wanted = plain(weights, biases, row, 1, rule)
        assert np.abs(found.numpy() - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


def test_first_layer_rules_equal_plain_loops() -> None:
    """Flat, w-square and z-box share the first layer's relevance by their formulas, padding left out."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2)).double()
    x = torch.rand(2, 1, 4, 4).double()
    conv = net[0]
    w, fc = conv.weight.detach().numpy(), net[2].weight.detach().numpy()
    results = conv(x).detach().numpy()
    for rule in ("flat", "w_square", "z_box"):
        found = attribute(net, x, 0, method="lrp", rule="zero", first=rule)
        low, high = found.kind.valid_range()
        heat = found.values.numpy()
        for n in range(2):
            at, upper = x[n, 0].numpy(), fc[0].reshape(2, 4, 4) * results[n]
            wanted = np.zeros((4, 4))
            for c, i, j in np.ndindex(2, 4, 4):
                cells = [(i + a - 1, j + b - 1, w[c, 0, a, b]) for a in range(3) for b in range(3)]
                cells = [(k, m, v) for k, m, v in cells if 0 <= k < 4 and 0 <= m < 4]
                part = {
                    "flat": [1.0 for _ in cells],
                    "w_square": [v * v for _, _, v in cells],
                    "z_box": [at[k, m] * v - low * max(v, 0) - high * min(v, 0) for k, m, v in cells],
                }[rule]
                for (k, m, _), share in zip(cells, part, strict=True):
                    wanted[k, m] += share / sum(part) * upper[c, i, j]
            assert np.abs(heat[n, 0] - wanted).max() < 1e-5 * np.abs(wanted).max()


def captum_map(net: nn.Module, x: Tensor, rule: Callable[[], Any] | None) -> Tensor:
    """Captum's map of class 1, with one rule for all weighted layers."""
    for layer in net.modules():
        if rule is not None and isinstance(layer, nn.Conv2d | nn.Linear):
            layer.rule = rule()  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return captum.attr.LRP(net).attribute(x, target=1).detach()


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z_plus"])
def test_equals_captum(rule: str) -> None:
    """Epsilon, gamma and z-plus give Captum's maps on a model that Captum supports."""
    made = {
        "epsilon": None,
        "gamma": lambda: lrp_rules.GammaRule(set_bias_to_zero=True),
        "z_plus": lambda: lrp_rules.Alpha1_Beta0_Rule(set_bias_to_zero=True),
    }[rule]
    net, x = Small(bias=rule == "epsilon").eval(), torch.rand(3, 2, 8, 8)
    # Captum's gamma is meant for positive results.
    net.fc.weight.data.abs_()
    found = attribute(net, x, 1, method="lrp", rule=rule, epsilon=1e-9).values
    assert (found - captum_map(net, x, made)).abs().max() < 1e-5


def test_batch_norm_alone_equals_captum() -> None:
    """A batch norm as a layer of its own that follows epsilon gives Captum's map."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 4)).eval()
    net[1].running_mean.normal_()
    net[1].bias.data.normal_()
    x = torch.rand(3, 1, 6, 6)
    found = attribute(net, x, 1, method="lrp", rule="epsilon", epsilon=1e-9, batch_norm="alone", outputs=_flat).values
    whole = type("Whole", (nn.Module,), {"forward": lambda self, x: net(x).flatten(1)})()
    whole.net = net
    assert (found - captum_map(whole, x, None)).abs().max() < 1e-5 * found.abs().max()


def _flat(output: Tensor) -> Tensor:
    return output.flatten(1)


def test_a_folded_batch_norm_is_the_merged_layer() -> None:
    """A batch norm after a convolution gives the map of the convolution with merged weights."""
    conv, norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    merged = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm)
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(3, 2, 6, 6)
    for rule in ("epsilon_plus", "epsilon_gamma", "epsilon_alpha_beta_flat"):
        a = attribute(nn.Sequential(conv, norm, head), x, 2, method="lrp", rule=rule).values
        b = attribute(nn.Sequential(merged, head), x, 2, method="lrp", rule=rule).values
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("name", ["LRPZ", "LRPEpsilon"])
@pytest.mark.parametrize("layer", ["Dense", "Dense_relu", "Conv2D", "Conv2D_relu", "MaxPooling2D", "AveragePooling2D"])
def test_stored_maps_are_reproduced(name: str, layer: str) -> None:
    """The maps that another library stored for single layers come out."""
    path = ORACLES / f"innvestigate_{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared data, which is missing")
    with np.load(path) as file:
        stored = dict(file)
    x = torch.from_numpy(stored["input"]).float()
    wanted = torch.from_numpy(stored[f"{layer}.attribution"])

    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if "Pool" in layer:
                pool = F.max_pool2d if "Max" in layer else F.avg_pool2d
                return pool(x.movedim(3, 1), 2).movedim(1, 3).flatten(1)
            w, b = (torch.from_numpy(stored[f"{layer}.weights.{k}"]).float() for k in (0, 1))
            y = x @ w + b if "Dense" in layer else F.conv2d(x.movedim(3, 1), w.permute(3, 2, 0, 1), b).movedim(1, 3)
            return (F.relu(y) if "relu" in layer else y).flatten(1)

    output = torch.from_numpy(stored[f"{layer}.output"])
    assert (Single()(x) - output).abs().max() < 1e-5
    rule = "zero" if name == "LRPZ" else "epsilon"
    found = attribute(Single(), x, output.argmax(1), method="lrp", rule=rule, epsilon=1e-7).values
    assert (found - wanted).abs().max() < 1e-5


class Written(nn.Module):
    """One network, its activations written in four ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.a, self.b, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(64, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act1, self.act2, self.act3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.once = nn.ReLU(inplace=way == "in place")

    def _act(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.way == "modules":
            return module(x)
        if self.way == "functional":
            return F.relu(x)
        return torch.relu_(x) if self.way == "written" else self.once(x)

    def forward(self, x: Tensor) -> Tensor:
        y = self._act(self.act1, self.a(x))
        z = self.norm(self.b(y))
        if self.way == "modules":
            z = z + y
        else:
            z += y
        z = self._act(self.act2, z)
        return self._act(self.act3, self.fc(F.max_pool2d(z, 2).flatten(1)))


@pytest.mark.parametrize("rule", ["epsilon", "epsilon_plus_flat", "epsilon_gamma_box"])
def test_how_activations_are_written_changes_nothing(rule: str) -> None:
    """Functional, in-place and reused activations give the very map of separate modules."""
    x = torch.randn(2, 1, 8, 8)
    maps = {}
    for way in ("modules", "functional", "in place", "written", "reused"):
        net = Written(way).eval()
        maps[way] = attribute(net, x, 0, method="lrp", rule=rule).values
    assert maps["modules"].any()
    for way, found in maps.items():
        assert torch.equal(found, maps["modules"]), way


@pytest.mark.parametrize("rule", ["zero", "epsilon", "gamma", "z_plus", "epsilon_plus_flat", "epsilon_plus_box"])
def test_relevance_is_conserved_without_biases(rule: str) -> None:
    """Where biases are left out, the map sums to the score, and the check says so."""
    net, x = Small().double().eval(), torch.rand(3, 2, 8, 8).double()
    heat = attribute(net, x, method="lrp", rule=rule, bias="left out", epsilon=1e-9)
    assert heat.scores.abs().min() > 1e-3
    assert torch.allclose(heat.values.flatten(1).sum(1), heat.scores, rtol=1e-5)
    assert heat.checks["completeness"] < 1e-5
    assert attribute(net, x, method="lrp", rule="epsilon").checks["completeness"] > 1e-2


def test_a_constant_summand_is_a_bias_wherever_it_is_added() -> None:
    """A dense layer written as a product and a sum has the map of the layer, and one in the units of a table keeps its sign."""
    torch.manual_seed(0)
    a, b = nn.Linear(4, 6).double(), nn.Linear(6, 1).double()

    class Product(nn.Module):
        def __init__(self, way: int) -> None:
            super().__init__()
            self.way = way

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(x @ a.weight.T + a.bias if self.way else a(x))
            if self.way == 0:
                return 30 * b(y) + 500
            z = y @ b.weight.T
            return 500 - (-30 * (b.bias + z)) if self.way == 1 else torch.sub(b.bias.sub(z, alpha=-1) * 30, -500)

    x = torch.rand(3, 4).double()
    wanted, *others = (attribute(Product(way), x, 0, method="lrp", rule="epsilon", epsilon=1e-12).values for way in range(3))
    for found in others:
        torch.testing.assert_close(found, wanted)
    # Behind the sum as behind the product alone: the map is the input times the gradient, whose sign the score does not turn.
    with torch.no_grad():
        a.bias.zero_()
    slope = attribute(Product(0), x, 0, method="input_x_gradient").values
    torch.testing.assert_close(attribute(Product(0), x, 0, method="lrp", rule="epsilon", epsilon=1e-12).values, slope)


def test_relevance_is_conserved_through_attention_and_gates() -> None:
    """Held attention weights, deviations and gates conserve relevance; shared softmaxes need not."""
    from zoo import ZOO

    for specimen in ZOO:
        if specimen.name in ("attention", "encoder", "custom_attention", "lstm", "gru"):
            model, x = specimen()
            double = x.double() if x.is_floating_point() else x
            heat = attribute(model.double(), double, 1, method="lrp", rule="epsilon", bias="left out", epsilon=1e-12)
            assert heat.checks["completeness"] < 1e-5, specimen.name


def test_softmax_follows_its_expansion() -> None:
    """Without held attention weights, a softmax gives x · (r − s · Σ r)."""
    x = torch.randn(2, 5)
    net = type("Softmax", (nn.Module,), {"forward": lambda self, x: x.softmax(-1)})()
    found = attribute(net, x, 2, method="lrp", attention="attn_lrp").values
    s = x.softmax(-1)
    r = torch.zeros_like(s)
    r[:, 2] = s[:, 2]
    assert torch.allclose(found, x * (r - s * r.sum(-1, keepdim=True)))


def test_an_op_without_a_rule_is_refused_by_name() -> None:
    """Where relevance reaches an op that has no rule, its name is said, and the weights stay trainable."""
    net = nn.Sequential(nn.Linear(4, 4))
    odd = type("Odd", (nn.Module,), {"forward": lambda self, x: torch.logcumsumexp(net(x), -1)})()
    odd.net = net
    with pytest.raises(NotApplicable, match="logcumsumexp"):
        attribute(odd, torch.randn(2, 4), 1, method="lrp")
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_difference_of_classes_is_shared_between_them() -> None:
    """The map of a difference is the map of the first less the map of the second."""
    net, x = Small().eval(), torch.rand(2, 2, 8, 8)
    one, other = (attribute(net, x, k, method="lrp", rule="epsilon").values for k in (0, 2))
    both = attribute(net, x, (0, 2), method="lrp", rule="epsilon").values
    assert torch.allclose(both, one - other, atol=1e-4 * float(both.abs().max()))
