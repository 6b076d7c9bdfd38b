"""Clusters of what reads texts: units with the words that drive them, heads by the tokens at which they look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Network
from diorama.core.picture import Picture
from diorama.data.tokens import visible
from diorama.scene import Scene

LETTERS = tuple("abcd. ")


class _Planted(nn.Module):
    """Four heads: two look at a and two at any letter alike; then cells of which each answers to one letter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 6)
        self.attn = nn.MultiheadAttention(24, 4, batch_first=True)
        self.wide, self.out = nn.Linear(6, 24, bias=False), nn.Linear(6, 6)
        with torch.no_grad():
            self.embed.weight.copy_(torch.eye(6))
            self.wide.weight.copy_(torch.eye(6).repeat(4, 1))
            self.attn.in_proj_weight.zero_()
            self.attn.in_proj_bias.zero_()
            for head in (0, 1):
                # Every query is one number, and the key of an a is large.
                self.attn.in_proj_bias[6 * head] = 1.0
                self.attn.in_proj_weight[24 + 6 * head, 6 * head] = 8.0
            self.out.weight.copy_(4 * torch.eye(6))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.embed(x)
        wide = self.wide(seen)
        told = self.attn(wide, wide, wide, need_weights=False)[0]
        found: Tensor = self.out(seen) + 0.0 * told[..., :6]
        return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Random letters."""
    x = torch.randint(0, 6, (12, 10), generator=torch.Generator().manual_seed(0))
    return diorama.Scene(_Planted().eval(), x, x.clone(), inputs=diorama.Tokens(vocabulary=LETTERS), task="next_token")


def _network(picture: Picture) -> Network:
    return next(mark for mark in picture.marks() if isinstance(mark, Network))


def test_heads_are_grouped_by_the_tokens_at_which_they_look(scene: Scene) -> None:
    """The two heads that look at an a are one cluster, named by it and with it as its word; those that look everywhere say nothing."""
    network = _network(scene.view("clusters", of="heads", show="patches"))
    boxes = [vertex for vertex in network.vertices if vertex.form == "box"]
    looking = next(vertex for vertex in boxes if "head:attn/0" in vertex.keys)
    assert set(looking.keys) == {"head:attn/0", "head:attn/1"}
    assert looking.label == "a"
    assert looking.words == ("a",)
    assert looking.note == "2 heads"
    value = scene.derive("clusters", layers="pattern:attn").value
    x = scene.examples.x.numpy()
    weights = scene.activations(["pattern:attn"], scene.examples.x)["pattern:attn"].numpy().reshape(12, 4, 10, 10)
    for column, name in enumerate(value["columns"]):
        there = x == LETTERS.index(name)
        given = (weights * there[:, None, None]).sum((0, 2, 3))
        assert np.allclose(value["layers"][0]["profile"][:, column], given / (there.sum() * 10 / 10), rtol=1e-5)


def test_a_unit_stands_with_the_text_that_drives_it(scene: Scene) -> None:
    """Each box of a layer that answers to letters says the text at whose end its units answer most."""
    network = _network(scene.view("clusters", show="patches"))
    boxes = {vertex.keys[0]: vertex.words for vertex in network.vertices if vertex.form == "box" and vertex.keys[0].startswith("unit:out/")}
    for letter, name in enumerate(LETTERS[:4]):
        own = next(words for key, words in boxes.items() if key == f"unit:out/{letter}")
        assert own[0].endswith(name)
    # Classes of a network that writes are its tokens, by their text.
    named = [visible(letter) for letter in LETTERS]
    assert scene.derive("clusters").value["columns"] == named
    given = diorama.Scene(scene.model, scene.examples.x, scene.examples.y, inputs=scene.kind, task="next_token", classes=LETTERS)
    assert given.derive("clusters").value["columns"] == named, "also where the classes were given with their names"
    assert {part for vertex in network.vertices if vertex.colour is not None for part in vertex.label.split(", ")} <= set(named)


def test_heads_are_asked_for_where_there_are_none() -> None:
    """A network without attention says so, and what to choose instead."""
    plain = diorama.Scene(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.rand(6, 3), torch.arange(6) % 2)
    with pytest.raises(diorama.NotApplicable, match="choose of=units"):
        plain.view("clusters", of="heads")
