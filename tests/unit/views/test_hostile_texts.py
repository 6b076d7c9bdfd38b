"""Texts that people type or load, whatever they hold: each view of a text draws them, or says in a sentence what it wants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import UsageError
from diorama.core.marks import Text
from diorama.core.picture import Picture
from diorama.scene import Scene

VIEWS = ("cells", "gates", "matches")
WORDS = ("a", "b", " ", "\n", "ש", "ל", "𝒜", "👩", "\u202e", "e\u0301", "\ud800", "<pad>")


class _Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(12, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0])


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Texts that are filled up on the left and on the right."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = _Reader(), torch.randint(0, 11, (6, 9))
    x[0, :7], x[1, 2:], x[2] = 11, 11, 11
    return Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=WORDS))


@pytest.mark.parametrize("view", VIEWS)
def test_any_text_is_drawn(view: str, scene: Scene) -> None:
    """One character, right to left, beyond the first plane, half a character, padding on either side or alone: drawn as they are."""
    for text in ("a", "שלab\u202eל", "𝒜👩a", "\ud800ab", "e\u0301b"):
        drawn = scene.view(view, input=text)
        mark = next(mark for mark in Picture.from_bytes(drawn.to_bytes()).marks() if isinstance(mark, Text))
        shown = "".join(mark.tokens).removesuffix("…")
        assert shown.replace("�", "") == text.replace("\ud800", "")
    for example in (0, 1, 2):
        assert Picture.from_bytes(scene.view(view, example=example).to_bytes()).final


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one token"), ("abz", "do not include 'z'"), ("a\0b", "do not include"), ("ab " * 3_400_000, "at most 50,000"),
        (b"ab", "give a text"),
    ],
    ids=["empty", "unknown", "nul", "10 MB", "bytes"],
)
def test_what_cannot_be_read_is_said(view: str, text: object, says: str, scene: Scene) -> None:
    """Nothing, a symbol that is not in the vocabulary, ten megabytes, bytes: a sentence says what is wanted."""
    with pytest.raises(UsageError, match=says):
        scene.view(view, input=text)
