"""Padding behind what a translator was to say changes nothing that is said of its answer, whoever tells that it is padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.core.marks import Heatmap
from diorama.data.examples import Examples
from diorama.scene import Scene
from diorama.scene.input import ending

ASKED = ("answer", "attribution", "contributions", "inspector", "lens", "patching", "words")
"""Views that say something of one answer."""
LONG, MORE = 5, 3
"""Places of what is said, and of padding behind it."""


class _Translates(nn.Module):
    """Reads a source, and says what comes next of a target behind each of its tokens, with attention back and into the source.

    ``target``: the target is an input of its own; else all places of an answer are said at once.
    """

    def __init__(self, padding: int | None, target: bool = True, places: int = LONG) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8, padding_idx=padding)
        self.own, self.there = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 9)
        self.places = None if target else nn.Parameter(torch.randn(LONG + MORE, 8))
        self.count = places

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        read = self.embed(source)
        if target is None:
            assert self.places is not None
            h = self.places[: self.count].expand(len(source), -1, -1)
        else:
            later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
            h = self.embed(target)
            h = h + self.own(h, h, h, attn_mask=later)[0]
        h = h + self.there(h, read, read)[0]
        found: Tensor = self.head(h + self.mlp(h))
        return found


def _pair(told: str) -> tuple[Scene, Scene]:
    """The same translations with padding behind and without; what it is tells the embedding, the labels, or the labels of an answer alone."""
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.randint(1, 9, (6, width), generator=generator) for width in (7, LONG))
    labels = torch.cat([target[:, 1:], torch.randint(1, 9, (6, 1), generator=generator)], 1)
    scenes = []
    for more in (MORE, 0):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = _Translates(0 if told == "embedding" else None, told != "answer", LONG + more).eval()
        filled = torch.cat([target, torch.zeros(6, more, dtype=torch.long)], 1)
        y = torch.cat([labels, torch.full((6, more), -100)], 1)
        x: Any = (source, filled) if told != "answer" else source
        scenes.append(Scene(model, x, None if told == "embedding" else y, task="next_token"))
    return scenes[0], scenes[1]


def _said(scene: Scene, name: str) -> tuple[str, str, str]:
    knobs = {"attribution": {"method": "input_x_gradient"}, "patching": {"corrupted": 1}}.get(name, {})
    try:
        found = scene.view(name, select=("example:2",), **knobs)
    except DioramaError as error:
        return type(error).__name__, "", ""
    # What fills up is called by its name where that is known; it may be an answer as well.
    return "", found.title.replace("<pad>", "0"), found.caption.replace("<pad>", "0")


@pytest.mark.parametrize("told", ["embedding", "labels", "answer"])
@pytest.mark.parametrize("name", ASKED)
def test_views_ask_a_translation_where_it_ends(name: str, told: str) -> None:
    """Titles and captions are those of the same translations without padding, and most views fit."""
    filled, plain = (_said(scene, name) for scene in _pair(told))
    assert filled == plain
    assert not filled[0] or name in ("contributions",), filled


@pytest.mark.parametrize("told", ["embedding", "labels"])
def test_methods_explain_what_was_said_last(told: str) -> None:
    """An attribution by itself explains the answer at a translation's last token, and its map is that without padding."""
    filled, plain = _pair(told)
    kinds = filled.kind
    found = [diorama.attribute(one.model, one.live.x, None, method="gradient", task="next_token", inputs=kinds) for one in (filled, plain)]
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)


@pytest.mark.parametrize("told", ["embedding", "labels", "answer"])
def test_each_is_asked_at_its_own_end(told: str) -> None:
    """Translations of unlike length end at unlike places."""
    scene = _pair(told)[0]
    y, x = scene.live.y, scene.live.x
    if y is not None:
        y[3, 2:] = -100
    if told != "answer":
        x[1][3, 3 if told == "embedding" else 2 :] = 0
    assert ending(scene, scene.current(example=3).x) == (2 if told == "embedding" else 1)
    assert ending(scene, scene.current(example=2).x) == LONG - 1


def test_what_fills_texts_up_is_learnt_only_where_it_is_sure() -> None:
    """A number inside of texts is no padding, whatever an embedding says; nor is what labels are silent of in front, nor several numbers."""
    x = torch.tensor([[3, 0, 4, 0, 0], [2, 5, 0, 0, 0]])
    assert Examples.of(x).filled((0,)).kind.padding is None
    assert Examples.of(x[:, 2:]).filled((0,)).kind.padding == 0
    y = torch.tensor([[-100, -100, 4, 1, 2], [-100, 3, 2, 2, 1]])
    assert Examples.of(x, y).kind.padding is None
    behind = torch.tensor([[1, 2, -100, -100, -100]] * 2)
    assert Examples.of(torch.tensor([[3, 4, 1, 7, 7], [4, 4, 2, 7, 7]]), behind).kind.padding == 7
    assert Examples.of(torch.tensor([[3, 4, 1, 7, 8], [4, 4, 2, 7, 7]]), behind).kind.padding is None
    named = diorama.Tokens(vocabulary=("a", "<pad>", "b"))
    assert Examples.of(torch.tensor([[2, 1, 0], [2, 1, 0]]), inputs=named).filled((0,)).kind.padding is None


def test_the_lens_stands_at_the_end_of_a_translation() -> None:
    """Its columns are the places up to the last word."""
    filled, plain = (scene.view("lens", example=2) for scene in _pair("answer"))
    maps = [next(mark for mark in one.marks() if isinstance(mark, Heatmap)) for one in (filled, plain)]
    np.testing.assert_allclose(maps[0].values, maps[1].values, atol=1e-5)
