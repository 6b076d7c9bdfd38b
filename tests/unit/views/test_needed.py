"""What is not needed: by hand, every layer is held and left out as a plain hook would do it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import diorama
from diorama.core.marks import Table
from diorama.data.nesting import Nested
from diorama.model.preservation import Preservation
from diorama.scene import Scene


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _Last(nn.Module):
    """Answers from the last state of a recurrent layer, and never from its sequence."""

    def __init__(self, kind: type[nn.RNNBase], *, two_ways: bool = False) -> None:
        super().__init__()
        self.reads = kind(5, 8, batch_first=True, bidirectional=two_ways)
        self.out = nn.Linear(16 if two_ways else 8, 2)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        given = x if lengths is None else pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        state = self.reads(given)[1]
        state = state[0] if isinstance(state, tuple) else state
        return self.out(state.transpose(0, 1).flatten(1))


class _Inside(nn.Module):
    """The same within a block that hands on sequence and states."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(5, 5), nn.GRU(5, 8, num_layers=2))
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(x.transpose(0, 1))[1][-1])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "packed", "two ways", "block"])
def test_a_recurrent_layer_is_held_with_its_states(kind: str) -> None:
    """Where the last state alone is read, holding the layer costs what one state for all costs."""
    x, lengths = torch.randn(70, 6, 5, generator=_draws()), torch.arange(70) % 4 + 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Inside() if kind == "block" else _Last(getattr(nn, kind, nn.GRU), two_ways=kind == "two ways")
    with torch.no_grad():
        net.out.weight.mul_(9)
    given: Nested = (x, lengths) if kind == "packed" else x
    with torch.no_grad(), Preservation(net):
        scores = net(*given) if isinstance(given, tuple) else net(x)
        y = (scores - scores.mean(0)).argmax(1)
        # The answer is linear in the state, so that the mean state's answer is the mean answer.
        held, base = cross_entropy(scores.mean(0).expand_as(scores), y), cross_entropy(scores, y)
    value = Scene(net, given, y).derive("needed").value
    name = "block" if kind == "block" else "reads"
    assert value["held"][value["layers"].index(name)] == pytest.approx(float(held - base), abs=1e-5)
    assert abs(float(held - base)) > 0.1
    assert value["unpassed"][name] == ("holds more than the one tensor that is given" if kind == "packed" else "has another shape than what is given")


class _Encoder(nn.Module):
    """A transformer's encoder of two blocks, the first of which PyTorch asks for its settings."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.enter, self.enc, self.out = nn.Linear(5, 8), nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.enc(self.enter(x)).mean(1))


def test_what_is_of_one_shape_can_be_left_out() -> None:
    """The first block of an encoder is left out as a hook that hands on its input would do it, and so is an attention; others are told why not."""
    x = torch.randn(40, 6, 5, generator=_draws())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Encoder().eval()
    y = net(x).argmax(1)
    scene = Scene(net, x, y)
    value = scene.derive("needed").value
    with torch.no_grad():
        base = cross_entropy(net(x), y)
        for name in ("enc.layers.0", "enc.layers.1", "enc", "enc.layers.0.self_attn"):
            handle = net.get_submodule(name).register_forward_hook(
                lambda module, given, answer: (given[0], None) if isinstance(answer, tuple) else given[0]
            )
            without = cross_entropy(net(x), y)
            handle.remove()
            assert value["passed"][value["layers"].index(name)] == pytest.approx(float(without - base), abs=1e-5), name
    assert set(value["unpassed"]) == {"enter", "out", *(f"enc.layers.{k}.linear{n}" for k in (0, 1) for n in (1, 2))}
    assert "6 of 11 cannot be left out, as the answer of each has another shape than what is given." in scene.view("needed").note


class _Idle(nn.Module):
    """A layer in the middle that adds next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.idle, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.first(x)
        return self.out(found + 1e-6 * self.idle(found))


def test_only_what_is_a_number_counts_and_rounding_is_no_change() -> None:
    """Of an example that is no number nothing is counted, and what is left is as without it; a layer that adds next to nothing changes by 0."""
    x = torch.randn(30, 4, generator=_draws())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Idle()
    y = (net(x).argmax(1) + (torch.arange(30) % 4 == 0)) % 3
    torn = torch.cat([torch.full((2, 4), torch.nan), x])
    clean, scene = Scene(net, x, y).derive("needed").value, Scene(net, torn, torch.cat([y[:2], y]))
    found, picture = scene.derive("needed").value, scene.view("needed")
    for name in ("held", "passed"):
        np.testing.assert_allclose(found[name], clean[name], rtol=1e-4, atol=1e-6)
    assert clean["held"][1] == clean["passed"][1] == 0
    assert np.isfinite(found["held"]).all()
    assert "2 of 32 examples have a loss that is no finite number." in picture.note
    (table,) = [mark for mark in picture.marks() if isinstance(mark, Table)]
    assert table.columns[1].texts == ("cannot be", "+0", "cannot be")


def test_of_several_labels_each_is_counted_and_said() -> None:
    """The share that changes is one of labels, and the sentence says labels."""
    x = torch.randn(30, 4, generator=_draws())
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
    with torch.no_grad():
        for part in net.parameters():
            part.copy_(torch.randn(part.shape, generator=_draws(part.numel())))
    y = (net(x) > 0).float()
    scene = Scene(net, x, y, task="multi_label")
    with torch.no_grad():
        held = net[2](torch.relu(net[0](x).mean(0))).expand_as(y)
        share = ((held > 0) != (net(x) > 0)).float().mean()
        rise = binary_cross_entropy_with_logits(held, y) - binary_cross_entropy_with_logits(net(x), y)
    value = scene.derive("needed").value
    assert value["held"][0] == pytest.approx(rise.item(), rel=1e-4)
    assert value["held_changed"][0] == pytest.approx(share.item())
    assert " % of the labels change" in scene.view("needed").caption


def test_what_costs_the_same_is_not_most_and_least() -> None:
    """Whichever layer of a straight chain says the same to all, the answers are alike: none is needed most."""
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3))
    said = Scene(net, x, net(x).argmax(1)).view("needed").caption
    assert "Layer 0, layer 1 and layer 2 are needed least: each held at its mean" in said
    assert "needed most" not in said


def test_shares_that_differ_are_told_from_the_least_to_the_most() -> None:
    """Layers that raise the loss alike need not change as many answers."""
    nothing = np.full(2, np.nan)
    value = {
        "layers": ["a", "b"], "loss": 0.4, "passed": nothing, "held": np.array([0.27, 0.27]), "passed_changed": nothing,
        "held_changed": np.array([0.39, 0.61]),
    }
    said, _ = diorama.views["needed"]()._said(value, "answers")
    assert "a and b are needed least: each held at its mean, the loss of 0.4 changes by +0.27 and 39% to 61% of the answers change" in said


def test_what_can_be_lost_is_named() -> None:
    """A block and what lies in it are one thing that can be lost, told by the block's name."""
    nothing = np.full(4, np.nan)
    value = {
        "layers": ["enter", "block", "block.up", "block.down"], "loss": 0.4, "passed": np.array([np.nan, 0.006, np.nan, np.nan]),
        "held": np.array([7.0, 4.7, 0.0063, 0.005]), "passed_changed": np.array([np.nan, 0, np.nan, np.nan]),
        "held_changed": np.array([0.9, 0.9, 0, 0]),
    }
    said, _ = diorama.views["needed"]()._said(value, "answers")
    assert "; block, and what lies in it, can be lost without changing more than 1% of them. enter is needed most (+7 held at its mean)." in said
    # Held, it holds the sum past it too: what can be left out is not said to be needed most for that.
    said, _ = diorama.views["needed"]()._said(value | {"held": np.array([7.0, 7.1, 0.0063, 0.005])}, "answers")
    assert "enter is needed most (+7 held at its mean)." in said
    said, _ = diorama.views["needed"]()._said(value | {"held": np.array([7.0, 7.0, 0.0063, 0.005])}, "answers")
    assert "enter is needed most (+7 held at its mean)." in said
    value |= {"layers": ["a", "b", "c", "d"], "passed": nothing, "passed_changed": nothing, "held_changed": np.array([0.9, 0, 0, 0])}
    said, _ = diorama.views["needed"]()._said(value, "answers")
    assert "; b, c and d can each be lost without" in said


def test_a_block_and_what_lies_in_it_count_once() -> None:
    """Where all is needed, a block is counted and named as one, not beside each of its parts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
        net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), deep, nn.Linear(4, 4)), nn.Linear(4, 4))
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(-1.5 * torch.eye(4))  # one, three or five less turn every answer
                layer.bias.zero_()
    x = torch.randn(60, 4, generator=_draws())
    with torch.no_grad():
        truth = net(x).argmax(1)
    caption = Scene(net, x, truth, task="classification").view("needed").caption
    assert ", so none of the 2 that were tried can be lost, nor what lies in them, without changing more than 1 % of the answers." in caption, caption
