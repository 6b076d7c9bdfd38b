"""A layer's places are told as tokens of a text only where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Table, Text
from diorama.core.picture import Picture
from diorama.scene import Scene
from diorama.scene.layer_text import misplaced

WORDS = ("<pad>", *"abcdefghi")


class _Convolved(nn.Module):
    """A convolution over the letters of a text, then an LSTM and a class."""

    def __init__(self, width: int, stride: int, padding: int = 0, pooled: int = 0) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(len(WORDS), 6), nn.Conv1d(6, 6, width, stride, padding)
        self.pool = nn.AdaptiveAvgPool1d(pooled) if pooled else nn.Identity()
        self.rnn, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(self.pool(self.conv(self.embed(x).transpose(1, 2))).transpose(1, 2))[1][0][-1])
        return found


class _Late(nn.Module):
    """An LSTM that reads a part of each text: from some token on, up to another."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.part = slice(first, last)
        self.embed, self.rnn, self.out = nn.Embedding(len(WORDS), 6), nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(self.embed(x[:, self.part]))[0][:, -1])
        return found


class _Packed(nn.Module):
    """An LSTM, by itself one that reads both ways, that passes by the padding."""

    def __init__(self, both: bool = True) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(len(WORDS), 6), nn.LSTM(6, 5, batch_first=True, bidirectional=both)
        self.out = nn.Linear(5 * (1 + both), 3)

    def forward(self, x: Tensor) -> Tensor:
        long = (x != 0).sum(1)
        packed = pack_padded_sequence(self.embed(x), long, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        found: Tensor = self.out(states.sum(1))
        return found


class _Cut(nn.Module):
    """Scores for the next word at all places but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, len(WORDS))

    def forward(self, read: Tensor) -> Tensor:
        found: Tensor = self.out(read[:, :-1])
        return found


def _scene(model: nn.Module, *, padded: bool = False) -> Scene:
    x = torch.randint(1, len(WORDS), (6, 12), generator=torch.Generator().manual_seed(0))
    if padded:
        x[torch.arange(12)[None] >= torch.arange(4, 10)[:, None]] = 0
    return Scene(model, x, torch.arange(6) % 3, inputs=diorama.Tokens(vocabulary=WORDS))


def _made(build: type[nn.Module], *arguments: int | bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments).eval()


def _text(picture: Picture) -> Text:
    return next(mark for mark in picture.marks() if isinstance(mark, Text))


@pytest.mark.parametrize(("build", "arguments", "places"), [
    (_Convolved, (4, 2, 1), 6), (_Convolved, (3, 1), 10), (_Convolved, (3, 1, 1, 4), 4), (_Late, (1, 12), 11), (_Late, (3, 12), 9),
])
def test_places_that_are_no_tokens_are_not_called_so(build: type[nn.Module], arguments: tuple[int, ...], places: int) -> None:
    """Behind a convolution that takes steps of two, one without padding, places put together, or where a text is read from a later token on,
    place 3 is not token 3: no view colours the text with it."""
    scene = _scene(_made(build, *arguments))
    says = f"answers at {places} places, and the text has 12 tokens"
    for ask in (
        lambda: scene.view("cells", layer="rnn.l0"), lambda: scene.view("matches", layer="rnn.l0"),
        lambda: scene.derive("properties", layer="rnn.l0").value, lambda: scene.derive("matches", layer="rnn.l0", span="1:3").value,
    ):
        with pytest.raises(NotApplicable, match=says):
            ask()
    gates = scene.view("gates", layer="rnn.l0")
    assert not [mark for mark in gates.marks() if isinstance(mark, Text)]
    tables = [mark for mark in scene.view("card", unit="rnn.l0/2").marks() if isinstance(mark, Table)]
    assert tables
    assert not [one for table in tables for one in table.columns if one.name == "where it responds"]
    if build is _Convolved:
        embedded = _text(scene.view("cells", layer="embed", cell="embed/1"))
        np.testing.assert_allclose(embedded.values, scene.activations("embed")["embed"][0, 1], atol=1e-6)


class _Answering(nn.Module):
    """States of an answer of its own length, whatever is read, and what they take from the text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(len(WORDS), 6), nn.Parameter(torch.randn(5, 6))
        self.rnn, self.look, self.out = nn.GRU(6, 6, batch_first=True), nn.MultiheadAttention(6, 1, batch_first=True), nn.Linear(6, len(WORDS))

    def forward(self, x: Tensor) -> Tensor:
        read, states = self.embed(x), self.rnn(self.places.expand(len(x), -1, -1))[0]
        found: Tensor = self.out(states + self.look(states, read, read, x == 0, need_weights=False)[0])
        return found


@pytest.mark.parametrize("layer", ["rnn.l0", "out"])
def test_places_of_an_answer_are_no_tokens_of_the_text(layer: str) -> None:
    """The states of a translator stand at the places of its answer, also where one of the texts is as short as that."""
    scene = _scene(_made(_Answering), padded=True)
    scene = Scene(scene.model, scene.examples.x, scene.examples.x[:, :5], inputs=diorama.Tokens(vocabulary=WORDS), task="next_token")
    with pytest.raises(NotApplicable, match="answers at 5 places, and the text has 12 tokens"):
        scene.view("cells", layer=layer)
    embedded = scene.view("cells")
    assert embedded.title.endswith("of embed")
    assert "Below each" not in embedded.caption
    assert "in embed" in scene.view("matches").caption


def test_what_a_translation_is_taught_stands_at_no_token_that_is_read() -> None:
    """The loss of a translation lies on tokens of its own; that of a text without its last token on those that follow."""
    x = torch.randint(1, len(WORDS), (6, 12), generator=torch.Generator().manual_seed(0))
    answers = Scene(_made(_Answering), x, x[:, :5], inputs=diorama.Tokens(vocabulary=WORDS), task="next_token")
    with pytest.raises(NotApplicable, match="answers at 5 places, and the text has 12 tokens"):
        answers.view("learns_from")
    model = _made(_Late, 0, 11)
    words = nn.Sequential(model.embed, _Cut())
    scene = Scene(words, x, x[:, 1:], inputs=diorama.Tokens(vocabulary=WORDS), task="next_token", classes=WORDS)
    records = scene.derive("learns_from", examples=1).value
    assert [one["learnt"] for one in records] == [False] + [True] * 11
    assert [one["label"] for one in records][1:] == x[0, 1:].tolist()


@pytest.mark.parametrize("both", [False, True])
def test_a_packed_text_is_read_to_its_end(both: bool) -> None:
    """Where padding is passed by, place k is token k: the text stands over the gates too, and the formulas name their token."""
    scene = _scene(_made(_Packed, both), padded=True)
    assert not misplaced(scene, "rnn.l0")
    shown = scene.examples.shown([3])[0][:7]
    own = scene.activations("rnn.l0")["rnn.l0"][3, 1, :7]
    cells = scene.view("cells", layer="rnn.l0", cell="rnn.l0/1", state="output", example=3)
    assert list(_text(cells).tokens) == shown
    np.testing.assert_allclose(_text(cells).values, own, atol=1e-6)
    gates = scene.view("gates", layer="rnn.l0", cell=1, example=3, saturation=False)
    assert list(_text(gates).tokens) == shown
    assert f"the formulas are at “{shown[-1]}”, place 6" in gates.caption


def test_a_text_that_is_read_but_for_its_end_stands_at_its_places() -> None:
    """A network that leaves out the last token answers at the first ones, in turn."""
    scene = _scene(_made(_Late, 0, 11))
    cells = scene.view("cells", layer="rnn.l0", cell="rnn.l0/1", state="output")
    assert list(_text(cells).tokens) == scene.examples.shown([0])[0][:11]
