"""What a user knows of examples beside inputs and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.marks import Scatter
from diorama.data.examples import Examples
from diorama.views.inputs import property_names

TOLD = {"author": ["ann", "bob", "ann", "cid"] * 3, "age": torch.arange(12), "sure": [True, False] * 6}


def _scene(told: object = TOLD) -> diorama.Scene:
    torch.manual_seed(0)
    return diorama.Scene(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(12, 3), torch.arange(12) % 2, metadata=told)


def test_a_map_is_coloured_by_what_its_user_knows() -> None:
    """Words have a colour each and are named, numbers a scale; the page offers both by name."""
    scene = _scene()
    words = scene.view("projection", column="author").body.children[0]
    assert isinstance(words, Scatter)
    assert words.classes == ("ann", "bob", "cid")
    assert [words.classes[int(k)] for k in words.values] == TOLD["author"]
    numbers = scene.view("projection", column="age").body.children[0]
    assert np.array_equal(numbers.values, np.arange(12))
    assert numbers.limits is not None
    assert property_names(scene)[:3] == ["author", "age", "sure"]
    with pytest.raises(diorama.NotFound, match="author"):
        scene.view("projection", column="autor")


def test_metadata_are_kept_with_a_run(tmp_path: Path) -> None:
    """A run that is opened again has what was told of its examples, also of a part of them."""
    run = diorama.open(_scene().save(tmp_path / "run"))
    told = run.scene().examples.metadata
    assert told["author"] == tuple(TOLD["author"])
    assert torch.equal(told["age"], torch.arange(12).double())
    assert told["sure"][:2] == ("True", "False")
    part = run.scene().examples.take([3, 1])
    assert part.metadata["author"] == ("cid", "bob")
    assert part.first(1).metadata["age"].tolist() == [3.0]


def test_what_chosen_examples_share_may_be_a_word_of_their_users() -> None:
    """The view that asks what examples share looks at metadata too: a planted author is what it names."""
    torch.manual_seed(0)
    who = ["ann" if k < 20 else "bob" for k in range(60)]
    scene = diorama.Scene(nn.Linear(3, 2), torch.rand(60, 3), torch.arange(60) % 2, metadata={"author": who})
    assert "author: " in scene.view("shared", select=["example:0-19"]).caption


@pytest.mark.parametrize(
    ("told", "said"),
    [({"age": [1, 2]}, "'age' has 2 for 12 examples"), ([1, 2], "wants a dict of names"), ({"age": np.zeros((12, 2))}, "shape")],
)
def test_metadata_of_another_length_are_refused(told: object, said: str) -> None:
    """Each name wants one value an example, and an error says which has not."""
    with pytest.raises(diorama.UsageError, match=said):
        _scene(told)


def test_metadata_change_what_examples_are_called_and_nothing_else_does(tmp_path: Path) -> None:
    """Examples without metadata keep the name that they had before there were any."""
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    plain, told = Examples.of(x), Examples.of(x, metadata={"age": [1, 2, 3, 4]})
    assert plain.fingerprint != told.fingerprint
    plain.save(tmp_path / "plain")
    assert Examples.load(tmp_path / "plain").fingerprint == plain.fingerprint
