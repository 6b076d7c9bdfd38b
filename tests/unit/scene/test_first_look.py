"""One pass tells how answers are read, and mostly the layers too, whichever of the two is asked for first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from zoo import ZOO, Specimen

import diorama
from diorama.data import nesting
from diorama.model.layers import layers
from diorama.model.unwrap import unwrap
from diorama.scene.network import LONG

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def _runs(model: nn.Module) -> list[Any]:
    runs: list[Any] = []
    unwrap(model).register_forward_hook(lambda *_: runs.append(None))
    return runs


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_layers_and_reading_are_the_same_in_either_order(specimen: Specimen, count: int) -> None:
    """Asked for first or last, they are what passes of their own tell; two examples go through no oftener than layers alone want."""
    torch.manual_seed(0)
    model, x = specimen()
    model.eval()
    x = nesting.select(x, [k % nesting.size(x) for k in range(count)])
    runs = _runs(model)
    table = layers(model, x)
    alone = len(runs)
    one, other = diorama.Scene(model, x), diorama.Scene(model, x)
    found, before = one.layers, len(runs)
    reading = one.reading
    assert other.reading == reading
    after = len(runs)
    for each in (found, other.layers):
        assert list(each) == list(table)
        assert (each.notes, each.mixing) == (table.notes, table.mixing)
    assert len(runs) - after <= alone
    if count == 2:
        assert before == 2 * alone


@pytest.mark.parametrize("mixes", [False, True])
def test_a_long_text_goes_through_once_for_both(mixes: bool) -> None:
    """Of texts so long that only two are looked at, the pass that shows the layers tells how they are answered: none is added for it."""

    class Texts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(9, 4), nn.Linear(4, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.words(x)
            return self.out(h - h.mean(0) if mixes else h)

    torch.manual_seed(0)
    model, x = Texts(), torch.randint(0, 9, (3, LONG))
    runs = _runs(model)
    table = layers(model, x)
    alone = len(runs)
    scene = diorama.Scene(model, x)
    assert bool(scene.layers.mixing) == bool(table.mixing) == mixes
    assert scene.task == "next_token"
    assert len(runs) == 2 * alone


def test_a_fault_in_the_labels_is_told_when_answers_are_read() -> None:
    """Layers are there all the same: what is wrong with how answers are read belongs to whom reads them."""
    scene = diorama.Scene(nn.Linear(3, 2), torch.randn(2, 3), torch.tensor([0, 1]), outputs="missing")
    assert [layer.kind for layer in scene.layers] == ["Linear"]
    with pytest.raises(diorama.DioramaError, match="missing"):
        scene.reading  # noqa: B018 - it raises
