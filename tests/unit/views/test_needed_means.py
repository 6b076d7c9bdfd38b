"""What `needed` holds and what it counts is what it says: means over the examples that are looked at, and one of several outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diorama import Scene


class _Heads(nn.Module):
    """A class and a number beside it, each made by a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.digit, self.ink = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x).tanh()
        return {"digit": self.digit(h), "ink": self.ink(h)}


def _net() -> _Heads:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return _Heads().eval()


def test_a_layer_is_held_at_its_mean_over_what_is_looked_at() -> None:
    """Of 40 examples the first 10 are looked at, and the mean is theirs; beside a mean of all it is another rise."""
    net = _net()
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    x[10:] += 3
    y = torch.arange(40) % 3
    value = Scene(net, x, y, outputs="digit").derive("needed", examples=10).value
    with torch.no_grad():
        base = nn.functional.cross_entropy(net(x[:10])["digit"], y[:10])
        mean = net.trunk(x[:10]).mean(0).tanh()
        held = nn.functional.cross_entropy(net.digit(mean).expand(10, 3), y[:10])
    assert value["held"][value["layers"].index("trunk")] == pytest.approx(float(held - base), abs=1e-5)


def test_the_output_that_counts_is_named() -> None:
    """The layer of the other output changes nothing here, and the note says why."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    for told in ({"outputs": "digit"}, {}):
        note = Scene(_net(), x, torch.arange(40) % 3, **told).view("needed").note  # type: ignore[arg-type]
        assert "output 'digit'" in note
        assert "alone" in note or "no other output counts" in note
