"""Whoever asks whether something changed asks it beside rounding: on processors of any make the same pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from zoo import ZOO, Functional

import diorama
from diorama.data import nesting
from diorama.model.fields import fields
from diorama.model.layers import layers

COVERING = ("occlusion", "discrepancy", "feature_ablation", "shapley_sampling")
"""Methods that change a part of the input and look whether the target changes; each pixel is a part here."""
KNOBS: dict[str, dict[str, Any]] = {
    "occlusion": {"size": 1, "stride": 1, "value": 0.3},
    "discrepancy": {"size": 1, "stride": 1, "share": 0.0},
    "feature_ablation": {"segments": 64},
    "shapley_sampling": {"segments": 64, "samples": 2},
}
NETS = ("functional", "residual", "double", "bfloat16")


class AnotherMachine(TorchDispatchMode):
    """Sums that come out otherwise in their last places, and otherwise each time: the kernels of some other processor."""

    def __init__(self) -> None:
        super().__init__()
        self._dice = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.__name__.split(".")[0] in ("convolution", "addmm", "mm", "bmm", "native_batch_norm"):
            for part in result if isinstance(result, tuple) else (result,):
                if part.is_floating_point() and part.numel():
                    noise = torch.rand(part.shape, generator=self._dice).to(part) - 0.5
                    part += noise * (part.abs().amax() * 2 * torch.finfo(part.dtype).eps)
        return result


@pytest.fixture(params=["this machine", "another", "plain kernels"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kernels of this machine, those of another, and those without oneDNN."""
    if request.param == "another":
        with AnotherMachine():
            yield
    else:
        before = torch.backends.mkldnn.set_flags(request.param == "this machine")
        yield
        torch.backends.mkldnn.set_flags(*before)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", COVERING)
def test_what_cannot_reach_a_unit_is_exactly_nothing(name: str, net: str) -> None:
    """Outside the field that a unit can see by the network's own operations, the map is zero, not small."""
    model, x = next(specimen for specimen in ZOO if specimen.name == net)()
    x = x[:2]
    layer = "conv1" if net != "residual" else "layer1.0.conv1"
    (top, bottom), (left, right) = fields(model, x[:1], layers(model, x[:2]))[layer].box((3, 4))
    found = diorama.attribute(model, x, f"unit:{layer}/1@3,4", method=name, **KNOBS[name])
    outside = nesting.first(found.values).clone()
    assert outside[..., top:bottom, left:right].any()
    outside[..., top:bottom, left:right] = 0
    assert not outside.any()
    if name == "discrepancy":
        assert found.maps["reach"].tolist() == [top, left, bottom, right]
        assert 0 < found.checks["measured field"] <= found.checks["theoretical field"]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", ["occlusion", "discrepancy"])
def test_large_terms_elsewhere_are_no_field(name: str) -> None:
    """A small unit beside one a million times as large: the noise of the large one is no change of the small one."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 1)), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1e6, 1e6], [1.0, 1.0]])[:, :, None, None])
    found = diorama.attribute(model, x, "unit:1/1@3,4", method=name, **KNOBS[name])
    outside = nesting.first(found.values).clone()
    assert outside[..., 2:5, 3:6].any()
    outside[..., 2:5, 3:6] = 0
    assert not outside.any()


class _Blind(nn.Module):
    """A network whose answer does not depend on its input, computed from it all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = Functional(), nn.Linear(3, 2)
        nn.init.zeros_(self.body.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", [*COVERING, "lime", "kernel_shap"])
def test_an_answer_that_depends_on_nothing_is_said_to(name: str) -> None:
    """Where no part changes the target, rounding is no reason for a picture: zero everywhere, and the note says so."""
    torch.manual_seed(0)
    knobs = KNOBS.get(name, {"segments": 8})
    found = diorama.attribute(_Blind().eval(), torch.rand(2, 1, 8, 8), 1, method=name, **knobs)
    assert not nesting.first(found.values).any()
    assert "zero everywhere" in found.note
