"""What the columns of a picture stand for is counted: layers with no column are named, with the reason."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diorama import Scene
from diorama.views.samples import standing

PLACES = 9


class _Repeating(nn.Module):
    """Reads by one recurrent layer, and says nine answers, each made of the last by the same two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.says, self.out = nn.GRU(5, 6, batch_first=True), nn.GRUCell(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.reads(x)[1][-1]
        told = []
        for _ in range(PLACES):
            h = self.says(h, h)
            told.append(self.out(h))
        return torch.stack(told, 2)


def _drawn(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 2)
    return net.eval()


def test_a_layer_without_a_column_is_counted_as_none() -> None:
    """Of nine calls of two layers each only some have columns: the layer that is left out is named, and a module's column stands for all in it."""
    x = torch.randn(12, 4, 5, generator=torch.Generator().manual_seed(1))
    scene = Scene(_drawn(_Repeating()), x, torch.arange(12 * PLACES).view(12, PLACES) % 4)
    assert standing(scene, ["says#2", "out#9"]) == "2 columns stand for 2 of the 3 layers with weights; reads.l0 has no column."
    assert standing(scene, ["reads", "says#2", "out#9"]) == "3 columns stand for the 3 layers with weights."
    assert standing(scene, ["reads.l0", "says", "out"]) == ""
    assert "2 columns stand for 2 of the 3 layers with weights; says has no column." in scene.view("springs", most=2).note


def test_an_answer_at_one_place_is_an_answer() -> None:
    """The last call of a loop's layer answers at the last place: springs say so, and not that its units are no answers."""
    x = torch.randn(12, 4, 5, generator=torch.Generator().manual_seed(1))
    scene = Scene(_drawn(_Repeating()), x, torch.arange(12 * PLACES).view(12, PLACES) % 4)
    caption = scene.view("springs").caption
    assert "out#9 is the last layer here, and its units are the answers at one of 9 places" in caption
    assert "not the answers" not in caption


def test_a_picture_of_one_run_of_a_layer_says_which() -> None:
    """A cell that a loop calls at each place is as many layers: what is shown of one of them is not told of all. A layer that runs once is silent."""
    scene = Scene(_drawn(_Repeating()), torch.randn(24, 7, 5, generator=torch.Generator().manual_seed(1)))
    for layer, which in (("says", 1), ("says#3", 3), ("out", 1)):
        assert f"A pass runs {layer[:4].rstrip('#')} 9 times, and this is run {which} alone." in scene.view("matrix", layer=layer).note
    assert "runs" not in scene.view("matrix", layer="reads").note
    for name in ("dictionary", "subgroup", "directions"):
        assert "runs says 9 times, and this is run 4 alone" in scene.view(name, layer="says#4").note, name
