"""What the beginnings of long texts tell of a network is what whole texts tell."""

import pytest
import torch
from torch import Tensor, nn

from diorama.model import points, short_texts
from diorama.model.layers import layers


class _Folded(nn.Module):
    """Time goes first, and its places share an axis with the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read, self.out = nn.Embedding(9, 8), nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Tensor:
        found = self.read(self.embed(x.t()))
        return self.out(found.flatten(0, 1)).reshape(*found.shape[:2], 9).transpose(0, 1)


class _Windowed(nn.Module):
    """Long texts go in four parts, short ones whole: their beginnings run other ops."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read, self.out = nn.Embedding(9, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Tensor:
        found = self.embed(x)
        rows = found.reshape(len(x) * 4, -1, 8) if x.shape[1] > 100 else found
        return self.out(self.read(rows, rows, rows)[0].reshape(found.shape))


class _Mixing(nn.Module):
    """Each example is told from the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.embed(x)
        return self.out((found - found.mean(0, keepdim=True)).amax(1))


@pytest.mark.parametrize(("kind", "fewer"), [(_Folded, 6), (_Windowed, -1), (_Mixing, 4)])
def test_beginnings_of_long_texts_tell_what_whole_texts_tell(kind: type[nn.Module], fewer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers, notes and points are equal, and so many whole texts fewer are read; one more where the beginnings tell nothing."""
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randint(0, 9, (2, 260))
    sizes: list[int] = []

    def told() -> object:
        table = layers(model, x)
        return list(table), table.notes, points.Points(model, x).records

    model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])) if args[0].shape[1] == 260 else None)
    found, read = told(), sum(sizes)
    monkeypatch.setattr(short_texts, "LONG", 10_000)
    assert found == told()
    assert sum(sizes) - 2 * read == fewer
