"""The transformers of the demos gpt and vit: they see what they should, and take data of other sizes."""

from __future__ import annotations

import torch

from diorama.data.examples import Examples
from diorama.data.kinds import Image
from diorama.gallery.gpt import GptDemo
from diorama.gallery.vit import VitDemo


def test_the_gpt_sees_nothing_ahead() -> None:
    """What comes later changes no earlier answer, what came before does; longer texts are read; heads divide the width."""
    model = GptDemo(width=10, heads=4, layers=2).build(GptDemo().examples().first(8))
    x = torch.randint(0, 20, (2, 120), generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, 60] = (other[:, 60] + 1) % 20
    with torch.no_grad():
        one, two = model(x), model(other)
    assert torch.equal(one[:, :60], two[:, :60])
    assert not torch.allclose(one[:, 60:], two[:, 60:])
    assert [block.attn.heads for block in model.block] == [2, 2]


def test_the_vit_reads_pictures_of_any_size() -> None:
    """Patches divide the picture; each patch counts for the answer."""
    images = Examples.of(torch.rand(20, 3, 9, 6), torch.arange(20) % 2, inputs=Image())
    demo = VitDemo(width=8, layers=1, patch=5)
    model = demo.build(demo.prepare(images))
    x = torch.rand(1, 3, 9, 6, requires_grad=True)
    scores = model(x)
    assert scores.shape == (1, 2)
    assert model.place.shape == (1, 1 + 3 * 2, 8)
    scores[0, 0].backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum(1).unfold(1, 3, 3).unfold(2, 3, 3).sum((-1, -2)) > 0).all())
