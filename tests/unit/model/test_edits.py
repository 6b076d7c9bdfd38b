"""Edits of units, layers and weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from zoo import ZOO, Custom, Functional, Reused

from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.selection import Key
from diorama.model.capture import Capture
from diorama.model.edits import Edit


def _look(model: nn.Module, x: Any, keep: str, *edits: dict[str, Any]) -> torch.Tensor:
    with Capture(model, keep=[keep], edits=edits) as look:
        look(x)
    return look[keep]


def test_units_places_and_layers_take_values_scales_and_patches() -> None:
    """Each action changes what its key names, and nothing else."""
    model, x = ZOO[0]()
    bare = _look(model, x, "conv1")
    assert (_look(model, x, "conv1", {"key": "unit:conv1/2", "value": 1.5})[:, 2] == 1.5).all()
    assert torch.equal(_look(model, x, "conv1", {"key": "unit:conv1/2", "scale": 2.0})[:, 2], bare[:, 2] * 2)
    placed = _look(model, x, "conv1", {"key": "unit:conv1/2@3,4", "lesion": True})
    assert (placed != bare).sum() == 4
    assert placed[:, 2, 3, 4].abs().max() == 0
    patched = _look(model, x, "conv1", {"key": "layer:conv1", "patch": bare[:1]})
    assert torch.equal(patched, bare[:1].expand_as(bare))
    both = _look(model, x, "conv1", {"key": "unit:conv1/2", "value": 1.0}, {"key": "unit:conv1/2", "scale": 3.0})
    assert (both[:, 2] == 3).all()


def test_a_value_of_zero_is_a_value() -> None:
    """Zero is a value and a scale like any other."""
    assert str(Edit(Key.parse("unit:a/1"), value=0.0)) == "unit:a/1 set to 0"
    assert Edit(Key.parse("unit:a/1"), scale=0.0).to_json() == {"key": "unit:a/1", "scale": 0.0}


def test_edits_pass_on_what_they_change() -> None:
    """Later layers see the edited activation, and edits of the second call of a module leave the first alone."""
    model, x = Reused().eval(), torch.randn(4, 5)
    edit = {"key": "layer:act#2", "lesion": True}
    with Capture(model, keep="all", edits=[edit]) as look:
        output = look(x)
    assert look["act"].abs().max() > 0
    assert look["act#2"].abs().max() == 0
    assert torch.allclose(output, model.twice.bias.expand(4, 6))


def test_weights_change_for_one_look_also_where_they_are_tied() -> None:
    """A changed weight acts wherever the parameter stands, and the parameter itself is never written."""
    model, x = Custom().eval(), torch.zeros(2, 3, dtype=torch.long)
    before, version = model.head.weight.detach().clone(), model.head.weight._version
    with Capture(model, keep=["embed"], edits=[{"key": "weight:head/0,1", "value": 7.0}]) as look:
        look(x)
    assert (look["embed"][..., 1] == 7).all()
    assert torch.equal(model.head.weight, before)
    assert model.head.weight is model.embed.weight
    assert model.head.weight._version == version


def test_weights_of_recurrent_modules_and_biases_can_be_edited() -> None:
    """A recurrent module uses the edited weight, and a bias is named as a parameter."""
    model, x = next(s for s in ZOO if s.name == "lstm")()
    bare = _look(model, x, "rnn")
    assert not torch.allclose(_look(model, x, "rnn", {"key": "weight:rnn.weight_hh_l1/3,2", "value": 5.0}), bare)
    assert torch.equal(_look(model, x, "rnn"), bare)
    shifted = _look(model, x, "out", {"key": "weight:out.bias/4", "value": 100.0})
    assert (shifted[..., 4] > 50).all()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"key": "unit:conv1/9", "lesion": True}, "conv1 has units 0 to 3, got 9"),
        ({"key": "unit:conv1/1@9,9", "lesion": True}, "places 0 to 7"),
        ({"key": "unit:conv1/1@9", "lesion": True}, "has 2 numbers"),
        ({"key": "unit:conv1/1"}, "got none"),
        ({"key": "unit:conv1/1", "lesion": True, "scale": 2.0}, "got lesion and scale"),
        ({"key": "weight:conv1/1,2", "lesion": True}, r"conv1\.weight has shape"),
        ({"key": "layer:conv1", "patch": torch.zeros(3, 3)}, "a patch of layer:conv1 has shape"),
        ({"key": "example:4", "lesion": True}, "a unit, a layer, a head, a weight or a direction"),
        ({"key": "head:conv1/1", "value": 2.0}, "cannot take a value"),
    ],
)
def test_wrong_edits_say_what_was_wanted(edit: dict[str, Any], says: str) -> None:
    """An edit that does not fit is refused with what would."""
    with pytest.raises(UsageError, match=says), Capture(Functional().eval(), edits=[edit]) as look:
        look(torch.randn(2, 1, 8, 8))


def test_unknown_weights_are_refused_with_the_nearest() -> None:
    """A weight that is not there is refused with the nearest names."""
    with (
        pytest.raises(NotFound, match="nearest: 'conv2', 'conv1'"),
        Capture(Functional(), edits=[{"key": "weight:conv3/1", "lesion": True}]),
    ):
        pass


def test_edits_travel_as_plain_data() -> None:
    """An edit comes back from its plain form; a patch has none."""
    edit = Edit(Key.parse("unit:a b/1@2,3"), scale=0.5)
    assert Edit.of(edit.to_json()) == edit
    with pytest.raises(UsageError, match="cannot be sent as text"):
        Edit(Key.parse("layer:a"), patch=torch.zeros(1)).to_json()
    with pytest.raises(NotFound, match="part of an edit"):
        Edit.of({"key": "unit:a/1", "lesoin": True})


@pytest.mark.parametrize("name", ["#2", "l#2"])
def test_ops_of_modules_whose_names_end_as_second_calls_do_are_edited(name: str) -> None:
    """A module may be called ``#2``: its ops are found, and changed."""
    model = nn.Sequential(OrderedDict([("l", nn.Linear(3, 4)), (name, nn.Tanh()), ("out", nn.Linear(4, 2))]))
    op, x = f"op:{name}.tanh", torch.ones(2, 3)
    found = _look(model, x, op, {"key": f"{op}/1", "value": 0.5})
    assert (found[:, 1] - 0.5).abs().max() < 1e-6
    assert torch.allclose(_look(model, x, "out", {"key": f"{op}/1", "value": 9}), _look(model, x, "out", {"key": f"unit:{name}/1", "value": 9}))


class _Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(11, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.e(x % 11).mean(1)


def test_what_holds_whole_numbers_takes_no_others() -> None:
    """A value that would be cut off is refused, and one that the model cannot go on with is told with the edit."""
    model, x = _Whole(), torch.arange(10).reshape(2, 5)
    assert (_look(model, x, "op:remainder", {"key": "op:remainder/1", "value": 3})[:, 1] == 3).all()
    for change in ({"value": 0.5}, {"scale": 0.3}, {"value": 1e30}, {"value": float("nan")}, {"patch": torch.full((1,), 0.5)}):
        with pytest.raises(UsageError, match="op:remainder holds whole numbers of int64"):
            _look(model, x, "e", {"key": "op:remainder/1", **change})
    with pytest.raises(NotApplicable, match="the forward pass fails with op:remainder/1 set to 20: IndexError"):
        _look(model, x, "e", {"key": "op:remainder/1", "value": 20})
