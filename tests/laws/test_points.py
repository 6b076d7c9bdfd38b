"""Laws of points: every op of every model can be read, and edited, by the name that the graph gives it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attentions import WRITTEN, Windows, attentive
from torch import Tensor, nn
from zoo import ZOO

from diorama.data import nesting
from diorama.model.axes import tensors_in
from diorama.model.capture import Capture
from diorama.model.graph import graph
from diorama.model.mode import OpMode
from diorama.model.plain_module import fed, unwrap
from diorama.model.points import points

NETWORKS = {
    **{specimen.name: specimen for specimen in ZOO},
    **{f"attention_{name}": lambda make=make: attentive(make) for name, make in {**WRITTEN, "windows": Windows}.items()},
}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


@pytest.fixture(params=NETWORKS)
def network(request: Any) -> tuple[nn.Module, Any]:
    """Each network of the zoo, and each way to write an attention."""
    model, x = NETWORKS[request.param]()
    return model, x


def _near(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    loose = 0.05 if a.dtype == torch.bfloat16 else 1e-4
    return a.shape == b.shape and torch.allclose(a, b, rtol=loose, atol=loose, equal_nan=True)


def _same(a: Any, b: Any) -> bool:
    return all(_near(one, two) for one, two in zip(tensors_in(a), tensors_in(b), strict=True))


def test_ops_have_the_names_of_the_graph(network: tuple[nn.Module, Any]) -> None:
    """What the graph calls an op is its point, with the same shape for an example, also where all kernels are opened."""
    model, x = network
    plain = unwrap(model)
    known = points(plain, fed(plain, x))
    nodes = {node.id: node for node in graph(model, x).nodes if node.is_op}
    assert [f"op:{name}" for name in known.ops] == list(nodes)
    wanted = [name for name in nodes if not known[name].whole]
    with Capture(model, wanted) as look:
        look(x)
    with Capture(model, wanted, gates=True, attention=True) as opened:
        opened(x)
    assert set(look) == set(opened) == set(wanted)
    assert [name for name in wanted if not _near(look[name], opened[name])] == []


class _Written(nn.Module):
    """Writes into memory that it takes first, the first axis of which counts the examples; bound to four examples or not."""

    def __init__(self, bound: bool) -> None:
        super().__init__()
        self.layer, self.bound = nn.Linear(5, 3), bound

    def forward(self, x: Tensor) -> Tensor:
        room = torch.empty_like(x) if not self.bound else x.new_empty(4, 5)
        room.copy_(x)
        return self.layer(room)


@pytest.mark.parametrize("bound", [False, True])
def test_memory_that_is_not_written_yet_is_no_activation(bound: bool) -> None:
    """The numbers that stand by chance in memory are not read as what an op answers; what is written there is."""
    model, x = _Written(bound), torch.randn(4, 5)
    known = points(model, x)
    taken, written = [f"op:{name}" for name in known.ops][:2]
    assert "not written" in known[taken].whole
    assert not known[written].whole
    with Capture(model, [written]) as look:
        look(x)
    assert _near(look[written], x)


def test_an_op_answers_each_example_alone(network: tuple[nn.Module, Any]) -> None:
    """What is read of an op for one example is what it answers to that example alone, whatever its axes are merged with."""
    model, x = network
    plain = unwrap(model)
    known = points(plain, fed(plain, x))
    wanted = [f"op:{name}" for name in known.ops if not known[f"op:{name}"].whole]
    with Capture(model, wanted) as look:
        look(x)
    with Capture(model, wanted) as alone:
        alone(nesting.select(x, [2]))
    for name in wanted:
        assert tuple(look[name].shape[1:]) == known[name].shape, name
        if not name.startswith(("op:rand", "op:zeros")):
            assert _near(look[name][2:3], alone[name]), name


def test_edits_that_change_nothing_change_nothing(network: tuple[nn.Module, Any]) -> None:
    """Every op times one, read or not, with or without gradients, leaves the model's answer as it is."""
    model, x = network
    plain = unwrap(model)
    known = points(plain, fed(plain, x))
    with Capture(model) as bare:
        wanted = bare(x)
    floats = [f"op:{name}" for name in known.ops if name.rpartition(".")[2] not in ("eq", "arange", "bool")]
    edits = [{"key": name, "scale": 1.0} for name in floats if "lstm" not in name and "gru" not in name]
    for grad in (False, True):
        kept = [name for name in floats if not known[name].whole] if grad else []
        with Capture(model, kept, edits=edits, grad=grad) as look:
            assert _same(look(x), wanted)


class Both(nn.Module):
    """An attention written by hand, in-place ReLUs, and one of two results of an op."""

    def __init__(self) -> None:
        super().__init__()
        self.net = attentive(WRITTEN["written"])[0]

    def forward(self, x: Tensor) -> Tensor:
        y = self.net.attn[0](self.net.norm(self.net.embed(x)))
        y = torch.relu_(y.chunk(2, -1)[1].repeat(1, 1, 2))
        return self.net.out((y + self.net.mlp[0](y * 2)).mean(1))


@pytest.mark.parametrize(
    "key", ["op:relu_", "op:net.mlp.0.1.relu", "op:net.attn.0.softmax/1", "op:chunk.1/0@3", "op:chunk.1", "layer:net.embed"]
)
def test_an_edit_has_the_right_gradient(key: str) -> None:
    """The slope through an edited op, in-place ones too, is that of finite differences."""
    model, x = Both().double(), attentive(WRITTEN["written"])[1].double()
    edit = {"key": key, "scale": 0.3}

    def answer(at: Tensor) -> Tensor:
        with Capture(model, edits=[edit]) as look:
            return look(at)[:, 1].sum()

    at = x.clone().requires_grad_()
    with Capture(model, edits=[edit], grad=True) as look:
        (slope,) = torch.autograd.grad(look(at)[:, 1].sum(), at)
    for place in ((0, 2, 1), (3, 5, 4), (1, 0, 0)):
        step = torch.zeros_like(x)
        step[place] = 1e-6
        expected = (answer(x + step) - answer(x - step)) / 2e-6
        assert torch.isclose(slope[place], expected, rtol=1e-5, atol=1e-8)
    assert not torch.isclose(model(x)[:, 1].sum(), answer(x))


def test_an_edit_in_place_is_seen_by_whoever_holds_the_tensor() -> None:
    """A model that calls ``relu_`` and goes on with the tensor it gave, not with the result, sees the edit."""

    class Held(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            held = y[:, :2]
            held.relu_()
            return y

    x = torch.tensor([[1.0, -1.0, 3.0], [2.0, 5.0, -4.0]])
    with Capture(Held(), edits=[{"key": "op:relu_/0", "value": 7.0}], grad=True) as look:
        assert look(x).tolist() == [[7.0, 0.0, 6.0], [7.0, 10.0, -8.0]]


def test_names_do_not_move_when_ops_are_replaced() -> None:
    """Rules that answer other ops, and look's own copies, do not change what a name means."""
    model, x = attentive(WRITTEN["written"])
    names = ["op:add#2", "op:attn.1.matmul", "op:attn.1.transpose", "op:mlp.1.0.linear"]
    with Capture(model, names) as look:
        look(x)

    def rule(name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name not in ("linear", "softmax"):
            return NotImplemented
        copies = args[0].clone().transpose(0, 1).transpose(0, 1)
        return func(copies, *args[1:], **kwargs)

    edits = [{"key": "layer:attn.0", "scale": 1.0}, {"key": "op:attn.1.transpose", "scale": 1.0}]
    with OpMode().replace(rule), Capture(model, [*names, "attn.0", "norm"], edits=edits, grad=True) as other:
        other(x)
    assert all(_near(look[name], other[name]) for name in names)
