"""A network that sends its examples to other experts from snapshot to snapshot: views look at the moments at which a layer has them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama import NotApplicable, Scene
from diorama.scene.rows import rowed


class _Switching(nn.Module):
    """Each example goes to the one expert that its gate chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        best, out = self.gate(x).argmax(1), x.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            rows = (best == k).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]))
        return out

    def all_to(self, number: int | None) -> None:
        """All examples to one expert, or each by the sign of its first number."""
        with torch.no_grad():
            self.gate.weight.zero_()
            self.gate.bias.zero_()
            if number is None:
                self.gate.weight[0, 0] = 1.0
            else:
                self.gate.bias[number] = 1.0


def _data() -> tuple[Tensor, Tensor]:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(5))
    return x, torch.arange(40) % 3


def test_maps_begin_where_the_layer_has_every_example(tmp_path: Path) -> None:
    """Experts share the examples at first: maps of the one that has all at the end begin behind that, and there it is refused by name."""
    x, y = _data()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = _Switching()
    net.all_to(None)
    optimizer = torch.optim.SGD(net.experts.parameters(), 0.1)
    with diorama.watch(net, tmp_path / "run", probe=(x, y), optimizer=optimizer, snapshots=1) as recorder:
        for _ in range(3):
            net.all_to(1)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = diorama.open(tmp_path / "run", trust=True, model=_Switching())
    scene = run.scene()
    assert [one.name for one in scene.layers.leaves if one.each and one.weight is not None] == ["gate", "experts.1.0", "experts.1.2"]
    for name in ("projection", "units"):
        derived = scene.derive(name)
        assert derived.derivation.layers(scene) == ["experts.1.0"]  # type: ignore[attr-defined]
        assert derived.way[0].scene.step > scene.steps[0]
        assert "experts.1.0" in scene.view(name).caption
        with pytest.raises(NotApplicable, match=r"experts\.1\.0 answers only those .* layers that do: gate"):
            scene.at(scene.steps[0]).derive(name, layer="experts.1.0")
        assert scene.at(scene.steps[0]).derive(name).derivation.layers(scene) == ["gate"]  # type: ignore[attr-defined]


def test_networks_that_choose_other_experts_are_compared_by_what_both_have() -> None:
    """Answers are compared, and each layer's weights put in; only how alike layers place the examples is left out where one has not all of them."""
    x, y = _data()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net, other = _Switching(), _Switching()
    net.all_to(1)
    other.all_to(None)
    scene, beside = Scene(net, x, y), Scene(other, x, y)
    value = scene.derive("differences", other=beside).value
    with torch.no_grad():
        wanted = (net(x).softmax(1) - other(x).softmax(1)).abs().sum(1) / 2
    np.testing.assert_allclose(value["answers"], wanted.numpy(), atol=1e-6)
    assert np.isnan(value["alike"][value["layers"].index("experts.1.0")])
    assert np.isfinite(value["swapped"]).all()
    assert scene.view("differences", other=beside).caption.startswith("The answers differ")
    assert [one.name for one in rowed(beside, beside.layers.leaves) if one.weight is not None and one.each] == ["gate"]
