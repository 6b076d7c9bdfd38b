"""A network that names a class for each token is told as one: not as one that goes on with a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Text
from diorama.scene import Scene
from diorama.scene.layer_text import tags, text_at

WORDS = ("<pad>", "the", "dog", "cat", "sees", "hears", "big", ".")
CLASSES = ("DET", "NOUN", "VERB", ".")
OWN = (0, 0, 1, 1, 2, 2, 1, 3)
"""The class of each word, the padding's being none."""


class _Tagger(nn.Module):
    """Says of each word the class that it has in a table, and hears the words beside it a little."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.out = nn.Embedding(8, 8), nn.GRU(8, 4, batch_first=True, bidirectional=True), nn.Linear(16, 4)
        with torch.no_grad():
            self.embed.weight.copy_(torch.eye(8))
            self.out.weight[:, 8:] *= 0.01
            self.out.weight[:, :8] = 5 * torch.eye(4)[list(OWN)].T

    def forward(self, ids: Tensor) -> Tensor:
        seen = self.embed(ids)
        scores: Tensor = self.out(torch.cat([seen, self.gru(seen)[0]], -1))
        return scores


@pytest.fixture(scope="module")
def tagger() -> Scene:
    """Texts that end before their padding does, with a class for each word."""
    x = torch.tensor([[1, 2, 4, 1, 6, 3, 7, 0, 0], [1, 3, 5, 1, 2, 7, 0, 0, 0]])
    y = torch.tensor(OWN)[x].masked_fill(x == 0, -100)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Tagger().eval()
    return Scene(model, x, y, classes=CLASSES, inputs=diorama.Tokens(vocabulary=WORDS, separator=" "))


def test_the_answer_is_a_class_at_the_last_token(tagger: Scene) -> None:
    """A network that tags tokens is asked at the last one of a text, and its answer is called by its class."""
    picture = tagger.view("answer")
    assert "answer: . at the last token" in picture.caption
    assert "at the text's last token, at place 6" in picture.note


def test_words_explain_the_class_of_a_token_by_the_whole_text(tagger: Scene) -> None:
    """What is explained is the class of a token at its own place, by the words before and behind it."""
    picture = tagger.view("words", select="token:2")
    assert "VERB, its answer at place 2" in picture.caption
    text = next(mark for mark in picture.marks() if isinstance(mark, Text))
    assert text.tokens[-1] == "<pad> × 2", "nothing is expected behind the end"
    # The word itself speaks for its class, and words behind it are heard by the part that reads backward.
    assert int(text.values.argmax()) == 2
    assert abs(text.values[3]) > 0


def test_cells_show_no_next_tokens(tagger: Scene) -> None:
    """No token is said to be likeliest next where answers are classes."""
    picture = tagger.view("cells")
    assert "likeliest" not in picture.caption
    assert not any(mark.alternatives for mark in picture.marks() if isinstance(mark, Text))


@pytest.mark.parametrize("view", ["writes", "learns_from"])
def test_what_writers_alone_have_is_refused(tagger: Scene, view: str) -> None:
    """What only networks that write on have is refused with the reason."""
    with pytest.raises(NotApplicable, match="class"):
        tagger.view(view)


def test_a_recorded_batch_of_classes_is_no_text_that_is_learnt(tagger: Scene, tmp_path: Path) -> None:
    """The labels of a tagger's batch are numbers of classes: class 0 is not taken for padding that is learnt."""
    x, y = tagger.examples.x, tagger.examples.y
    assert isinstance(x, Tensor)
    assert y is not None
    model = _Tagger()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "tags", probe=(x, y), classes=CLASSES, inputs=tagger.kind, optimizer=optimizer, every=1) as recorder:
        for _ in range(13):
            loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    scene = diorama.open(tmp_path / "tags").scene()
    assert scene.run is not None
    assert "texts/tokens" in scene.run.row_names
    with pytest.raises(NotApplicable, match="class"):
        scene.view("learns_from")


class _MaskedTagger(_Tagger):
    """The same, told which words count, as Hugging Face's taggers are."""

    def forward(self, attention_mask: Tensor, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input_ids * attention_mask)


def test_a_mask_beside_the_text_is_no_second_text(tagger: Scene) -> None:
    """A network that takes a mask with its text tags its tokens all the same, and the text is the one that it reads."""
    ids = tagger.examples.x
    assert isinstance(ids, Tensor)
    x = {"attention_mask": (ids != 0).long(), "input_ids": ids}
    known = {"input_ids": diorama.Tokens(vocabulary=WORDS, separator=" ")}
    scene = Scene(_MaskedTagger().eval(), x, tagger.examples.y, classes=CLASSES, inputs=known)
    assert tags(scene)
    assert text_at(scene) == "input_ids"
    assert "at the last token" in scene.view("answer").caption


class _GoesOnElsewhere(nn.Module):
    """Reads a text, and goes on with another one of fewer tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.out = nn.Embedding(8, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 8)

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        source = self.gru(self.embed(input_ids))[1]
        scores: Tensor = self.out(self.gru(self.embed(decoder_input_ids), source)[0])
        return scores


@pytest.mark.parametrize("places", [5, 9])
def test_what_a_translator_reads_is_not_what_it_has_to_answer(tagger: Scene, places: int) -> None:
    """The labels stand at the tokens of the text that it writes: none of the source's is told to be masked, or to come next."""
    ids = tagger.examples.x
    assert isinstance(ids, Tensor)
    torch.manual_seed(1)
    written = torch.randint(1, 8, (2, places))
    kind = diorama.Tokens(vocabulary=WORDS, separator=" ")
    model = _GoesOnElsewhere().eval()
    scene = Scene(model, {"input_ids": ids, "decoder_input_ids": written}, written.roll(-1, 1), inputs={
        "input_ids": kind, "decoder_input_ids": kind}, task="next_token")
    assert text_at(scene) == "decoder_input_ids"
    told = [one for one in scene.derive("learns_from", examples=2).value if one["position"] < places]
    assert [one["token"] for one in told] == written.flatten().tolist()
    best = int(model(ids[:1], written[:1])[0, 4].argmax())
    assert f"{WORDS[best]}, its answer at place 4" in scene.view("words", place=4).caption


def test_names_of_tokens_are_no_tags(tagger: Scene) -> None:
    """Where all names of classes are tokens, the network writes and does not tag."""
    assert tags(tagger)
    x = tagger.examples.x
    assert isinstance(x, Tensor)
    kind = diorama.Tokens(vocabulary=WORDS, separator=" ")
    for names in (WORDS, WORDS[1:5]):
        assert not tags(Scene(tagger.model, x, tagger.examples.y, classes=names, inputs=kind))


def test_fewer_answers_than_tokens_are_tags_without_names_too(tagger: Scene) -> None:
    """Numbers of classes are no tokens: class 0 is not the padding. Labels that are tokens that come next are."""
    x = tagger.examples.x
    assert isinstance(x, Tensor)
    kind = diorama.Tokens(vocabulary=WORDS, separator=" ")
    scene = Scene(tagger.model, x, tagger.examples.y, inputs=kind)
    assert tags(scene)
    assert "class 3 at the last token" in scene.view("answer").caption
    with pytest.raises(NotApplicable, match="one of 4 classes"):
        scene.view("learns_from")
    few = x.clamp_max(3)
    assert not tags(Scene(tagger.model, few, few.roll(-1, 1), inputs=kind))
