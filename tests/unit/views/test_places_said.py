"""Tokens are those of texts; what is no text has places, and what is no classifier says how it answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.scene.sets import loss_unit, several


class NodesTold(nn.Module):
    """Tells each node's class from its neighbours'."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacent: Tensor) -> Tensor:
        shares = adjacent / adjacent.sum(2, keepdim=True)
        return self.outer(shares @ torch.relu(self.inner(x)))


class TokensTold(nn.Module):
    """Tells a class for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.outer = nn.Embedding(9, 8), nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.embed(x))


def _scene(kind: str) -> diorama.Scene:
    torch.manual_seed(0)
    if kind == "graph":
        return diorama.Scene(NodesTold(), (torch.randn(12, 5, 6), torch.ones(12, 5, 5)), torch.arange(60).reshape(12, 5) % 3)
    if kind == "text":
        return diorama.Scene(TokensTold(), torch.arange(60).reshape(12, 5) % 9, (1 + torch.arange(60)).reshape(12, 5) % 9, task="next_token")
    if kind == "series":
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        return diorama.Scene(net, torch.randn(12, 5, 4), torch.arange(60).reshape(12, 5) % 3)
    return diorama.Scene(nn.Linear(4, 2), torch.randn(12, 4), torch.randn(12, 2), task="regression")


@pytest.mark.parametrize(("kind", "word"), [("graph", "place"), ("series", "place"), ("text", "token")])
def test_answers_are_counted_in_what_they_are_of(kind: str, word: str) -> None:
    """Sentences and units of losses say tokens of texts alone."""
    scene, other = _scene(kind), "token" if word == "place" else "place"
    assert several(scene) == f"{word}s"
    assert loss_unit(scene) == f"nats a {word}"
    for view in ("examples", "needed"):
        picture = scene.view(view)
        said = f"{picture.caption} {picture.note}"
        assert word in said
        assert other not in said
    with pytest.raises(NotApplicable, match=f"not a classifier of examples: each is answered {word} by {word}"):
        scene.view("confusion")


def test_what_is_no_classifier_says_how_it_answers() -> None:
    """A regression answers with numbers; of a network of an unknown task that it is not known."""
    with pytest.raises(NotApplicable, match="not a classifier of examples: each is answered with numbers"):
        _scene("numbers").view("confusion")
    with pytest.raises(NotApplicable, match="not known what this model answers"):
        diorama.Scene(nn.Linear(4, 2), torch.randn(12, 4)).view("confusion")
