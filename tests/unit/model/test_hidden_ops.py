"""What runs beside the ops that the mode sees is found, and methods go round it or refuse."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from attentions import WRITTEN, Windows, attentive
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint
from zoo import ZOO, Specimen

import diorama
from diorama.core.errors import NotApplicable
from diorama.model.capture import Capture
from diorama.model.hidden_ops import HiddenOps, hidden
from diorama.model.plain_module import unwrap


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class Swish(torch.autograd.Function):
    """A swish that keeps its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _swish(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return slopes[0] * s * (1 + x * (1 - s))




def _elsewhere(ran: Any, x: Tensor) -> Tensor:
    with torch.autograd.graph.save_on_cpu(), torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda kept: kept):
        return ran(x)


pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True"),
]
HIDDEN = {
    "function": (Swish.apply, "the autograd function Swish before second"),
    "vmap": (torch.func.vmap(_swish), "a function whose ops torch hides .* before second"),
    "checkpoint": (lambda x: checkpoint(_swish, x, use_reentrant=False), "a checkpoint"),
    "reentrant": (lambda x: checkpoint(_swish, x, use_reentrant=True), "the autograd function CheckpointFunction"),
}


class Net(nn.Module):
    """Two convolutions with an activation of one's own between them."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.out, self.act = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3), act

    def forward(self, x: Tensor) -> Tensor:
        return self.out(50 * F.relu(self.second(self.act(self.first(x)))).mean((2, 3)))


def _image() -> Tensor:
    return torch.randn(2, 1, 10, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_networks_of_plain_ops_raise_no_alarm(specimen: Specimen) -> None:
    """Nothing is hidden in any network of the zoo."""
    model, x = specimen()
    assert hidden(unwrap(model), x) == HiddenOps()


@pytest.mark.parametrize("make", [*WRITTEN.values(), Windows])
def test_written_attentions_raise_no_alarm(make: Any) -> None:
    """Nothing is hidden in an attention written by hand; views that autograd makes anew are no alarm."""
    assert hidden(*attentive(make)) == HiddenOps()


@pytest.mark.parametrize("way", HIDDEN)
def test_what_the_mode_cannot_see_is_found(way: str) -> None:
    """Functions that torch hides, autograd functions and checkpoints are named, with the layer that they stand before; hooks that store what
    autograd keeps elsewhere hide nothing, not even a checkpoint around them."""
    act, said = HIDDEN[way]
    net, plain = Net(act).eval(), Net(lambda x: _elsewhere(_swish, x)).eval()
    if way == "checkpoint":
        net.act = lambda x: checkpoint(_elsewhere, _swish, x, use_reentrant=False)
    assert not hidden(plain, _image())
    with Capture(plain, edits=[{"key": "unit:second/1", "scale": 2.0}], grad=True) as look:
        assert look(_image()).requires_grad
    found = hidden(net, _image())
    assert found
    assert re.search(said, str(found))
    assert not found.detached
    assert not hidden(Net(_swish).eval(), _image())


def _frozen(x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.sigmoid(x)


def _logged(x: Tensor) -> Tensor:
    _frozen(x)
    return x


def _written(x: Tensor) -> Tensor:
    kept = torch.zeros_like(x)
    with torch.no_grad():
        kept[:] = x
    return x * kept


DETACHED = {
    "detach": lambda x: x * torch.sigmoid(x).detach(), "no_grad": lambda x: x * _frozen(x), "data": lambda x: x + x.data, "written": _written,
    "quantized": lambda x: x + torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize(), "whole": lambda x: x + (10 * x).to(torch.int8) / 10,
}


@pytest.mark.parametrize("way", DETACHED)
def test_a_way_that_no_slope_goes_is_told(way: str) -> None:
    """Of what lies behind it, by the methods that follow slopes and no others; what the answer does not depend on is no such way."""
    model, x = Net(DETACHED[way]).eval(), _image()
    assert hidden(model, x) == HiddenOps((), (("second", "the model itself"), ("out", "the model itself"), ("", "the model itself")))
    for method in ("gradient", "lrp", "grad_cam"):
        assert "no slope goes that way" in diorama.attribute(model, x, 1, method=method).note
    assert "no slope" not in diorama.attribute(model, x, 1, method="occlusion").note
    assert "no slope" not in diorama.attribute(model, x, "unit:first/1").note
    assert hidden(Net(_logged).eval(), x) == HiddenOps()


def test_a_memory_beside_the_scores_is_no_way_to_them() -> None:
    """What a model answers beside its scores may be detached, as the memory of an XLNet is; it is told where that is what is read."""
    model, x = Net(_logged).eval(), _image()
    whole = nn.Module()
    whole.net = model
    whole.forward = lambda x: {"logits": model(x), "memory": model.first(x).flatten(1).detach()}
    assert hidden(whole, x) == HiddenOps()
    assert hidden(whole, x, "memory").detached == (("", "the model itself"),)


@pytest.mark.parametrize("way", HIDDEN)
@pytest.mark.parametrize("method", ["occlusion", "discrepancy", "gradient", "feature_ablation"])
def test_methods_that_need_no_rule_go_round_it(way: str, method: str) -> None:
    """Maps of a network with a hidden activation are those of the same network with a plain one."""
    if (way, method) == ("reentrant", "gradient"):
        with pytest.raises(NotApplicable, match="use_reentrant=False"):
            diorama.attribute(Net(HIDDEN[way][0]).eval(), _image(), target=1, method=method)
        return
    found = diorama.attribute(Net(HIDDEN[way][0]).eval(), _image(), target=1, method=method)
    assert ("the autograd function Swish before second says" in found.note) == ((way, method) == ("function", "gradient"))
    found, plain = found.values, diorama.attribute(Net(_swish).eval(), _image(), target=1, method=method).values
    assert plain.abs().max() > 0
    assert torch.allclose(found, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


@pytest.mark.parametrize("method", ["lrp", "deep_lift", "guided_backprop", "deconvnet"])
def test_methods_with_rules_refuse_by_its_name(method: str) -> None:
    """A method that needs the op's own rule refuses, and names what hides it."""
    with pytest.raises(NotApplicable, match=f"{method} follows the model's ops, and cannot see into the autograd function Swish"):
        diorama.attribute(Net(Swish.apply).eval(), _image(), target=1, method=method)


class Bag(nn.Module):
    """A bag of embeddings in which token 0 is padding."""

    def __init__(self, mode: str, plain: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(20, 6, mode=mode, padding_idx=0)
        self.out, self.mode, self.plain = nn.Linear(6, 3), mode, plain

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.plain:
            return self.out(torch.relu(self.bag(tokens)))
        kept, rows = (tokens != 0)[..., None], F.embedding(tokens, self.bag.weight)
        made = (rows * kept).sum(1) if self.mode != "max" else rows.masked_fill(~kept, -1e9).amax(1)
        return self.out(torch.relu(made / kept.sum(1) if self.mode == "mean" else made))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients", "lrp", "deep_lift", "occlusion"])
def test_a_bag_of_embeddings_is_opened_as_it_is(mode: str, method: str) -> None:
    """Padding takes no part in a bag, so that maps are those of the same network made of an embedding and a sum."""
    tokens = torch.randint(1, 20, (4, 6), generator=torch.Generator().manual_seed(2))
    tokens[::2, 4:] = 0
    found = diorama.attribute(Bag(mode, False).eval(), tokens, target=1, method=method)
    wanted = diorama.attribute(Bag(mode, True).eval(), tokens, target=1, method=method)
    assert torch.allclose(found.values, wanted.values, atol=1e-5)


def test_a_pass_of_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what a method put together scores otherwise than the model does by itself, the method refuses by name."""
    from diorama.methods import entrance

    monkeypatch.setattr(entrance, "_padded_bag", lambda mode, kept, rows: 2 * rows.sum(1))
    tokens = torch.randint(1, 20, (4, 6), generator=torch.Generator().manual_seed(2))
    tokens[::2, 4:] = 0
    with pytest.raises(NotApplicable, match="lrp takes the model apart, and what it put together scores"):
        diorama.attribute(Bag("sum", False).eval(), tokens, target=1, method="lrp")


def test_scores_are_remembered_for_what_is_asked() -> None:
    """Other classes of the same examples, and other weights, are compared with their own scores."""
    model = Net(F.relu).eval()
    for target in (torch.tensor([0, 2]), torch.tensor([2, 1]), 1, lambda output: output[:, 0] * 2, lambda output: output[:, 1]):
        found = diorama.attribute(model, _image(), target=target, method="lrp")
        scores = model(_image())
        wanted = target(scores) if callable(target) else scores[torch.arange(2), torch.as_tensor(target).expand(2)]
        assert torch.allclose(found.scores, wanted, atol=1e-5)
    with torch.no_grad():
        model.out.bias += 1
    diorama.attribute(model, _image(), target=1, method="lrp")
