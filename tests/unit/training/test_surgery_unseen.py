"""What a pass over a few examples does not show of a network: weights that it does not run, who gathers gradients, both parts of complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.training.surgery.slopes import TaughtExamples
from diorama.training.surgery.units import add_units, remove_units


def _rows() -> Tensor:
    return torch.randn(6, 5)


class _Sent(nn.Module):
    """Each example is sent to the expert of its sign; a part of the width of these experts and a centre are the loop's alone."""

    def __init__(self, side: int = 6, centre: int = 4) -> None:
        super().__init__()
        self.first, self.experts, self.last = nn.Linear(5, 6), nn.ModuleList(nn.Linear(6, 6) for _ in range(2)), nn.Linear(6, 3)
        self.inner, self.side = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 3)), nn.Linear(side, 2)
        self.register_buffer("centre", torch.zeros(centre))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        sent = torch.zeros_like(h)
        for expert, mine in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if mine.any():
                sent[mine] = sent[mine] + expert(h[mine])
        return self.inner(self.last(h + sent))


@pytest.mark.parametrize(
    ("build", "sent", "layer", "named"),
    [
        (lambda: _Sent(side=4), 1.0, "first", "experts.1 is as wide.*on the 6 examples.*nearest: 'last', 'inner.0'$"),
        (lambda: _Sent(side=4), 1.0, "experts.0", "experts.1 is as wide"),
        (_Sent, 0.0, "first", "side is as wide.*nearest: 'last', 'inner.0'$"),
        (lambda: _Sent(side=7), 0.0, "inner.0", "side is as wide"),
        (lambda: _Sent(side=4, centre=6), 0.0, "first", "centre is as wide"),
        (lambda: _Sent(side=4), 0.0, "first", ""),
        (_Sent, 1.0, "inner.0", ""),
    ],
)
def test_weights_that_no_example_ran_may_hang_on_the_units(build: Callable[[], nn.Module], sent: float, layer: str, named: str) -> None:
    """An expert that no example reached, a part that the loop calls, a buffer of the same width: units neither come nor go, and these are named."""
    model, x = grown_nets.made(build, _rows)
    x[:, 0] = sent if sent else torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    for act in (lambda: add_units(model, x, layer, 1), lambda: remove_units(model, x, layer, [0])):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if not named:
            act()
            continue
        with pytest.raises(diorama.NotApplicable, match=named):
            act()
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_rows_of_gathered_gradients_are_laid_out_once() -> None:
    """Under DistributedDataParallel no units come or go, whichever of the two was told; without it they do."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model, x = grown_nets.made(grown_nets.dense, _rows)
        wrapped: Any = nn.parallel.DistributedDataParallel(model)
        for given in (model, wrapped):
            with pytest.raises(diorama.NotApplicable, match="DistributedDataParallel.*nearest: add_layer"):
                add_units(given, x, "0")
            with pytest.raises(diorama.NotApplicable, match="DistributedDataParallel"):
                remove_units(given, x, "0", [1])
        add_units(grown_nets.made(grown_nets.dense, _rows)[0], x, "0")
        del wrapped, given
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("how", ["preserve", "random", "split"])
def test_new_units_of_complex_layers_part(how: Any) -> None:
    """They are drawn in both parts at the size of what is there, and two of them are two; the steepest start is refused."""
    model, _ = grown_nets.made(lambda: nn.Sequential(*(nn.Linear(*sizes, dtype=torch.complex64) for sizes in ((40, 6), (6, 3)))), _rows)
    x = torch.randn(6, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    with pytest.raises(diorama.NotApplicable, match="0.weight is complex.*nearest: how='preserve'"):
        add_units(model, x, "0", 2, "gradient", taught=TaughtExamples(x, lambda output: output.abs().sum()))  # type: ignore[attr-defined]
    before, want = model[0].weight.abs().square().mean().sqrt(), model(x)
    add_units(model, x, "0", 2, how)
    if how != "random":
        assert (model(x) - want).abs().max() < 1e-5
    weight = model[0].weight[6:]
    assert not torch.equal(weight[0], weight[1])
    if how != "split":
        for part in (weight.real, weight.imag):
            assert 0.5 < 2**0.5 * part.square().mean().sqrt() / before < 1.5
