"""Laws of texts: every view that takes a text draws any, or says in a sentence what it wants, and leaves what the model keeps as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.knobs import knobs_of
from diorama.core.marks import Text
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.scene import Scene

WORDS = ("a", "b", " ", "\n", "ש", "ל", "𝒜", "👩", "\u202e", "e\u0301", "\ud800", "<pad>")
STRANGE = "של\u202e𝒜👩e\u0301\ud800b"
"""From right to left and turned round, beyond the first plane, an accent of its own, half a character."""
PADDED = {"on the left": 0, "on the right": 1, "alone": 2}
NOT_TEXTS = (
    ("", "at least one token"), ("abz", "do not include 'z'"), ("a\0b", "do not include"), ("ab " * 3_400_000, "at most 50,000"),
    (b"ab", "give a text"),
)
QUICK = {"method": "gradient", "steps": 5, "starts": 1, "places": 3, "count": 2, "length": 4, "synthesize": False}
WHOLE = ("cells", "gates", "matches")
"""They show the text as it is, token by token."""


class _Cache:
    """Keys and values of what has been read, as a plain object keeps them: ever more of them, and some in their places."""

    def __init__(self) -> None:
        self.pairs: list[list[Tensor]] = [[torch.zeros(16, 16, 4)]]
        self.read = 0


class _Reader(nn.Module):
    """A recurrent layer, and an attention that answers with its keys and values, and keeps them besides."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(12, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 12)
        self.qkv, self.cache, self.last = nn.Linear(4, 12), _Cache(), [{"k": torch.zeros(1)}]

    def forward(self, x: Tensor) -> dict[str, Any]:
        state = self.embed(x)
        state = state + self.rnn(state)[0]
        q, k, v = self.qkv(state).chunk(3, -1)
        self.cache.pairs[0][0][: len(k), : k.shape[1]] = k.detach()
        self.cache.pairs.append([k, v])
        self.cache.read += k.shape[1]
        self.last[0]["k"] = k
        state = state + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return {"logits": self.out(state), "past_key_values": ((k, v),)}


def _look(scene: Scene, name: str, **options: Any) -> Picture | None:
    """What a view draws, as it travels; None where it says in a sentence that it does not fit."""
    try:
        return Picture.from_bytes(scene.view(name, **options).to_bytes())
    except NotApplicable as error:
        sentence = str(error)
    assert len(sentence) > 20
    assert "\n" not in sentence
    return None


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Texts that are filled up on the left, on the right, and all over; the loss of one is taken on nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = _Reader(), torch.randint(0, 11, (6, 9))
    x[0, :7], x[1, 2:], x[2] = 11, 11, 11
    y = x.roll(-1, 1)
    return Scene(model, x, torch.where(y == 11, -100, y), inputs=diorama.Tokens(vocabulary=WORDS), outputs="logits")


@pytest.mark.parametrize("name", [name for name in views if views[name].input])
def test_any_text_is_drawn_or_told(name: str, scene: Scene) -> None:
    """Strange texts and padded ones are drawn, or refused in a sentence; what is no text is told; caches hold what they held."""
    cache = scene.model.cache
    before = (len(cache.pairs), cache.read, float(cache.pairs[0][0].abs().sum()), scene.model.last[0]["k"].shape)
    quick: dict[str, Any] = {knob: value for knob, value in QUICK.items() if knob in knobs_of(views[name])}
    if _look(scene, name, example=PADDED["on the left"], **quick) is None:
        return
    for example in (PADDED["on the right"], PADDED["alone"]):
        _look(scene, name, example=example, **quick)
    for text in ("a", STRANGE):
        drawn = _look(scene, name, input=text, **quick)
        shown = ["".join(mark.tokens).removesuffix("…") for mark in drawn.marks() if isinstance(mark, Text)] if drawn else []
        assert not drawn or name not in WHOLE or text.replace("\ud800", "") in [one.replace("�", "") for one in shown]
    for wrong, says in NOT_TEXTS:
        with pytest.raises(UsageError, match=says):
            scene.view(name, input=wrong, **quick)
    assert before == (len(cache.pairs), cache.read, float(cache.pairs[0][0].abs().sum()), scene.model.last[0]["k"].shape)


def test_a_loss_on_nothing_is_told(scene: Scene) -> None:
    """A batch whose labels are all ignored: what is learnt from says so, and no view stumbles over a mean of nothing."""
    silent = Scene(scene.model, scene.live.x, torch.full((6, 9), -100), inputs=scene.kind, outputs="logits", task="next_token")
    assert "on none of" in silent.view("learns_from").caption
    for name in ("answer", "examples", "confusion", "cells", "lens", "surprises"):
        _look(silent, name)
