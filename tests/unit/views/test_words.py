"""Words coloured by what they speak for, on networks in which the words that count are planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import letters
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Image, Table, Text
from diorama.core.numerals import percent
from diorama.core.picture import Picture
from diorama.data.kinds import Tokens
from diorama.scene import Scene
from diorama.views.answers import visible
from diorama.views.why._word import grouped

WORDS = ("the", "sun", "rain", "day", "of")


class Bag(nn.Module):
    """Scores are sums over the words: sun +3 and day +0.5 for dry, rain +2 for wet; nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 2), nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.embed.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 0.0], [-1.0, 2.0], [0.5, 0.0], [0.0, 0.0]]))
            self.out.weight.copy_(torch.eye(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.embed(x).sum(1))


def _bag() -> Scene:
    x = torch.tensor([[0, 1, 4, 2, 0, 3, 1, 0, 0, 4], [2, 2, 0, 0, 0, 0, 0, 0, 0, 2]])
    kind = diorama.Tokens(vocabulary=WORDS, separator=" ")
    return Scene(Bag(), x, torch.tensor([0, 1]), classes=("dry", "wet"), inputs=kind)


def _marks(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _rows(table: Table) -> dict[str, tuple[float, float]]:
    words, values, times = (table.columns[k] for k in range(3))
    return {word: (float(v), float(n)) for word, v, n in zip(words.texts, values.numbers, times.numbers, strict=True)}


@pytest.mark.parametrize("method", ["auto", "input_x_gradient", "feature_ablation"])
def test_words_have_the_values_that_they_add(method: str) -> None:
    """Each word's colour is what it adds to the score; the lists put occurrences together and are sorted."""
    picture = _bag().view("words", example=0, method=method)
    text = _marks(picture, Text)[0]
    assert text.tokens == ("the", "sun", "of", "rain", "the", "day", "sun", "the", "the", "of")
    speaks, against = _marks(picture, Table)
    if method != "feature_ablation":
        # Leaving a word out puts another in its place, so its values are differences.
        assert text.values == pytest.approx([0, 3, 0, -1, 0, 0.5, 3, 0, 0, 0], abs=1e-5)
        assert _rows(speaks) == {"sun": (pytest.approx(6), 2), "day": (pytest.approx(0.5), 1)}
        assert _rows(against) == {"rain": (pytest.approx(-1), 1)}
    assert speaks.columns[0].texts[0] == "sun"
    assert picture.title == "Which words made “dry”?"


def test_words_behind_which_no_gradient_leads_are_hidden_instead() -> None:
    """A network that looks its words up without a gradient is explained by occlusion, as it says; a gradient that is asked for is refused."""
    scene = _bag()
    embed = scene.model.embed
    embed.register_forward_hook(lambda module, inputs, output: output.detach())
    picture = scene.view("words", example=0)
    assert picture.provenance.knobs["method"] == "auto"
    text = _marks(picture, Text)[0]
    values = np.nan_to_num(text.values)
    assert int(np.argmax(values)) in (1, 6)
    assert values[text.tokens.index("rain")] < 0
    with pytest.raises(NotApplicable, match="differentiable"):
        scene.view("words", example=0, method="input_x_gradient")


def test_words_are_hidden_where_a_text_without_any_has_the_same_score() -> None:
    """Where "dry" has 500 by itself a way from zeros explains little: words are hidden instead, and the way that is asked for is pale."""
    scene = _bag()
    scene.model.register_forward_hook(lambda module, inputs, output: output + torch.tensor([500.0, 0.0]))
    picture = scene.view("words", example=0)
    assert "by Occlusion" in picture.caption
    assert not _marks(picture, Text)[0].doubted
    assert "Integrated gradients would explain next to nothing here: of 506, 500 is there" in picture.note
    asked = scene.view("words", example=0, method="integrated_gradients")
    assert _marks(asked, Text)[0].doubted
    assert "from embeddings of zeros (score 500)" in asked.caption
    assert next(check for check in asked.checks if check.name == "completeness").good is None
    plain = _bag().view("words", example=0)
    assert "by Integrated gradients, from embeddings of zeros (score 0)" in plain.caption
    assert not _marks(plain, Text)[0].doubted
    assert not plain.note


def test_the_likeliest_answers_stand_beside() -> None:
    """The bars are the model's probabilities, likeliest first, with their scores and keys to ask about them."""
    scene = _bag()
    picture = scene.view("words", example=0)
    bars = _marks(picture, Bars)[0]
    scores = scene.model(scene.examples.x[:1])[0].detach()
    assert bars.labels == ("dry", "wet")
    assert bars.values == pytest.approx(scores.softmax(0).numpy())
    assert bars.notes == tuple(f"score {float(score):.3g}" for score in scores)
    assert bars.keys == ("class:0", "class:1")
    other = scene.view("words", example=0, class_=1)
    assert _rows(_marks(other, Table)[0]) == {"rain": (pytest.approx(2), 1)}


def test_hiding_the_words_lowers_the_score_by_what_they_add() -> None:
    """The check is the fall of the score when the strongest tenth of the words are zeros."""
    check = next(check for check in _bag().view("words", example=0).checks if check.name.startswith("hiding"))
    assert check.value == pytest.approx(3)


def test_typed_text_is_coloured() -> None:
    """A text that is not in the probe set is read and coloured."""
    picture = _bag().view("words", input="rain of sun")
    assert _marks(picture, Text)[0].tokens == ("rain", "of", "sun")
    assert "your text" in picture.caption


def test_earlier_letters_made_the_next() -> None:
    """Where a network writes on, only letters before the chosen one have a value, as a slow gradient finds them."""
    scene = letters()
    picture = scene.view("words", example=2, token=12, method="gradient")
    ids = scene.examples.x[2]
    embedded = scene.model.embed(ids[None]).detach().requires_grad_()
    score = scene.model.out(scene.model.rnn(embedded)[0])[0, 11, int(ids[12])]
    slow = torch.autograd.grad(score, embedded)[0][0].sum(-1).numpy()
    text = _marks(picture, Text)[0]
    assert text.values[:20] == pytest.approx(slow, abs=1e-6)
    assert not text.values[12:].any()
    assert text.keys[:3] == ("token:0", "token:1", "token:2")
    assert "place 12" in picture.caption


def test_what_comes_next_is_explained_when_nothing_is_chosen() -> None:
    """Without a chosen token the likeliest next one is explained; a chosen class asks about another token."""
    scene = letters()
    picture = scene.view("words", example=1)
    scores = scene.model(scene.examples.x[1:2])[0, -1]
    best = visible(scene.kind.token(int(scores.argmax())))
    assert f"“{best}”" in picture.title
    assert _marks(picture, Text)[0].tokens[-1].startswith("→")
    asked = scene.view("words", example=1, class_=6)
    assert "“7”" in asked.title


class _EverySecond(nn.Module):
    """Translates a text to each second of its letters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 6)
        with torch.no_grad():
            self.embed.weight.copy_(4 * torch.eye(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)[:, ::2]


def test_of_a_translation_the_place_of_its_answer_is_explained() -> None:
    """What stands at a place of the answer is explained by all of the text, not what stands at that place of the text."""
    x = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [5, 4, 3, 2, 1, 0, 1, 0]])
    scene = Scene(_EverySecond(), x, x[:, ::2], inputs=Tokens(vocabulary=tuple("abcdef")), classes=tuple("abcdef"), task="next_token")
    for place, letter in ((None, "a"), (0, "a"), (1, "c"), (2, "e")):
        picture = scene.view("words", example=0, place=place, select=["token:5"])
        at = 3 if place is None else place
        assert picture.title == f"Which tokens made “{letter}”?"
        assert f"its answer at place {at}" in picture.caption
        text = _marks(picture, Text)[0]
        assert list(text.tokens) == list("abcdefac")
        np.testing.assert_allclose(text.values, [16.0 * 0.25 * (k == 2 * at) for k in range(8)], atol=1e-5)


def test_single_tokens_are_listed_where_they_stand() -> None:
    """The lists of a text that is read letter by letter show each letter with its neighbours, the strongest first."""
    scene = letters()
    tables = _marks(scene.view("words", example=2, token=12, method="input_x_gradient"), Table)
    for table in tables:
        values = np.abs(table.columns[1].numbers)
        assert (np.diff(values) <= 1e-9).all()
        for key, near, token in zip(table.row_keys, table.columns[2].texts, table.columns[0].texts, strict=True):
            place = int(key.removeprefix("token:"))
            assert "[" in near
            assert diorama.Key.parse(key).number < 12
            letter = scene.kind.token(int(scene.examples.x[2, place]))
            assert token in (letter, {" ": "␣", "\n": "↵"}.get(letter))


@pytest.mark.parametrize(
    ("tokens", "kind", "words"),
    [
        (list("a bad7 day!"), Tokens(vocabulary=tuple("abdy7 !")), ["a", " ", "bad7", " ", "day", "!"]),
        (["un", "##lucky", "day", "##s", "."], Tokens(size=9, separator=" "), ["unlucky", "days", "."]),
        (["The", "Ġun", "lucky", ",", "Ġday"], Tokens(size=9), ["The", "unlucky", ",", "day"]),
        (["good", "<pad>", "<pad>", "<pad>"], Tokens(size=9, separator=" "), ["good", "<pad> × 3"]),
        (list("64518"), Tokens(size=10), list("64518")), (list("bad"), Tokens(vocabulary=tuple("abd")), list("bad")),
        (list("bad"), Tokens(vocabulary=tuple("abd ")), ["bad"]),
        (["good", "day"], Tokens(vocabulary=("good", "day"), separator=" "), ["good", "day"]),
    ],
)
def test_tokens_make_words(tokens: list[str], kind: Tokens, words: list[str]) -> None:
    """Characters, word pieces and byte pairs are put together as their vocabulary writes them, values added."""
    values = np.arange(1.0, len(tokens) + 1)
    found = grouped(tokens, values, kind)
    assert [word.text for word in found] == words
    assert sum(word.value for word in found) == values.sum()
    assert [word.value for word in found] == [values[word.first : word.last + 1].sum() for word in found]
    single = [word.text for word in grouped(tokens, values, None)]
    assert single == (tokens if "<pad>" not in tokens else words)


def test_a_model_without_tokens_is_refused() -> None:
    """A table has no words."""
    with pytest.raises(NotApplicable, match="no tokens"):
        Scene(nn.Linear(2, 2), torch.rand(4, 2), torch.tensor([0, 1, 0, 1])).view("words")


class Shown(nn.Module):
    """What is read adds as in Bag; what is seen adds its pixels, the left half for dry and the right one for wet."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = Bag()

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        halves = image.sum(1).unflatten(-1, (2, 2)).sum((1, 3))
        return self.bag(question) + halves


@pytest.mark.parametrize("by", ["name", "place"])
def test_what_else_a_network_takes_is_coloured_beside_the_words(by: str) -> None:
    """Words and pixels have the values that they add, by gradients and, covered one by one, by occlusion; the check hides words alone."""
    generator = torch.Generator().manual_seed(0)
    image, question = torch.rand(2, 3, 4, 4, generator=generator), torch.tensor([[0, 1, 4, 2, 3], [2, 2, 0, 0, 2]])
    names = ("image", "question") if by == "name" else ("0", "1")
    x = dict(zip(names, (image, question), strict=True)) if by == "name" else (image, question)
    kinds = dict(zip(names, (diorama.Image(range=(0, 1)), diorama.Tokens(vocabulary=WORDS, separator=" ")), strict=True))
    scene = Scene(Shown(), x, torch.tensor([0, 1]), classes=("dry", "wet"), inputs=kinds)
    picture = scene.view("words", example=0, class_=0)
    first, second = _marks(picture, Text)
    added = torch.tensor([[0.0, 3, 0, -1, 0.5]])[0].numpy()
    assert first.values == pytest.approx(added, abs=1e-5)
    # Occlusion puts "the", which says nothing, in a word's place.
    assert second.values == pytest.approx(added, abs=1e-5)
    left = image[0].sum(0).numpy() * np.array([1, 1, 0, 0])
    shown = _marks(picture, Image)
    assert shown[0].heat == pytest.approx(left, abs=1e-5)
    covered = np.zeros((4, 4))
    with torch.no_grad():
        whole = scene.model(image[:1], question[:1])[0, 0]
        for row in range(4):
            for column in range(4):
                changed = image[:1].clone()
                changed[:, :, row, column] = 0
                covered[row, column] = float(whole - scene.model(changed, question[:1])[0, 0])
    assert shown[1].heat == pytest.approx(covered, abs=1e-5)
    assert shown[2].heat is None
    check = next(check for check in picture.checks if check.name.startswith("hiding"))
    assert check.value == pytest.approx(3)
    share = float(left.sum() / (left.sum() + np.abs(added).sum()))
    assert f"{percent(share)} is said by image" in picture.caption


class _Masked(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.out((self.embed(input_ids) * attention_mask[..., None]).sum(1))


def test_a_mask_beside_a_text_is_told_of_where_something_is_said_of_it() -> None:
    """Slopes say nothing of a mask's whole numbers: no row of zeros, no share and no second method for it; what hides it shows what it does."""
    x = {"input_ids": _bag().examples.x, "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    kind = diorama.Tokens(vocabulary=WORDS, separator=" ")
    scene = Scene(_Masked(), x, torch.tensor([0, 1]), classes=("dry", "wet"), inputs={"input_ids": kind}, task="classification")
    picture = scene.view("words", method="integrated_gradients")
    assert "attention_mask" not in picture.caption
    assert len(_marks(picture, Text)) == 1
    hidden = scene.view("words", method="occlusion")
    assert "attention_mask" in hidden.caption
    assert [mark.title for mark in _marks(hidden, Text)] == ["", "attention_mask"]


class _Echo(nn.Module):
    """What it answers at a place is the product of the target's own token and the source's first one, so slopes sum to twice as much."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.out = nn.Embedding(5, 1), nn.Embedding(5, 1), nn.Linear(1, 5)
        with torch.no_grad():
            self.source.weight.copy_(torch.tensor([[0.0], [8.0], [6.0], [5.0], [-7.0]]))
            self.target.weight.copy_(torch.tensor([[0.0], [0.5], [0.25], [0.125], [0.2]]))
            self.out.weight.copy_(torch.tensor([[0.0], [1.0], [0.1], [0.2], [0.3]]))
            self.out.bias.zero_()

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.out(self.target(target) * self.source(source)[:, :1])


def test_words_of_all_texts_are_listed_by_the_method_that_is_not_doubted() -> None:
    """Of a network that reads two texts the words of both are listed and on one scale, and a doubted map leaves the lists to the other."""
    dice = torch.Generator().manual_seed(0)
    x = {name: torch.randint(1, 5, (8, count), generator=dice) for name, count in (("source", 6), ("target", 3))}
    x["source"][0, 0] = x["target"][0, 2] = 1
    kinds = {"source": Tokens(vocabulary=tuple("abcde")), "target": Tokens(vocabulary=tuple("ABCDE"))}
    scene = Scene(_Echo(), x, x["target"], inputs=kinds, task="next_token")
    picture = scene.view("words", example=0, method="input_x_gradient", place=2, beside="occlusion")
    lists = [table for table in _marks(picture, Table) if table.title.startswith("Speak most for")]
    assert lists[0].title.endswith("by Occlusion")
    assert {("b", "source"), ("B", "target")} == set(zip(lists[0].columns[0].texts, lists[0].columns[3].texts, strict=True))
    shown = _marks(picture, Text)
    assert [text.doubted for text in shown[::2]] == [True, False]
    assert shown[0].limits.high == shown[1].limits.high == pytest.approx(4)
    assert shown[2].limits.high == shown[3].limits.high
    assert "is doubted here" in picture.caption
    assert "speaks for it" not in picture.caption
    alone = scene.view("words", example=0, method="occlusion", place=2, beside="none")
    assert {column.name for column in _marks(alone, Table)[0].columns} == {"token", "value", "where", "text"}
    assert "100 % of all that is said speaks for it" in alone.caption
