"""Laws of models that take one number of examples alone: any number is looked at, as if they took it."""

from __future__ import annotations

import copy
import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Ragged, Specimen

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import knobs_of
from diorama.data import nesting
from diorama.model.averages import reestimate
from diorama.model.axes import tensors_in
from diorama.model.batch_size import batch_size
from diorama.model.capture import Capture
from diorama.model.graph import graph
from diorama.model.layers import layers
from diorama.model.plain_module import unwrap
from diorama.model.points import points
from diorama.model.scan import scan
from diorama.model.slopes import slopes
from diorama.model.tail import Tail
from diorama.record.layer_reader import LayerReader
from diorama.training.surgery.units import add_units

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
NETS = [specimen for specimen in ZOO if specimen.name != "parallel"]
EVERY_NET = pytest.mark.parametrize("specimen", NETS, ids=[specimen.name for specimen in NETS])
SIZE = 3
FEWER = {"steps": 2, "draws": 2, "samples": 8, "permutations": 1, "regions": 3, "window": 4, "stride": 4}
"""Knobs that make a law quick: what it says holds for any number."""


def bound(model: nn.Module, size: int = SIZE) -> nn.Module:
    """A copy of a model that takes batches of one size alone."""
    own = copy.deepcopy(unwrap(model))
    forward = type(own).forward

    def strict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        count = nesting.size(args or kwargs)
        if count != size:
            raise RuntimeError(f"shape '[{size}, -1]' is invalid for {count} examples")
        return forward(self, *args, **kwargs)

    own.__class__ = type("Bound", (type(own),), {"forward": strict})
    return own


def same(one: Any, other: Any) -> None:
    """Assert that two answers are the same numbers in the same form."""
    for mine, theirs in zip(tensors_in(one), tensors_in(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3 if mine.dtype == torch.bfloat16 else 1e-4, atol=1e-5)


@EVERY_NET
@pytest.mark.parametrize("count", [4, 1])
def test_a_bound_model_answers_any_number_of_examples(specimen: Specimen, count: int) -> None:
    """Its answers, layers and slopes by them are those of the same model without the bound, and its state stays."""
    model, x = specimen()
    x = nesting.select(x, slice(0, count))
    other = bound(model)
    before = copy.deepcopy(other.state_dict())
    kept = [layer.name for layer in layers(model, x) if layer.each and "#" not in layer.name]
    found = []
    for one in (model, other):
        with Capture(one, kept, grad=True) as look:
            output = look(x)
            value = next(tensors_in(output)).double().sum()
            found.append((output, {name: look[name] for name in kept}, slopes(value, [look[name] for name in kept])))
    same(found[0][0], found[1][0])
    same(found[0][1], found[1][1])
    for mine, theirs in zip(found[0][2], found[1][2], strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            same(mine, theirs)
    assert batch_size(other) == SIZE
    same(before, other.state_dict())


@EVERY_NET
def test_a_bound_model_is_found_out_like_any(specimen: Specimen) -> None:
    """Its layers and its graph are the same, its points are found, and one sentence tells of the bound."""
    model, x = specimen()
    other, plain = bound(model), unwrap(model)
    mine, theirs = layers(plain, x), layers(other, x)
    assert [(one.name, one.shape, one.each) for one in mine] == [(one.name, one.shape, one.each) for one in theirs]
    assert [node.id for node in graph(plain, x).nodes] == [node.id for node in graph(other, x).nodes]
    assert set(points(plain, x).records) == set(points(other, x).records)
    assert "is given 3 examples at a time" in theirs.notes[-1]


SLOW = ("black box", "input modification")
"""Methods that ask so often that they are tried on a short text alone."""
ASKED = [
    (one, name) for one in NETS for name, method in diorama.methods.items()
    if one.name == "custom_attention" or (one.name == "functional" and method.group not in SLOW)
]


@pytest.mark.parametrize(("specimen", "name"), ASKED, ids=[f"{name}-{one.name}" for one, name in ASKED])
def test_every_method_explains_a_bound_model(specimen: Specimen, name: str) -> None:
    """An attribution has the values that it has without the bound, or is refused for the same reason."""
    model, x = specimen()
    x = nesting.select(x, slice(0, 1))
    knobs = {knob: value for knob, value in FEWER.items() if knob in knobs_of(diorama.methods[name])}
    knobs |= {"method": name, "target": 1, "baseline": torch.cat([x, x]) if name == "expected_gradients" else None}
    try:
        want = diorama.attribute(model, x, **knobs)
    except NotApplicable as error:
        with pytest.raises(NotApplicable, match=str(error)[:20]):
            diorama.attribute(bound(model), x, **knobs)
        return
    found = diorama.attribute(bound(model), x, **knobs)
    same(want.values, found.values)
    assert "is given 3 examples at a time" in found.note


def test_what_a_caller_does_besides_is_no_hindrance() -> None:
    """Under a default device, and beside another thread, a bound model is looked at all the same."""
    model, x = next(specimen for specimen in NETS if specimen.name == "functional")()
    with torch.device("cpu"), Capture(bound(model)) as look:
        same(look(x[:1]), model(x[:1]))
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        with Capture(bound(model)) as look:
            same(look(x[:1]), model(x[:1]))
    finally:
        done.set()
        other.join()


def test_an_edit_of_a_bound_model_reaches_each_example() -> None:
    """A patch of one value an example changes that example's answer alone, in whichever batch it runs."""
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x, patch = torch.randn(7, 5), torch.randn(7, 8)
    with Capture(bound(model), edits=[{"key": "layer:0", "patch": patch}]) as look:
        found = look(x)
    same(found, model[2](patch.relu()).detach())


def test_a_tail_of_a_bound_model_takes_fewer_examples() -> None:
    """What follows a point runs again for fewer examples than the bound, and says why it does not for more."""
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    other, x = bound(model), torch.randn(4, 5)
    layers(other, x)
    tail = Tail(other, x[:2], "op:relu", lambda output: output)
    h = torch.rand(2, 8)
    same(tail(h), model[2](h))
    with pytest.raises(NotApplicable, match="for 3 examples at most"):
        Tail(other, x, "op:relu", lambda output: output)


class Mixing(nn.Module):
    """A network that takes four examples, each of which changes the answers to the others."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Answers in which the places in the batch count."""
        return self.last(x.view(4, 5) * torch.arange(4.0)[:, None])


def test_a_model_that_mixes_its_examples_is_not_filled_up() -> None:
    """Where an answer depends on the place in the batch, what is filled in would count: the model's own error is told."""
    with pytest.raises(NotApplicable, match="own forward pass failed with 1 example"):
        diorama.attribute(Mixing(), torch.randn(1, 5), 0)


def test_a_norm_over_the_batch_is_not_filled_up() -> None:
    """A batch norm without running statistics takes no single example; one among copies of itself would be answered otherwise."""
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotApplicable, match="own forward pass failed with 1 example"):
        diorama.Scene(model, x).view("answer")
    assert batch_size(model) is None
    assert torch.equal(diorama.attribute(model, x, 1, method="input_x_gradient").scores, model(x)[:, 1].detach())


def test_averages_of_batch_norm_are_of_full_batches() -> None:
    """Running statistics of a bound model are estimated from the batches that it takes, without what would be filled in."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), torch.randn(7, 5)
    other = bound(model)
    reestimate(model, [x[:3], x[3:6]])
    reestimate(other, [x])
    same(model.state_dict(), other.state_dict())
    assert int(other[1].num_batches_tracked) == 2
    assert add_units(other := bound(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))), x, "0", 1).after == 5
    assert other(x[:3]).shape == (3, 2)


class _Stepwise(Ragged):
    """Beside what it is, one whose output layer works step by step on the padded sequences."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        steps = self.out(nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])
        return (steps * (torch.arange(steps.shape[1]) < lengths[:, None])[..., None]).sum(1)


@pytest.mark.parametrize("batch", [4, SIZE])
def test_padding_behind_packed_sequences_is_no_activation(batch: int) -> None:
    """A scan and the responses of packed sequences, and of a layer that reads them padded again, are those of each sequence alone,
    to which no zeros are added; also where the model takes one number of examples alone, and in what a recorder reads.
    """
    torch.manual_seed(0)
    model, x = _Stepwise().eval(), next(one for one in ZOO if one.name == "ragged")()[1]
    torch.nn.init.constant_(model.rnn.bias_hh_l0, -3.0)
    asked = model if batch == 4 else bound(model)
    names = [layer.name for layer in layers(model, x) if layer.name.startswith(("rnn", "out"))]
    whole = scan(asked, [(x, None)], names, histogram=True)
    alone = scan(model, [(nesting.select(x, k), None) for k in range(4)], names, histogram=True)
    shown = diorama.Scene(asked, x).responses(names)
    reader = LayerReader(model, None, pytest.fail)
    reader.arm(only_training=False)
    model(*x)
    _, _, mean, _, count, *_ = reader.finish()["out"].values.statistics
    assert count == 3 * int(x[1].sum())
    assert np.isclose(mean, alone.layers["out"].moments.mean.mean(), atol=1e-6)
    for name in names:
        mine, theirs = whole.layers[name], alone.layers[name]
        assert mine.moments.count == theirs.moments.count == int(x[1].sum())
        for field in ("mean", "std", "low", "high"):
            assert np.allclose(getattr(mine.moments, field), getattr(theirs.moments, field), atol=1e-6), (name, field)
        assert mine.histogram is not None
        assert theirs.histogram is not None
        assert mine.histogram.counts.sum() == theirs.histogram.counts.sum()
        assert np.array_equal(mine.top.examples, theirs.top.examples)
        single = [diorama.Scene(model, nesting.select(x, k)).activations(name)[name].flatten(2) for k in range(4)]
        for part, (field, one) in itertools.product(range(4), (("high", torch.amax), ("low", torch.amin), ("mean", torch.mean))):
            same(getattr(shown[name], field)[part], one(single[part][0], 1))
