"""Attention rollout and attention × gradient against their formulas in plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.core.errors import NotApplicable
from diorama.methods.attribute import attribute


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        yield


class Block(nn.Module):
    """Attention written by hand, so that its weights can be taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        self.weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
        if self.weights.requires_grad:
            self.weights.retain_grad()
        return x + self.out((self.weights @ v).transpose(1, 2).flatten(2))


class Vit(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self, token: bool = True) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(1, 8, 4, 4), nn.Linear(8, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.token = nn.Parameter(torch.randn(1, 1, 8)) if token else None
        self.place = nn.Parameter(torch.randn(1, 5 if token else 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.blocks(x + self.place)
        return self.head(x[:, 0] if self.token is not None else x.mean(1))


def spread(tokens: np.ndarray) -> np.ndarray:
    """Four patches as an 8 × 8 image."""
    return np.kron(tokens.reshape(2, 2), np.ones((4, 4)))


def test_rollout_equals_plain_loops() -> None:
    """The product of the layers' mean weights, half of each going round, read at the class token."""
    net, x = Vit().eval(), torch.randn(3, 1, 8, 8)
    heat = attribute(net, x, 1, method="attention_rollout")
    net(x)
    for n in range(3):
        chain = np.eye(5)
        for block in net.blocks:
            joined = sum(block.weights[n, head].detach().double().numpy() for head in range(2)) / 2
            chain = (0.5 * joined + 0.5 * np.eye(5)) @ chain
        assert np.abs(heat.values[n, 0].numpy() - spread(chain[0, 1:])).max() < 1e-6
    assert torch.equal(heat.values, attribute(net, x, 2, method="attention_rollout").values)


def test_attention_times_gradient_equals_plain_loops() -> None:
    """The positive part of weights times slopes, added up through the layers, depends on the class."""
    net, x = Vit().eval(), torch.randn(2, 1, 8, 8)
    heat = attribute(net, x, 1, method="attention_x_gradient")
    net(x)[:, 1].sum().backward()
    for n in range(2):
        chain = np.eye(5)
        for block in net.blocks:
            product = (block.weights * block.weights.grad)[n].detach().double().numpy()
            chain = chain + np.clip(product, 0, None).mean(0) @ chain
        assert np.abs(heat.values[n, 0].numpy() - spread(chain[0, 1:])).max() < 1e-6
    assert not torch.allclose(heat.values, attribute(net, x, 2, method="attention_x_gradient").values)


@pytest.mark.parametrize("method", ["attention_rollout", "attention_x_gradient"])
def test_where_it_is_read(method: str) -> None:
    """Without a class token all tokens are read, causal attention at its last; kernels are seen like hand-written ones."""
    net, x = Vit(token=False).eval(), torch.randn(2, 1, 8, 8)
    assert "mean over all" in attribute(net, x, 1, method=method).note
    from zoo import ZOO

    for specimen in ZOO:
        if specimen.name in ("attention", "attention_late", "encoder", "custom_attention"):
            model, steps = specimen()
            if specimen.name == "attention_late":
                with pytest.raises(NotApplicable):
                    attribute(model, steps, 1, method=method)
                continue
            heat = attribute(model, steps, 1, method=method)
            assert heat.values.shape == steps.shape
            assert heat.values.any()
            assert ("last token" in heat.note) == (specimen.name == "custom_attention")


@pytest.mark.parametrize("method", ["attention_rollout", "attention_x_gradient"])
def test_models_without_attention_are_refused(method: str) -> None:
    """A model that attends to nothing is refused with the way out."""
    with pytest.raises(NotApplicable, match="lrp"):
        attribute(nn.Linear(4, 3), torch.randn(2, 4), 1, method=method)
