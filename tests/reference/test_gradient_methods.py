"""Gradient methods against their papers' formulas, Captum, and what another library computed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.methods import batches
from diorama.methods.method import Look

ORACLES = Path(__file__).parents[2].parent / "shared" / "data" / "oracles"


def _net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3),
        )
    return net.eval()


def _images() -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(7))


def _rows() -> tuple[list[Tensor], Tensor]:
    """Weights of a three-layer perceptron without biases, and rows for it."""
    dice = torch.Generator().manual_seed(8)
    weights = [torch.randn(o, i, generator=dice).double() for i, o in ((4, 5), (5, 5), (5, 2))]
    return weights, torch.randn(3, 4, generator=dice).double()


def _perceptron(weights: list[Tensor]) -> nn.Module:
    layers: list[nn.Module] = []
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        linear.weight = nn.Parameter(weight.clone())
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _back(weights: list[Tensor], x: Tensor, passing: str, number: int = 1) -> list[float]:
    """The signal sent back through a perceptron for one row, number by number, as the papers have it."""
    values, inputs = x.tolist(), []
    for weight in weights[:-1]:
        inputs.append([sum(w * v for w, v in zip(row, values, strict=True)) for row in weight.tolist()])
        values = [max(v, 0.0) for v in inputs[-1]]
    signal: list[float] = weights[-1][number].tolist()
    for weight, entered in zip(reversed(weights[:-1]), reversed(inputs), strict=True):
        for k, before in enumerate(entered):
            if passing in ("gradient", "guided") and before <= 0:
                signal[k] = 0.0
            if passing in ("guided", "deconvnet") and signal[k] < 0:
                signal[k] = 0.0
        rows = weight.tolist()
        signal = [sum(rows[j][i] * signal[j] for j in range(len(rows))) for i in range(len(rows[0]))]
    return signal


@pytest.mark.parametrize(
    ("method", "passing"), [("gradient", "gradient"), ("guided_backprop", "guided"), ("deconvnet", "deconvnet")]
)
def test_the_way_back_follows_the_papers(method: str, passing: str) -> None:
    """Gradient, guided backprop and deconvnet send back what the formulas say, number by number."""
    weights, x = _rows()
    found = diorama.attribute(_perceptron(weights), x, 1, method=method).values
    for row, heat in zip(x, found, strict=True):
        assert torch.allclose(heat, torch.tensor(_back(weights, row, passing)).double(), atol=1e-12)


def test_input_times_gradient_without_biases_is_complete() -> None:
    """In a ReLU network without biases the values are slope times input and sum to the score."""
    weights, x = _rows()
    heat = diorama.attribute(_perceptron(weights), x, 1, method="input_x_gradient")
    for row, found in zip(x, heat.values, strict=True):
        assert torch.allclose(found, row * torch.tensor(_back(weights, row, "gradient")).double(), atol=1e-12)
    assert heat.checks["completeness"] < 1e-9


def test_integrated_gradients_follow_the_paper() -> None:
    """Equation 3: the mean slope at m places on the line, times the way from the baseline."""
    weights, x = _rows()
    base = torch.full((1, 4), 0.3).double()
    heat = diorama.attribute(
        _perceptron(weights), x, 1, method="integrated_gradients", steps=20, rule="right", baseline=base
    )
    for row, found in zip(x, heat.values, strict=True):
        slopes = [torch.tensor(_back(weights, base[0] + (k + 1) / 20 * (row - base[0]), "gradient")) for k in range(20)]
        assert torch.allclose(found, (row - base[0]) * torch.stack(slopes).double().mean(0), atol=1e-12)


def test_steps_go_through_the_model_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps share a pass; large maps begin with one, and go on with as many as are quick, to the same values."""
    net, x = _net(), _images()[:1]
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    whole = diorama.attribute(net, x, 1, method="integrated_gradients", steps=20).values
    assert sorted(sizes)[-3:] == [4, 8, 8]
    # The first convolution answers with 256 numbers, of which three examples fit.
    monkeypatch.setattr(batches, "QUICK", 3 * 256)
    sizes.clear()
    parts = diorama.attribute(net, x, 1, method="integrated_gradients", steps=20).values
    assert (max(sizes), sizes.count(3)) == (3, 6)
    assert torch.allclose(parts, whole, atol=1e-6)


def test_integrated_gradients_measure_their_gap() -> None:
    """The gap that is told is that of the sum, and it falls with more steps."""
    net, x = _net(), _images()
    gaps = []
    for steps in (2, 400):
        heat = diorama.attribute(net, x, 1, method="integrated_gradients", steps=steps, rule="midpoint")
        with torch.no_grad():
            wanted = net(x)[:, 1] - net(torch.zeros_like(x))[:, 1]
        gap = ((heat.values.flatten(1).sum(1) - wanted) / wanted).abs().max()
        assert heat.checks["completeness"] == pytest.approx(float(gap), rel=1e-3, abs=1e-6)
        gaps.append(heat.checks["completeness"])
    assert gaps[1] < 0.2 * gaps[0]


def test_smooth_gradients_are_gradients_of_noisy_inputs() -> None:
    """Without noise it is the gradient; with it the mean over draws that the seed alone decides."""
    net, x = _net(), _images()
    plain = diorama.attribute(net, x, 1).values
    assert torch.allclose(
        diorama.attribute(net, x, 1, method="smooth_grad", noise=0.0, draws=3).values, plain, atol=1e-6
    )
    found = [diorama.attribute(net, x, 1, method="smooth_grad", draws=5, seed=seed).values for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-4)
    variance = diorama.attribute(net, x, 1, method="smooth_grad", draws=5, seed=1, combine="variance").values
    squares = diorama.attribute(net, x, 1, method="smooth_grad", draws=5, seed=1, combine="squares").values
    assert torch.allclose(variance, squares - found[0] ** 2, atol=1e-5)


def test_expected_gradients_of_a_linear_model_are_exact() -> None:
    """Each weight times the way from the mean of the other inputs, whatever is drawn."""
    model = nn.Linear(4, 2)
    _, x = _rows()
    others = x[:2].float()
    heat = diorama.attribute(model, x.float(), 1, method="expected_gradients", draws=8, baseline=others)
    assert torch.allclose(heat.values, (x.float() - others.mean(0)) * model.weight[1], atol=1e-5)
    assert heat.checks["completeness"] < 1e-4


def test_captum_finds_the_same() -> None:
    """The maps equal Captum's to 1e-5."""
    attr = pytest.importorskip("captum.attr")
    net, x = _net(), _images()
    theirs: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
        "gradient": (attr.Saliency(net), {"abs": False}, {}),
        "input_x_gradient": (attr.InputXGradient(net), {}, {}),
        "guided_backprop": (attr.GuidedBackprop(net), {}, {}),
        "deconvnet": (attr.Deconvolution(net), {}, {}),
        "integrated_gradients": (attr.IntegratedGradients(net), {"n_steps": 32}, {"steps": 32}),
    }
    for method, (reference, their, ours) in theirs.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = reference.attribute(x.clone().requires_grad_(), target=2, **their).detach()
        assert torch.allclose(diorama.attribute(net, x, 2, method=method, **ours).values, wanted, atol=1e-5), method


class _Layer(nn.Module):
    """One layer of the oracles on channels-last input, as its framework flattens it."""

    def __init__(self, name: str, stored: Any) -> None:
        super().__init__()
        self.name = name
        kernel, bias = (torch.from_numpy(stored[f"{name}.weights.{k}"]) if "2D_" in name or "Dense" in name or name == "Conv2D"
                        else None for k in (0, 1))
        self.kernel, self.bias = kernel, bias

    def forward(self, x: Tensor) -> Tensor:
        maps = x.permute(0, 3, 1, 2)
        if self.name.startswith("Conv2D"):
            maps = nn.functional.conv2d(maps, self.kernel.permute(3, 2, 0, 1), self.bias)
        elif self.name.startswith("Dense"):
            maps = (x @ self.kernel + self.bias).permute(0, 3, 1, 2)
        else:
            pool = nn.functional.max_pool2d if self.name == "MaxPooling2D" else nn.functional.avg_pool2d
            maps = pool(maps, 2)
        maps = maps.relu() if self.name.endswith("relu") else maps
        return maps.permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("layer", ["Dense", "Dense_relu", "Conv2D", "Conv2D_relu", "MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize(
    ("oracle", "method", "knobs"),
    [
        ("Gradient", "gradient", {}),
        ("InputTimesGradient", "input_x_gradient", {}),
        ("IntegratedGradients", "integrated_gradients", {"steps": 64, "rule": "left"}),
    ],
)
def test_the_oracles_are_reproduced(oracle: str, method: str, knobs: dict[str, Any], layer: str) -> None:
    """What another library stored for single layers is found again."""
    path = ORACLES / f"innvestigate_{oracle}.npz"
    if not path.exists():
        pytest.skip("the stored results of another library are not here")
    stored = np.load(path)
    model, x = _Layer(layer, stored), torch.from_numpy(stored["input"]).float()
    output = model(x)
    assert np.allclose(output.numpy(), stored[f"{layer}.output"], atol=1e-4)
    heat = diorama.attribute(model, x, output.argmax(1), method=method, task="classification", **knobs)
    assert np.allclose(heat.values.numpy(), stored[f"{layer}.attribution"], atol=1e-5)


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet"])
def test_methods_of_relus_say_beforehand_that_there_is_none(name: str) -> None:
    """``fits`` names another method for a network without a ReLU, and says yes to one written as a clamp."""

    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).clamp(min=0)

    for net, fits in ((nn.Sequential(nn.Flatten(), nn.Linear(128, 3), nn.Tanh()), False), (Clamped(), True)):
        look = Look(net, x=_images())
        said = diorama.methods[name].fits(look, _images())
        assert (said is None) == fits
        assert fits or (said or "").endswith("use gradient")


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient"])
def test_slopes_that_cancel_out_are_zero(method: str) -> None:
    """Behind a norm the slopes along an embedding sum to nothing: rounding is no map, and the note says what it is."""
    torch.manual_seed(0)
    bag = nn.Sequential(nn.Embedding(20, 32), nn.LayerNorm(32), nn.Tanh(), nn.Flatten(), nn.Linear(7 * 32, 3)).eval()
    found = diorama.attribute(bag, torch.randint(0, 20, (4, 7)), 1, method=method)
    assert not found.values.any()
    assert "cancels out (along embeddings before a norm" in found.note
    bag[1] = nn.Identity()
    without = diorama.attribute(bag, torch.randint(0, 20, (4, 7)), 1, method=method)
    assert without.values.all()
    assert "cancel" not in without.note


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "gradient"])
def test_what_is_left_of_slopes_that_cancel_out_is_told_as_such(method: str) -> None:
    """What the small number in a norm's root leaves of sums that cancel is no rounding, and next to nothing: said where sums cancel."""
    torch.manual_seed(0)
    bag = nn.Sequential(nn.Embedding(20, 32), nn.LayerNorm(32), nn.Tanh(), nn.Flatten(), nn.Linear(7 * 32, 3)).eval()
    with torch.no_grad():
        bag[0].weight.mul_(0.2)
    found = diorama.attribute(bag, torch.randint(0, 20, (4, 7)), 1, method=method)
    assert bool(found.values.any()) == (method != "gradient")
    assert ("Less than a thousandth" in found.note) == (method == "input_x_gradient")
