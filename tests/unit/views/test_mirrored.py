"""Recurrent layers that are given a text from its end, by hand, and padding in loops over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Text
from diorama.scene import Scene
from diorama.scene.layer_text import mirrored

KIND = diorama.Tokens(vocabulary=("<pad>", *"abcdefg"))


class _Backward(nn.Module):
    """Reads from the end: by a loop that runs backward, by turning the text over, or by hand in both directions."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.embed, self.out = how, nn.Embedding(8, 5), nn.Linear(5, 2)
        self.cell: nn.Module = nn.LSTMCell(5, 5) if "loop" in how else nn.GRU(5, 5, batch_first=True)
        self.forth = nn.GRU(5, 5, batch_first=True) if how == "both" else None

    def forward(self, x: Tensor) -> Tensor:
        e = self.embed(x)
        if self.how in ("turned", "both"):
            h = self.cell(e.flip(1))[0]
            return self.out(h[:, -1] if self.forth is None else h[:, -1] + self.forth(e)[0][:, -1])
        state = torch.zeros(len(x), 5), torch.zeros(len(x), 5)
        for place in range(x.shape[1]) if self.how == "loop" else reversed(range(x.shape[1])):
            state = self.cell(e[:, place], state)
        return self.out(state[0])


def _scene(how: str, x: Tensor) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = _Backward(how).eval()
        for part in model.parameters():
            part.data *= 3
    return Scene(model, x, torch.arange(len(x)) % 2, inputs=KIND)


def _texts(count: int = 6) -> Tensor:
    return torch.randint(1, 8, (count, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("how", "layer"), [("loop back", "cell"), ("turned", "cell.l0"), ("both", "cell.l0")])
def test_a_layer_that_reads_from_the_end_is_laid_over_no_text(how: str, layer: str) -> None:
    """Its places are the tokens in the other order: gates name none of them, and what goes token by token refuses it with the reason."""
    scene = _scene(how, _texts())
    assert mirrored(scene, layer)
    picture = scene.view("gates", layer=layer, moment=0)
    assert "place 0 is the last token" in picture.note
    assert "formulas are at" not in picture.caption
    assert not any(isinstance(mark, Text) for mark in picture.marks())
    for name in ("cells", "matches"):
        with pytest.raises(NotApplicable, match="from its end"):
            scene.view(name, layer=layer)
    if how == "both":
        assert not mirrored(scene, "forth.l0")
        assert "forth.l0" in scene.view("cells").caption


def test_a_layer_that_reads_on_is_not_mirrored() -> None:
    """A loop that runs forward, and the backward cells of torch's own layers, stand at the tokens."""
    assert not mirrored(_scene("loop", _texts()), "cell")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(8, 5), nn.GRU(5, 4, batch_first=True, bidirectional=True)).eval()
    scene = Scene(model, _texts(), inputs=KIND, outputs=0)
    assert not any(mirrored(scene, one.name) for one in scene.layers.stepwise)


@pytest.mark.parametrize("how", ["loop", "loop back"])
@pytest.mark.parametrize("left", [False, True])
def test_padding_is_counted_in_no_loop(how: str, left: bool) -> None:
    """The share of places at which a cell's gates are shut or open is that of the tokens, wherever the padding stands."""
    x = _texts(40)
    for row, count in zip(x, torch.arange(40) % 4, strict=True):
        row[:count] = 0
    x = x if left else x.flip(1)
    scene = _scene(how, x)
    found = scene.derive("saturation", layer="cell").value
    model, own = scene.model, (x != 0)
    shut, opened = np.zeros((3, 5)), np.zeros((3, 5))
    state, e = (torch.zeros(40, 5), torch.zeros(40, 5)), model.embed(x)
    with torch.no_grad():
        for place in range(7) if how == "loop" else reversed(range(7)):
            sums = e[:, place] @ model.cell.weight_ih.T + model.cell.bias_ih + state[0] @ model.cell.weight_hh.T + model.cell.bias_hh
            i, f, _, o = sums.chunk(4, 1)
            for row, gate in enumerate((i, f, o)):
                value = gate.sigmoid()[own[:, place]]
                shut[row] += (value < 0.1).sum(0).numpy()
                opened[row] += (value > 0.9).sum(0).numpy()
            state = model.cell(e[:, place], state)
    assert found["steps"] == int(own.sum())
    assert found["left"] == pytest.approx(shut / int(own.sum()), abs=2e-3)
    assert found["right"] == pytest.approx(opened / int(own.sum()), abs=2e-3)
