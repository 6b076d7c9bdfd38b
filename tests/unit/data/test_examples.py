"""Examples hold inputs, labels, names and the kind together."""

from __future__ import annotations

import dataclasses
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import Damaged, Unavailable, UsageError
from diorama.data import nesting
from diorama.data.examples import Examples
from diorama.data.kinds import Image, Table, Tokens


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(6, 3), np.zeros((6, 3)), (torch.randn(6, 3), torch.randn(6, 2)),
        {"a": torch.randn(6, 3), "b": np.ones(6)},
        {"a": (torch.randn(6, 3), torch.randn(6, 1))}, [[1.0, 2.0]] * 6,
    ],
)
def test_any_structure_of_inputs(x: object, tmp_path: Path) -> None:
    """A tensor, array, tuple or dict is taken, selected from, batched, stored and read alike."""
    examples = Examples.of(x, [0, 1, 2, 0, 1, 2])
    assert len(examples) == 6
    assert examples.classes == ("0", "1", "2")
    part = examples.take([4, 1])
    assert part.y is not None
    assert part.y.tolist() == [1, 1]
    assert nesting.size(examples.batch([3, 2, 1])) == 3
    assert nesting.size(examples.batch(5)) == 1
    examples.save(tmp_path / "probe.safetensors")
    back = Examples.load(tmp_path / "probe.safetensors")
    assert type(back.x) is type(examples.x)
    for mine, stored in zip(nesting.tensors(examples.x), nesting.tensors(back.x), strict=True):
        assert torch.equal(mine, stored)
    assert (back.classes, back.guessed) == (examples.classes, examples.guessed)


class Encoding(UserDict):  # type: ignore[type-arg]
    """What a tokenizer gives: a mapping that is no dict."""


@pytest.mark.parametrize("form", [dict, Encoding])
def test_labels_beside_inputs_are_the_truth(form: type) -> None:
    """Of a dict as models of transformers take it; one kind that is told is that of the one input. Elsewhere labels may be an input."""
    tokens, mask = torch.tensor([[0, 2, 1], [1, 1, 0]]), torch.ones(2, 3, dtype=torch.int64)
    told = Tokens(vocabulary=("a", "b", "c"))
    examples = Examples.of(form(input_ids=tokens, attention_mask=mask, labels=tokens), inputs=told)
    assert examples.y is not None
    assert examples.y.equal(tokens)
    assert isinstance(examples.kind, dict)
    assert [getattr(examples.kind[name], "vocabulary", None) for name in ("input_ids", "labels", "attention_mask")] == [*[("a", "b", "c")] * 2, None]
    assert "guessed: the labels beside the inputs are the truth." in examples.guessed
    masked = Examples.of(form(input_ids=tokens, labels=torch.tensor([[-100, 2, 1], [1, 1, 0]])), inputs=told)
    assert masked.y is not None
    assert int(masked.y.min()) == -100
    classes = Examples.of(form(pixel_values=torch.rand(2, 3, 8, 8), labels=torch.tensor([1, 0])), classes=("cat", "dog"), inputs=Image())
    assert classes.y is not None
    assert classes.y.tolist() == [1, 0]
    assert Examples.of(form(z=torch.rand(2, 3), labels=torch.tensor([1, 0]))).y is None
    with pytest.raises(UsageError, match="one a name \\('a', 'b'\\)"):
        Examples.of(form(a=tokens, b=tokens), inputs=told)


def test_lengths_are_checked() -> None:
    """Inputs and labels of different lengths, and labels in words, are refused with what came."""
    with pytest.raises(UsageError, match="6 and 5"):
        Examples.of(torch.randn(6, 3), torch.zeros(5))
    pairs = torch.utils.data.TensorDataset(torch.randn(4, 2), torch.arange(4))
    for wrong, said in ((torch.utils.data.DataLoader(pairs, 2), "iter"), (pairs, "default_collate"), (list(pairs), "default_collate")):
        with pytest.raises(UsageError, match=said):
            Examples.of(wrong)
    with pytest.raises(UsageError, match="same number"):
        Examples.of((torch.randn(6, 3), torch.randn(5, 3)))
    with pytest.raises(UsageError, match="classes="):
        Examples.of(torch.randn(2, 3), ["cat", "dog"])
    with pytest.raises(UsageError, match="class 2"):
        Examples.of(torch.randn(3, 3), [0, 1, 2], ["a", "b"])
    with pytest.raises(UsageError):
        Examples.of({})
    with pytest.raises(UsageError):
        Examples.of([object()])


def test_told_kinds_are_kept_and_filled_in() -> None:
    """What is told about the inputs stays; what is left open is learned; nothing is then guessed."""
    examples = Examples.of(torch.rand(9, 3, 8, 10), inputs=Image(mean=0.5, std=0.2))
    assert isinstance(examples.kind, Image)
    assert (examples.kind.height, examples.kind.width, examples.kind.channels, examples.kind.mean) == (8, 10, 3, 0.5)
    assert examples.guessed == ()


def test_what_is_told_beside_examples_is_not_dropped() -> None:
    """Names, a kind and what else is known go before what was guessed or told earlier; what is not told stays; a name too few is refused."""
    examples = dataclasses.replace(Examples.of(torch.rand(6, 64), torch.arange(6) % 3, metadata={"age": list(range(6))}), numbers=torch.arange(6))
    named = examples.told(["cat", "dog", "cow"], metadata={"from": list("abcabc")})
    assert named.classes == ("cat", "dog", "cow")
    assert not any("named by their numbers" in each for each in named.guessed)
    assert {*named.metadata} == {"age", "from"}
    shaped = named.told(inputs=Image(height=8, width=8))
    assert isinstance(shaped.kind, Image)
    assert (shaped.classes, shaped.numbers) == (named.classes, examples.numbers)
    assert examples.told() is examples
    assert diorama.Scene(nn.Linear(64, 3), examples, classes=["cat", "dog", "cow"]).classes == ("cat", "dog", "cow")
    with pytest.raises(UsageError, match="y holds class 2"):
        examples.told(["cat", "dog"])
    with pytest.raises(UsageError, match="bring their own labels"):
        diorama.Scene(nn.Linear(64, 3), examples, torch.arange(6) % 3)


def test_kinds_by_name_may_be_told_in_part() -> None:
    """Of several inputs one kind may be told and the others guessed; an unknown name is refused."""
    x = {"text": torch.randint(0, 3, (5, 4)), "row": torch.randn(5, 2)}
    examples = Examples.of(x, inputs={"text": Tokens("abc")})
    assert isinstance(examples.kind, dict)
    assert examples.kind["text"].describe()["vocabulary"] == 3
    assert isinstance(examples.kind["row"], Table)
    assert len(examples.guessed) == 1
    assert list(examples.shown([0])) == ["text", "row"]
    for wrong in ({"nothing": Tokens()}, Table(), 3):
        with pytest.raises(UsageError):
            Examples.of(x, inputs=wrong)
    for wrong, way in ((["age", "size"], r"Table\(columns=\['age', 'size'\]\)"), (Tokens, r"calling it: diorama.Tokens\(")):
        with pytest.raises(UsageError, match=way):
            Examples.of(torch.rand(9, 2), inputs=wrong)


def test_labels_are_made_whole_numbers() -> None:
    """Class indices of any width become int64; values stay values; several a row have no class names."""
    assert Examples.of(np.zeros((3, 2)), np.array([0, 1, 2], np.uint8)).y.dtype == torch.int64  # type: ignore[union-attr]
    assert Examples.of(np.zeros((3, 2)), [0.5, 1.5, 2.0]).classes == ()
    assert Examples.of(np.zeros((3, 2), np.int64), np.ones((3, 2), np.int64)).classes == ()


def test_not_examples(tmp_path: Path) -> None:
    """A missing file is unavailable, another file is damaged."""
    with pytest.raises(Unavailable):
        Examples.load(tmp_path / "none")
    (tmp_path / "other").write_bytes(b"hello")
    with pytest.raises(Damaged):
        Examples.load(tmp_path / "other")


def test_models_are_called_by_structure() -> None:
    """A tuple goes in by position, a dict by name."""
    a, b = torch.ones(2), torch.zeros(2)
    assert nesting.call(lambda left, right: (left, right), (a, b)) == (a, b)
    assert nesting.call(lambda left, right: (left, right), {"right": b, "left": a}) == (a, b)
    assert nesting.call(lambda x: x, a) is a
    with pytest.raises(UsageError):
        nesting.first(())
    joined = nesting.join([{"a": (a,)}, {"a": (b,)}])
    assert torch.equal(joined["a"][0], torch.cat([a, b]))  # type: ignore[index, call-overload]


def test_class_names_of_a_language_are_its_tokens_texts() -> None:
    """Where the truth is a token at each place, the names of the classes are what the tokens read as; else they are not."""
    letters = tuple("abc\n ")
    x = torch.tensor([[0, 1, 2, 4], [3, 1, 0, 2]])
    found = Examples.of(x, x.roll(-1, 1), classes=letters)
    assert found.kind.vocabulary == letters
    assert found.shown([0])[0] == ["a", "b", "c", " "]
    assert any("tokens' texts" in said for said in found.guessed)
    words = Examples.of(x, x.roll(-1, 1), classes=("the", "cat", "sat", "on", "mat"))
    assert words.kind.separator == " "
    assert Examples.of(x, torch.tensor([0, 1]), classes=letters).kind.vocabulary is None
    assert Examples.of(x, x.roll(-1, 1), classes=letters[:2]).kind.vocabulary is None
    told = Tokens(vocabulary=tuple("vwxyz"))
    assert Examples.of(x, x.roll(-1, 1), classes=letters, inputs=told).kind.vocabulary == tuple("vwxyz")
