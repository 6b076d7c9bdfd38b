"""Units of a weight that both makes and reads them: they begin so that they can learn, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import add_units, told


class _Autoencoder(nn.Module):
    """Reads its units back by the very weights that make them."""

    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.bend = nn.Linear(5, 3), bend

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.bend(self.encoder(x)), self.encoder.weight.t())


@pytest.mark.parametrize("bend", [torch.relu, torch.tanh])
def test_units_of_a_weight_that_makes_and_reads_them_learn_and_part(bend: Any) -> None:
    """They change no answer by more than 1e-5, begin unlike one another and not at zero, and the next steps teach them."""
    model, x = grown_nets.made(lambda: _Autoencoder(bend), lambda: torch.randn(32, 5))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    want = [answers(model, x, mode)[0] for mode in ("eval", "train")]
    done = add_units(model, x, "encoder", 2, optimizers=[optimizer])
    for mode, one in zip(("eval", "train"), want, strict=True):
        assert (answers(model, x, mode)[0] - one).abs().max() < 1e-5 * one.abs().max()
    assert "encoder.weight both makes and reads them" in told(done, "added")
    begun = model.encoder.weight[3:].detach().clone()
    assert all(row.norm() > 0 for row in begun)
    for _ in range(20):
        optimizer.zero_grad()
        (model(x) - x).square().mean().backward()
        optimizer.step()
    one, other = model.encoder.weight[3:].detach()
    assert min(one.norm(), other.norm(), 10 * (one - other).norm()) > 100 * begun.norm()


def test_units_of_a_tied_weight_that_cannot_begin_unseen_are_refused() -> None:
    """Where a unit answers half of what it can at zero, none that a tied weight reads back changes no answer."""
    model, x = grown_nets.made(lambda: _Autoencoder(torch.sigmoid), lambda: torch.randn(32, 5))
    before, optimizers = model.encoder.weight.clone(), [torch.optim.SGD(model.parameters(), 0.1)]
    with pytest.raises(diorama.NotApplicable, match="encoder.weight is tied.*nearest: how='random'"):
        add_units(model, x, "encoder", 2, optimizers=optimizers)
    assert torch.equal(before, model.encoder.weight)
    add_units(model, x, "encoder", 2, "random", optimizers=optimizers)
