"""Attention over 4,096 tokens, put together into stretches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Heatmap, Tiles
from diorama.scene import Scene

LENGTH = 4096


class _Reads(nn.Module):
    """One layer with two heads, over tokens that know their places."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 8), nn.Embedding(LENGTH, 8)
        self.attn, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place(torch.arange(x.shape[1]))
        return self.out(self.attn(h, h, h)[0])


def test_4096_tokens_are_put_together() -> None:
    """No map has more than 192 a side, a row of the large one sums to one and is the mean of its tokens' own, and the sentence tells both lengths."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = _Reads().eval(), torch.randint(0, 12, (1, LENGTH))
    scene = Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=tuple("abcdefghijkl")))
    picture = scene.view("attention", layer="attn", head=1)
    heat = next(mark for mark in picture.marks() if isinstance(mark, Heatmap))
    small = next(mark for mark in picture.marks() if isinstance(mark, Tiles))
    assert heat.values.shape == (171, 171)
    assert (heat.row_labels[0], heat.row_labels[-1]) == ("0–23", "4080–4095")
    assert max(small.images.shape[1:3]) <= 192
    np.testing.assert_allclose(heat.values.sum(1), 1, atol=1e-4)
    with torch.no_grad():
        h = model.embed(x) + model.place(torch.arange(LENGTH))
        own = model.attn(h, h, h, average_attn_weights=False)[1][0, 1]
    np.testing.assert_allclose(heat.values[3, 2], own[72:96, 48:72].sum(1).mean(), rtol=1e-3)
    assert "4096 positions are put together into 1024 stretches" in picture.note
    assert "in 171 stretches" in picture.note
