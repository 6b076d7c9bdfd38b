"""A sentence as a tree: read from brackets or parsed, each phrase answered as a text of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError, NotApplicable, UsageError
from diorama.core.marks import Blocks
from diorama.core.picture import Picture
from diorama.data.trees import parsed, read
from diorama.gallery.sentiment import CLASSES, SentimentDemo, judged
from diorama.scene import Scene
from diorama.scene.input import lengths as lengths_of
from diorama.scene.made_text import _grown

WORDS = ("<pad>", "<unk>", "not", "good", "bad", "film", ".")
BANK = "(3 (2 It) (4 (4 (2 's) (4 lovely)) (2 .)))\n(1 (2 A) (0 bore))\n" * 4


class _Adds(nn.Module):
    """Scores that are sums over words, and the number of words for a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.says = nn.Embedding(7, 3, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.says(x).sum(1)


def _scene() -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = _Adds()
    x = torch.tensor([[5, 2, 3, 6, 0, 0], [2, 4, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]])
    return Scene(model, x, torch.tensor([2, 1, 2]), classes=("bad", "neutral", "good"), inputs=diorama.Tokens(WORDS, separator=" "))


def _blocks(picture: Picture) -> Blocks:
    return next(mark for mark in picture.marks() if isinstance(mark, Blocks))


def test_brackets_are_read_and_written() -> None:
    """A tree bank's line comes back as it was; a lone bracket, an open one and nothing inside are told in a sentence."""
    for line in BANK.splitlines()[:2]:
        assert read(line).brackets() == line
    assert read("((not good) .)").words() == ("not", "good", ".")
    for wrong, said in (("(a b", "left open"), ("a ) b", "not opened"), ("(a ())", "no word"), (" ", "empty"), ("(" * 300, "within each other")):
        with pytest.raises(UsageError, match=said):
            read(wrong)


def test_a_sentence_is_parsed_by_a_plain_rule() -> None:
    """The final mark stands apart, a joining word begins the second half, all else branches to the right; no word is lost."""
    assert parsed(["not", "bad"]).brackets() == "(not bad)"
    assert parsed(["a", "b", "c", "but", "d", "e", "."]).brackets() == "(((a (b c)) (but (d e))) .)"
    for words in ("a", "and", "but .", "a and", ", , b", "a , b , c . d", "x and y and z ."):
        assert " ".join(parsed(words.split()).words()) == words


def test_every_phrase_is_a_text_of_its_own() -> None:
    """Each block holds what the network answers to its words alone, filled up as the examples are, in the order of the words."""
    scene = _scene()
    picture = scene.view("tree", brackets="((not good) (film .))")
    body = _blocks(picture)
    assert [block.kind for block in body.blocks] == ["not good film .", "not good", "not", "good", "film .", "film", "."]
    model = scene.model
    for block in body.blocks:
        row = torch.tensor([[WORDS.index(word) for word in block.kind.split()]])
        with torch.no_grad():
            chance = model(row)[0].softmax(0)
        assert block.value == pytest.approx(float(chance[2] - chance[0]), abs=1e-6)
        assert (block.label if " " in block.kind else block.detail).startswith(("bad", "neutral", "good")[int(chance.argmax())])
    assert body.places is not None
    leaves = [place for block, place in zip(body.blocks, body.places, strict=True) if " " not in block.kind]
    assert all(one[0] + one[2] <= other[0] for one, other in zip(leaves, leaves[1:], strict=False))
    by_class = _blocks(scene.view("tree", brackets="not good", colour="class", class_=1))
    assert by_class.limits is not None
    assert by_class.limits.low == 0
    with pytest.raises(UsageError, match="classes 0 to 2"):
        scene.view("tree", colour="class", class_=9)


def test_the_chosen_example_and_a_typed_text_are_drawn() -> None:
    """An example's words are taken without what fills it up, with the keys of its tokens; a typed text is drawn as well."""
    scene = _scene()
    blocks = {block.kind: block for block in _blocks(scene.view("tree", example=0)).blocks}
    assert blocks["not"].key == "token:1"
    assert "not good" in blocks
    assert "bad film" in {block.kind for block in _blocks(scene.view("tree", input="not bad film")).blocks}
    with pytest.raises(UsageError, match="at most 3 words"):
        scene.view("tree", brackets="a b c d", limit=3)


def test_a_word_that_the_network_does_not_know_is_named() -> None:
    """Typed brackets show the words as they were typed: which of them the network reads as unknown stands beside them."""
    scene = _scene()
    assert scene.view("tree", brackets="the zebra is good").note == "The vocabulary lacks “the”, “zebra” and “is”: the network reads <unk> there."
    assert not scene.view("tree", brackets="not good .").note


class _Masked(_Adds):
    """The same, which takes a mask beside the words, as language models do."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (self.says(input_ids) * attention_mask[..., None]).sum(1)


def test_unknown_words_of_a_typed_text_are_counted() -> None:
    """A text of one's own says of how many words the answer knows nothing; brackets in it are such words, and the field for them is named."""
    scene = _scene()
    picture = scene.view("tree", input="( not zebra )")
    assert picture.note == "The vocabulary lacks 3 words of it: the network reads <unk> there."
    assert "brackets above" in picture.hint
    assert scene.view("tree", input="not zebra").note == "The vocabulary lacks a word of it: the network reads <unk> there."
    assert not scene.view("tree", input="not good").note


def test_a_text_beside_a_mask_is_read_as_one_alone() -> None:
    """A typed text or phrase goes to the input that is read, without its name, and a mask of another length sees all of it."""
    alone = _scene()
    model = _Masked()
    model.load_state_dict(alone.model.state_dict())
    x = {"input_ids": alone.examples.x, "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])}
    scene = Scene(model, x, alone.examples.y, classes=alone.classes, inputs={"input_ids": diorama.Tokens(WORDS, separator=" ")})
    for told in ({"brackets": "((not good) (film .))"}, {"input": "not bad film"}, {"example": 0}):
        found, wanted = _blocks(scene.view("tree", **told)), _blocks(alone.view("tree", **told))
        assert [block.kind for block in found.blocks] == [block.kind for block in wanted.blocks]
        assert [block.value for block in found.blocks] == pytest.approx([block.value for block in wanted.blocks], abs=1e-6)


class _Counted(_Adds):
    """The same, told how many words each text has: it packs them, as recurrent networks do."""

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.says(x), words.cpu(), batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)[0].sum(1)


def test_a_text_beside_its_length_is_read_as_one_alone() -> None:
    """A phrase, a typed text and one that a network goes on with have a length of their own, and what fills an example up is no word of it."""
    alone = _scene()
    model = _Counted()
    model.load_state_dict(alone.model.state_dict())
    lengths = torch.tensor([4, 2, 1])
    for kind in (diorama.Tokens(WORDS, separator=" "), diorama.Tokens(("",) + WORDS[1:], separator=" ")):
        scene = Scene(model, (alone.examples.x, lengths), alone.examples.y, classes=alone.classes, inputs={"0": kind})
        for told in ({"brackets": "((not good) (film .))"}, {"input": {"0": "not bad film"}}, {"example": 0}):
            wanted = _blocks(alone.view("tree", **(told if "input" not in told else {"input": "not bad film"})))
            found = _blocks(scene.view("tree", **told))
            assert [block.kind for block in found.blocks] == [block.kind for block in wanted.blocks]
            assert [block.value for block in found.blocks] == pytest.approx([block.value for block in wanted.blocks], abs=1e-6)
    like = _grown(scene.examples.batch([0]), "x", (5, 2, 3), lengths_of(scene.examples, "x"), frozenset())
    assert [part.tolist() for part in like] == [[[5, 2, 3]], [3]]
    other = Scene(_Masked(), (alone.examples.x, torch.tensor([4, 3, 1])), inputs={"0": kind})
    assert lengths_of(other.examples, "x") == frozenset()  # behind the third word of the second text stands another than what fills up


def test_scores_that_are_no_numbers_are_drawn_as_such() -> None:
    """With NaN in its weights a phrase's value is NaN, and the tree is drawn all the same."""
    scene = _scene()
    with torch.no_grad():
        scene.model.says.weight[3] = float("nan")
    body = _blocks(scene.view("tree", brackets="not (good film)"))
    assert [block.value != block.value for block in body.blocks] == [True, False, True, True, False]
    assert body.limits is not None
    assert body.limits.nan == 3


def test_labels_are_compared() -> None:
    """Where brackets hold labels, the share of phrases that the network answers so is told."""
    scene = _scene()
    best = [str(int(scene.scores(torch.tensor([[WORDS.index(word)]])).argmax())) for word in ("good", "bad")]
    check = scene.view("tree", brackets=f"({best[0]} ({best[0]} good) ({(int(best[1]) + 1) % 3} bad))").checks[0]
    whole = str(int(scene.scores(torch.tensor([[3, 4]])).argmax()))
    assert check.value == pytest.approx((1 + (whole == best[0])) / 3)


def test_who_tells_no_classes_is_refused() -> None:
    """A network that writes on has no class for a phrase."""
    x = torch.randint(0, 7, (6, 5))
    scene = Scene(nn.Embedding(7, 7), x, x.roll(-1, 1), inputs=diorama.Tokens(WORDS, separator=" "))
    with pytest.raises(NotApplicable, match="not a classifier"):
        scene.view("tree")


def test_the_grammar_turns_what_stands_behind_not() -> None:
    """The labels of the demo's phrases are those that its grammar means."""
    for text, label in (
        ("not bad", 3), ("not good", 1), ("very good", 4), ("not very bad", 3), ("the film is long .", 2),
        ("the film is great but the plot was dull .", 1), ("the film is great and the plot was nice .", 4), ("but the plot was dull", 1),
    ):
        assert judged(parsed(text.split())).label == str(label), text


def test_the_demo_learns_what_not_does(tmp_path: Path) -> None:
    """After 160 steps unseen phrases are judged, and not turns a word that it was seen with; a file of labelled trees is learnt from."""
    demo = SentimentDemo()
    examples = demo.prepare()
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(160):
        pass
    held_out = examples.held_out
    assert held_out is not None
    scene = Scene(model, held_out.x, held_out.y, classes=CLASSES, inputs=examples.kind)
    assert float((scene.predictions() == held_out.y).float().mean()) > 0.8
    values = {block.kind: block.value or 0.0 for block in _blocks(scene.view("tree", brackets="the plot was not dull .")).blocks}
    assert values["dull"] < -0.2 < 0.2 < values["not dull"]
    (tmp_path / "bank.txt").write_text(BANK)
    bank = demo.prepare(tmp_path / "bank.txt")
    assert len(bank) + len(bank.held_out) == 10  # type: ignore[arg-type]
    (tmp_path / "other.txt").write_text("(7 (2 a) (3 b))\n")
    with pytest.raises(DioramaError, match="from 0"):
        demo.prepare(tmp_path / "other.txt")
    assert bool(demo.build(bank)(bank.x).isfinite().all())
