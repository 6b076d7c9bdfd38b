"""The table of layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Attending, Custom, Recurrent, Residual

from diorama.core.errors import NotFound
from diorama.model.capture import Capture
from diorama.model.layers import by_unit, layers


def test_a_table_reads_like_one() -> None:
    """Layers are found by number, slice and name, and the table shows shapes and parameter counts."""
    table = layers(Residual(), torch.randn(3, 1, 8, 8))
    assert table["stem"] is table[0]
    assert table["stem"].shape == (4, 8, 8)
    assert len(table[:2]) == 2
    assert "layer1.0.relu#2" in table
    assert "stem    " in repr(table)
    assert "4 × 8 × 8" in repr(table)
    with pytest.raises(NotFound, match=r"nearest: 'layer1\.0'"):
        table["layer1.00"]


def test_containers_are_not_leaves() -> None:
    """A module in which others run is a layer, though not a leaf; weights are listed once a module."""
    table = layers(Residual(), torch.randn(3, 1, 8, 8))
    assert not table["layer1"].leaf
    assert table["layer1"].parameters == sum(p.numel() for p in Residual().layer1.parameters())
    assert table.with_weights.names == ("stem", *(f"layer1.{k}.conv{n}" for k in (0, 1) for n in (1, 2)), "fc")
    assert table["stem"].weight == "stem.weight"
    assert set(table.spatial.names) == set(table.names) - {"fc"}


def test_what_layers_answer_is_not_held_while_they_are_found() -> None:
    """At no moment of the look are more answers there than the network itself holds: of a long text all of them are hundreds of megabytes."""
    seen, held = list[weakref.ref[Tensor]](), list[int]()

    def answered(module: nn.Module, args: object, output: Tensor) -> None:
        seen.append(weakref.ref(output))
        held.append(len({id(tensor) for one in seen if (tensor := one()) is not None}))

    # The first op is one that may mix examples for all that is known: else what surely does not is followed, and held.
    blocks = (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Hardtanh(), nn.Sigmoid()) for _ in range(6))
    model = nn.Sequential(nn.Softmin(-1), *blocks)
    for module in model.modules():
        module.register_forward_hook(answered)
    table = layers(model, torch.randn(3, 5, 6))
    assert len(table) > 20
    assert max(held) <= 4


def test_rectified_layers_are_those_whose_output_goes_into_a_relu() -> None:
    """A ReLU that follows at once is found as a module, a function and in place; a sum in between is no such layer."""
    table = layers(*ZOO[0]())
    assert [layer.name for layer in table if layer.rectified] == ["norm", "conv2"]
    table = layers(Residual(), torch.randn(3, 1, 8, 8))
    assert [layer.name for layer in table if layer.rectified] == ["layer1.0.bn1", "layer1.1.bn1"]


def test_units_lie_where_the_kind_of_layer_puts_them() -> None:
    """Channels come second and features last; a module that does not say takes after its neighbours."""
    table = layers(nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 5)), torch.randn(2, 8, 9))
    assert [layer.units for layer in table] == [4, 4, 28, 5]
    table = layers(Attending(), torch.randn(2, 6, 8))
    assert table["attn"].unit_axis == 2
    assert by_unit(table["attn"], torch.zeros(2, 6, 8)).shape == (2, 8, 6)
    assert table["attn"].weight == "attn.in_proj_weight"


def test_recurrent_modules_list_their_parts() -> None:
    """Each layer and direction of a recurrent module is a layer of its own, after the module."""
    table = layers(Recurrent(nn.GRU, num_layers=2, bidirectional=True), torch.randint(0, 11, (2, 5)))
    assert table.recurrent.names == ("rnn.l0", "rnn.l0.reverse", "rnn.l1", "rnn.l1.reverse")
    assert table["rnn.l1.reverse"].weight == "rnn.weight_ih_l1_reverse"
    assert table["rnn.l1"].shape == (5, 6)
    assert not table["rnn"].leaf
    assert table["rnn"].parameters == sum(layer.parameters for layer in table.recurrent)


def test_one_example_is_enough() -> None:
    """A batch of one example gives the same table as a batch of many."""
    model, x = Custom(), torch.randint(0, 11, (5, 7))
    assert layers(model, x[:1])[:] == layers(model, x)[:] or repr(layers(model, x[:1])) == repr(layers(model, x))


def test_shaped_weights_are_found() -> None:
    """The weight of a parametrized module is the largest of the tensors it is computed from."""
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    table = layers(model, torch.randn(2, 3))
    assert table.names == ("0",)
    assert table["0"].weight == "0.parametrizations.weight.original1"


class Own(nn.Module):
    """Holds its weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(4, 3)), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x @ self.first) @ self.second


@pytest.mark.parametrize(
    ("make", "names", "shape"),
    [
        (lambda: nn.Linear(5, 3), ("",), (4, 5)),
        (Own, ("act", ""), (4, 5)),
        (lambda: nn.LSTM(5, 3, batch_first=True), ("", "l0"), (4, 6, 5)),
        (lambda: nn.Conv2d(1, 3, 2), ("",), (4, 1, 5, 5)),
    ],
)
def test_the_model_itself_may_be_the_layer(make: Callable[[], nn.Module], names: Any, shape: Any) -> None:
    """A bare layer, or a model that holds its weights itself, is a layer without a name, which is read and edited as any."""
    model, x = make().eval(), torch.randn(shape)
    table = layers(model, x)
    assert table.names == names
    assert table[""].units == 3
    assert dict(model.named_parameters())[table[""].weight or ""].ndim >= 2
    with Capture(model, names, edits=[{"key": "unit:/1", "value": 7.0}]) as look:
        out = look(x)
    out = out[0] if isinstance(out, tuple) else out
    axis = table[""].unit_axis
    assert bool((out.select(axis, 1) == 7).all())
    assert torch.equal(look[""], out)
    assert not torch.equal(out.select(axis, 0), torch.full_like(out.select(axis, 0), 7.0))
