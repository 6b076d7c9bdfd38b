"""What is told of texts that are made for a unit."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Text


class _Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores by the mean of the words; 0 fills up."""
        there = (x != 0).unsqueeze(-1).float()
        scores: Tensor = self.out((self.embed(x) * there).sum(1) / there.sum(1).clamp(min=1))
        return scores


def test_a_text_that_is_made_is_answered_as_it_stands() -> None:
    """Where a network tells padding by the tokens, what is told of a made text is its answer to that text, not to one as long as the example."""
    torch.manual_seed(0)
    model = _Padded()
    x = torch.randint(1, 12, (6, 8))
    x[:, 3:] = 0
    made = diorama.Scene(model, x).derive("preferred", layer="out").value
    with torch.no_grad():
        own = model(torch.tensor(made["inputs"]))
    torch.testing.assert_close(torch.tensor(made["values"]), own.diagonal(), rtol=1e-4, atol=1e-5)


class _Masked(nn.Module):
    """Padding is kept out of attention, so that a text of nothing else has no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 8, padding_idx=0), nn.Linear(8, 3)
        self.mix = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Scores by the mean of the words."""
        left_out = x == 0
        seen = self.mix(self.embed(x), src_key_padding_mask=left_out).masked_fill(left_out[..., None], 0)
        scores: Tensor = self.out(seen.sum(1) / (~left_out).sum(1, keepdim=True))
        return scores


def test_no_text_of_padding_alone_is_made() -> None:
    """A synthesis begins in the middle of all embeddings, where the padding's zeros are; it is words that are tried there."""
    torch.manual_seed(0)
    x = torch.randint(1, 12, (6, 8))
    x[3:, 5:] = 0
    scene = diorama.Scene(_Masked().eval(), x)
    made = scene.derive("preferred", layer="out").value
    assert torch.isfinite(torch.tensor(made["values"])).all()
    assert (torch.tensor(made["inputs"]) != 0).any(1).all()


class _Described(nn.Module):
    """A text, a category and numbers, in any order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.text, self.kind, self.numbers, self.out = nn.Embedding(12, 4), nn.Embedding(5, 3), nn.Linear(2, 3), nn.Linear(10, 3)
        self.order = order

    def forward(self, *given: Tensor) -> Tensor:
        """Scores by all three."""
        text, kind, numbers = (given[k] for k in self.order)
        scores: Tensor = self.out(torch.cat([self.text(text).mean(1), self.kind(kind), self.numbers(numbers)], 1))
        return scores


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_text_is_made_beside_numbers_before_and_behind_it(order: tuple[int, ...]) -> None:
    """What a unit of the text's table asks for forms, wherever the numbers stand."""
    torch.manual_seed(0)
    parts = (torch.randint(12, (20, 6)), torch.randint(5, (20,)), torch.randn(20, 2))
    given = tuple(parts[order.index(k)] for k in range(3))
    scene = diorama.Scene(_Described(order).eval(), given, torch.randint(3, (20,)))
    for layer in ("text", "out"):
        assert torch.isfinite(torch.tensor(scene.derive("preferred", layer=layer).value["values"])).all()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("told", [True, False])
def test_made_texts_are_as_long_as_texts_are(left: bool, told: bool) -> None:
    """Texts of 2 to 6 words in rows of 8 are made 4 words long, with padding where theirs is and no other; with lengths beside them as the first."""
    torch.manual_seed(0)
    words = ("<pad>", *(f"word{k}" for k in range(11)))
    lengths = torch.tensor([6, 2, 4, 5, 3])
    filled = torch.arange(8) >= lengths[:, None]
    x = torch.randint(1, 12, (5, 8)).masked_fill(filled.flip(1) if left else filled, 0)

    class Measured(_Padded):
        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            scores = super().forward(x)
            return scores if lengths is None else scores + lengths[:, None]

    kind = diorama.Tokens(vocabulary=words)
    given = {"x": x} if told else {"x": x, "lengths": lengths}
    scene = diorama.Scene(Measured().eval(), given, torch.arange(5) % 3, inputs={"x": kind}, task="classification")
    made = torch.tensor(scene.derive("preferred", layer="out").value["inputs"])
    inside = torch.arange(8) < (4 if told else 6)
    assert ((made != 0) == (inside.flip(0) if left else inside)).all()
    picture = scene.view("synthesis", unit="out/1")
    texts = [mark for mark in picture.marks() if isinstance(mark, Text)]
    assert texts
    assert not any("pad" in word for mark in texts for word in mark.tokens)
