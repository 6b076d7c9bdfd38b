"""The last states of recurrent layers say what their sequence says: slopes and changes there come to answers made of either."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diorama import Scene
from diorama.model.capture import Capture

STEPS = 6


class LastStateNet(nn.Module):
    """Classes from the states in which a recurrent net of two layers ends."""

    def __init__(self, kind: str, *, both: bool, packed: bool, late: bool) -> None:
        super().__init__()
        self.r = getattr(nn, kind)(5, 4, 2, batch_first=not late, bidirectional=both)
        self.f = nn.Linear(8 if both else 4, 3)
        self.packed, self.late = packed, late

    def lengths(self, x: Tensor) -> Tensor:
        """Packed texts are of four lengths, told by the signs of their first step."""
        return STEPS - (x[:, 0, :2] > 0).long() @ torch.tensor([2, 1]) if self.packed else torch.full((len(x),), STEPS)

    def forward(self, x: Tensor) -> Tensor:
        """From h_n alone."""
        given = x.transpose(0, 1) if self.late else x
        if self.packed:
            given = nn.utils.rnn.pack_padded_sequence(given, self.lengths(x), batch_first=not self.late, enforce_sorted=False)
        _, states = self.r(given)
        h = states[0] if isinstance(states, tuple) else states
        return self.f(torch.cat(list(h[-2 if self.r.bidirectional else -1 :]), 1))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_slopes_at_a_sequence_come_to_what_is_made_of_its_last_state(kind: str, both: bool, packed: bool, late: bool) -> None:
    """Of an answer that is linear in h_n the slope is its weights, at the last step of each way, and 0 elsewhere."""
    torch.manual_seed(0)
    net, x = LastStateNet(kind, both=both, packed=packed, late=late).eval(), torch.randn(7, STEPS, 5)
    weights = net.f.weight[1].detach()
    for name in ("r", "r.l1", *(("r.l1.reverse",) if both else ())):
        with Capture(net, [name], grad=True) as look, torch.enable_grad():
            scores = look(x)
            (slope,) = torch.autograd.grad(scores[:, 1].sum(), [look[name]])
        assert torch.allclose(scores, net(x), atol=1e-6)
        wanted = torch.zeros_like(slope)
        if name != "r.l1.reverse":
            wanted[torch.arange(7), net.lengths(x) - 1, :4] = weights[:4]
        if both and name != "r.l1":
            wanted[:, 0, -4:] += weights[4:]
        assert torch.allclose(slope, wanted, atol=1e-6), name


@pytest.mark.parametrize("packed", [False, True])
def test_a_layer_that_is_silenced_says_nothing_by_its_last_state(packed: bool) -> None:
    """Where the last layer is silenced whole, an answer made of h_n is the bias alone, for its module and for its part."""
    torch.manual_seed(0)
    net = LastStateNet("GRU", both=False, packed=packed, late=False).eval()
    for name in ("r", "r.l1"):
        with Capture(net, edits=[{"key": f"layer:{name}", "lesion": True}]) as look:
            assert torch.allclose(look(torch.randn(7, STEPS, 5)), net.f.bias.expand(7, 3)), name


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_recurrent_unit_is_expected_to_cost_is_the_slope_by_its_strength(kind: str, packed: bool) -> None:
    """Finite differences: a cell that says a little less at each of its steps, to itself as well, costs the class what is expected."""
    torch.manual_seed(1)
    net = LastStateNet(kind, both=packed, packed=packed, late=False).double().eval()
    x, y = torch.randn(24, STEPS, 5, dtype=torch.float64), torch.arange(24) % 3
    value = Scene(net, x, y, classes=["a", "b", "c"]).derive("serving", of_class=1).value
    assert {name for name in value["layers"] if name.startswith("r.l1")}

    def loss(key: str, scale: float) -> float:
        with Capture(net, edits=[{"key": key, "scale": scale}]) as look:
            return float(nn.functional.cross_entropy(look(x)[y == 1], y[y == 1]))

    for number, unit, expected in zip(value["layer"], value["unit"], value["expected"], strict=True):
        key = f"unit:{value['layers'][number]}/{unit}"
        # Less of it by a part in a thousand, both ways, as far as silencing it all.
        wanted = (loss(key, 0.999) - loss(key, 1.001)) / 0.002
        assert expected == pytest.approx(wanted, rel=1e-3, abs=1e-5), key
    assert abs(value["expected"]).max() > 1e-3
