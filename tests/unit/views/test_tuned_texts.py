"""A language model that is tuned: a mask beside its texts, a prompt that is not learnt, and a token that ends each text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from attentions import Attention
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama import Scene
from diorama.core.marks import Heatmap, Table, Text
from diorama.core.picture import Picture
from diorama.data.text_places import last_asked
from diorama.scene.input import ending

WORDS = ("<pad>", "</s>", "a", " red", " ball", " what", "?", " big", " small", " blue")


class _Causal(Attention):
    """Attention that looks back, and never at what a mask hides."""

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        q, k, v = self.heads(x)
        look = torch.ones(x.shape[1], x.shape[1]).tril().bool()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=look if seen is None else look & (seen > 0)[:, None, None])
        return self.proj(y.transpose(1, 2).reshape(x.shape))


class _Tuned(nn.Module):
    """Takes its mask first, and gives its answers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn, self.out = nn.Embedding(len(WORDS), 8), _Causal(), nn.Linear(8, len(WORDS))

    def forward(self, attention_mask: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids)
        return {"logits": self.out(x + self.attn(x, attention_mask))}


def _mark(picture: Picture, kind: type[Any]) -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, kind))


def _text(tokens: list[int]) -> str:
    return "".join(WORDS[number] for number in tokens)


@pytest.fixture
def tuned() -> Scene:
    """Two questions with an answer of one word and an end, the second filled up; only the answers are learnt."""
    torch.manual_seed(0)
    ids = torch.tensor([[2, 7, 3, 4, 5, 6, 7, 1], [2, 9, 4, 5, 6, 9, 1, 0]])
    labels = torch.tensor([[-100] * 6 + [7, 1], [-100] * 5 + [9, 1, -100]])
    kind = diorama.Tokens(encode=lambda text: [WORDS.index(text)], decode=_text)
    x = {"attention_mask": (ids != 0).long(), "input_ids": ids}
    return Scene(_Tuned().eval(), x, F.pad(labels[:, 1:], (0, 1), value=-100), inputs={"input_ids": kind}, task="next_token")


def test_heads_look_at_words_and_not_at_the_mask(tuned: Scene) -> None:
    """The places of attention are called by the text, wherever the mask stands among the inputs."""
    picture = tuned.view("attention", layer="attn")
    large = next(mark for mark in picture.marks() if isinstance(mark, Heatmap) and mark.row_title == "asks")
    assert large.row_labels[:4] == ("a", " big", " red", " ball")
    assert large.column_labels == large.row_labels


def test_examples_are_told_by_their_words(tuned: Scene) -> None:
    """A list of examples holds the texts alone, with the spaces that their tokens bring along."""
    table = _mark(tuned.view("examples"), Table)
    told = next(column for column in table.columns if column.name == "example").texts
    assert sorted(told) == ["a big red ball what? big</s>", "a blue ball what? blue</s>"]


def test_a_text_that_says_its_end_is_asked_for_its_last_word(tuned: Scene) -> None:
    """Behind the end nothing was learnt: the place is asked that answers the last word before it, in every view alike."""
    for example, place in ((0, 5), (1, 4)):
        x = tuned.examples.batch([example])
        assert ending(tuned, x) == place
        best = int(tuned.scores(x)[0, place].argmax())
        assert tuned.view("words", example=example).title == f"Which tokens made “{WORDS[best]}”?"
        assert f"Where position {place} is answered, “{WORDS[best]}”" in tuned.view("lens", example=example).caption
        heat = diorama.attribute(tuned.model, x, method="gradient", target=best, inputs=tuned.kinds)
        assert not bool(heat.values["input_ids"][0, place + 1 :].any())


def test_the_lens_shows_what_stands_behind_the_asked_place(tuned: Scene) -> None:
    """The answer and its end have columns; padding has none."""
    heat = _mark(tuned.view("lens", example=1), Heatmap)
    assert heat.values.shape[1] == 7


def test_a_text_of_an_end_alone_is_asked_where_it_stands(tuned: Scene) -> None:
    """A text that has no word before its end to be asked for is asked at its end."""
    ids = torch.tensor([[1, 0, 0], [2, 1, 0], [2, 3, 1]])
    x = {"attention_mask": (ids != 0).long(), "input_ids": ids}
    found = last_asked(tuned.kinds, x)
    assert found is not None
    assert found.tolist() == [0, 1, 0]


def test_it_writes_the_answer_and_stops_at_the_end(tuned: Scene) -> None:
    """It begins with the prompt alone, and a text is over where the end is drawn, as a tokenizer's own names tell it."""
    with torch.no_grad():
        tuned.model.out.bias[1] = 50.0
    picture = Scene(tuned.model, tuned.examples.x, tuned.examples.y, inputs=tuned.kinds, task="next_token").view("writes", length=9)
    assert "1 symbol" in picture.caption
    assert "behind “a big red ball what?”" in picture.caption
    assert picture.note.startswith("It begins with 6 symbols of the example")
    assert "A text ends where “</s>” is drawn" in picture.note
    assert np.shape(_mark(picture, Text).values) == (1,)
