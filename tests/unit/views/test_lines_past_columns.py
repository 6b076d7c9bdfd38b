"""What a decoder asks of an encoder comes past the decoder's own embedding: the picture says so where it draws no line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diorama.core.marks import Network
from diorama.scene import Scene

KNOBS = {"clusters": {"most": 5}, "springs": {}}


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask, self.mlp = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        return own + torch.relu(self.mlp(self.ask(own, other, other, need_weights=False)[0]))


class _Translates(nn.Module):
    """Reads words, then letters; the letters ask the words, or (``deaf``) nothing does."""

    def __init__(self, *, deaf: bool) -> None:
        super().__init__()
        self.words, self.enc = nn.Embedding(9, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.letters, self.dec, self.out, self.deaf = nn.Embedding(5, 8), _Decoder(), nn.Linear(8, 5), deaf

    def forward(self, words: Tensor, letters: Tensor) -> Tensor:
        other, own = self.enc(self.words(words)), self.letters(letters)
        return self.out(self.dec(own, own if self.deaf else other)) + (0 * other.mean() if self.deaf else 0)


@pytest.mark.parametrize("name", ["clusters", "springs"])
def test_what_comes_past_a_column_is_said_where_no_line_tells_it(name: str) -> None:
    """The encoder is no branch of its own for the decoder that asks it, though none of its lines is drawn; no more is said where nothing asks."""
    torch.manual_seed(0)
    x = torch.randint(0, 9, (24, 6)), torch.randint(0, 5, (24, 4))
    y = torch.randint(0, 5, (24, 4))
    picture = Scene(_Translates(deaf=False), x, y).view(name, **KNOBS[name])
    said = "What enc makes comes to dec, past letters"
    assert said in picture.note, picture.note
    (network,) = [mark for mark in picture.marks() if isinstance(mark, Network)]
    if name == "clusters":
        place = {k: vertex.id.partition("/")[0] for k, vertex in enumerate(network.vertices)}
        assert ("1", "3") not in {(place[int(source)], place[int(target)]) for source, target in network.links}
    deaf = Scene(_Translates(deaf=True), x, y).view(name, **KNOBS[name])
    assert "What enc makes comes to dec" not in deaf.note, deaf.note
