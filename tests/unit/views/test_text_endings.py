"""Texts that are filled up: a network that writes on is asked behind their last token, and padding is in no mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attentions import LooksBack
from torch import Tensor, nn

import diorama
from diorama.core.marks import Bars, Table, Text
from diorama.derive.attended_tokens import AttendedTokens
from diorama.scene import Scene

WORDS = ("<pad>", "a", "b", "c", "d", "e")


class _Gated(nn.Module):
    """A GRU over words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(6, 8), nn.GRU(8, 5, batch_first=True), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


@pytest.fixture(scope="module")
def pair() -> tuple[Scene, Scene]:
    """Texts with three places of padding behind them, and the same texts without."""
    torch.manual_seed(2)
    model, x = LooksBack().eval(), torch.randint(1, 6, (6, 7))
    filled = torch.cat([x, torch.zeros(6, 3, dtype=torch.long)], 1)
    kind = diorama.Tokens(vocabulary=WORDS)
    return tuple(Scene(model, each, inputs=kind, task="next_token") for each in (filled, x))  # type: ignore[return-value]


class _AdaptedLooksBack(LooksBack):
    """The same with an adapter by hand upon its last layer, which is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _LoraByHand(self.head)


class _LoraByHand(nn.Module):
    """A frozen weight, and two matrices of a lower rank beside it that learn."""

    def __init__(self, own: nn.Linear) -> None:
        super().__init__()
        self.weight, self.down, self.up = nn.Parameter(own.weight.detach(), False), nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(6, 2))

    def forward(self, h: Tensor) -> Tensor:
        return h @ self.weight.T + h @ self.down.T @ self.up.T


def test_what_is_said_of_answers_leaves_padding_out(pair: tuple[Scene, Scene]) -> None:
    """The inspector, adapters switched off and the pair that patching chooses go by the answers at the texts' last tokens."""
    torch.manual_seed(4)
    adapted = _AdaptedLooksBack().eval()
    for name, knobs in (("inspector", {"select": "example:2"}), ("patching", {"example": 2}), ("adapters", {"example": 2})):
        scenes = pair if name != "adapters" else tuple(Scene(adapted, one.live.x, inputs=one.kind, task="next_token") for one in pair)
        filled, plain = (scene.view(name, **knobs) for scene in scenes)
        assert filled.caption == plain.caption, name
        drawn = [[mark for mark in one.marks() if isinstance(mark, Bars)] for one in (filled, plain)]
        assert len(drawn[0]) == len(drawn[1]) > 0
        for one, other in zip(*drawn, strict=True):
            assert one.labels == other.labels
            np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_deep_adapters_are_told_apart_by_what_their_names_do_not_share() -> None:
    """Names as peft makes them begin alike for forty letters and more: a row holds the rest, and none says that an update of zero is the largest."""
    torch.manual_seed(5)
    model = nn.Module()
    model.base_model = nn.ModuleDict({name: nn.ModuleDict({"attn": _LoraByHand(nn.Linear(8, 6))}) for name in ("first", "second")})
    for own in model.base_model.values():
        nn.init.zeros_(own["attn"].up)  # type: ignore[index]
    model.forward = lambda x: sum(own["attn"](x) for own in model.base_model.values())  # type: ignore[index, method-assign]
    picture = Scene(model.eval(), torch.randn(5, 8), torch.arange(5)).view("adapters")
    (layers,) = (column for mark in picture.marks() if isinstance(mark, Table) for column in mark.columns if column.name == "layer")
    assert layers.texts == ("first.attn", "second.attn")
    assert layers.note == "All names begin with base_model."
    assert "largest" not in picture.caption


@pytest.mark.parametrize("name", ["answer", "words", "lens", "contributions", "attribution", "patching", "writes"])
def test_a_text_is_asked_behind_its_last_token(name: str, pair: tuple[Scene, Scene]) -> None:
    """What is said of a text is the same whether padding follows it or not."""
    knobs = {"attribution": {"method": "input_x_gradient"}, "writes": {"temperature": 0.0, "length": 1}, "patching": {"corrupted": 1}}
    filled, plain = (scene.view(name, example=2, **knobs.get(name, {})) for scene in pair)
    assert (filled.title, filled.caption) == (plain.title, plain.caption)
    if name == "writes":
        assert [mark.tokens for mark in filled.marks() if isinstance(mark, Text)] == [mark.tokens for mark in plain.marks() if isinstance(mark, Text)]


def test_padding_is_in_no_mean(pair: tuple[Scene, Scene]) -> None:
    """The measures of heads, and at which tokens they look, are those of the texts without padding."""
    filled, plain = (scene.derive("heads").value["values"][:-1] for scene in pair)
    np.testing.assert_allclose(filled, plain, atol=1e-6)
    told = [AttendedTokens(scene, ["pattern:attn"], 6) for scene in pair]
    for one in told:
        list(one.over())
    np.testing.assert_allclose(told[0].profile("pattern:attn"), told[1].profile("pattern:attn"), atol=1e-6)
    np.testing.assert_allclose(told[0].answers("pattern:attn"), told[1].answers("pattern:attn"), atol=1e-6)


def test_gates_are_counted_where_words_stand() -> None:
    """How often gates are shut and open is what it is without padding."""
    x = torch.randint(1, 6, (6, 7), generator=torch.Generator().manual_seed(3))
    filled = torch.cat([x, torch.zeros(6, 3, dtype=torch.long)], 1)
    model = _Gated().eval()
    found = [Scene(model, each, inputs=diorama.Tokens(vocabulary=WORDS), task="next_token").derive("saturation", low=0.4, high=0.6).value
             for each in (filled, x)]
    assert found[0]["steps"] == found[1]["steps"] == 42
    np.testing.assert_allclose(found[0]["left"], found[1]["left"])


@pytest.mark.parametrize("target", [None, 3])
def test_an_attribution_is_of_the_answer_behind_the_last_token(target: int | None, pair: tuple[Scene, Scene]) -> None:
    """Texts with padding behind them are explained as without, all at once and one by one; one target a text too."""
    (filled, plain), names = pair, ("input_x_gradient", "integrated_gradients", "occlusion")
    for name in names:
        found, wanted = (
            diorama.attribute(scene.model, scene.live.x, target, method=name, inputs=scene.kind, task="next_token") for scene in (filled, plain)
        )
        np.testing.assert_allclose(found.values[:, :7], wanted.values, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.values[:, 7:], 0, atol=1e-5)


def test_a_translation_is_answered_at_its_last_place() -> None:
    """What a network with an answer of its own length says is not what comes next."""
    x, y = torch.randint(1, 6, (6, 7)), torch.randint(0, 6, (6, 4))
    model = nn.Sequential(nn.Embedding(6, 8), nn.Flatten(), nn.Linear(56, 24), nn.Unflatten(1, (4, 6))).eval()
    scene = Scene(model, x, y, inputs=diorama.Tokens(vocabulary=WORDS), task="next_token")
    caption = scene.view("answer", example=0).caption
    assert f"its answer: {WORDS[int(model(x[:1])[0, -1].argmax())]} at the last place (" in caption


def test_the_largest_update_is_said_as_its_row_has_it() -> None:
    """A share over one has no fewer digits in the sentence than in the table."""
    torch.manual_seed(6)
    model = nn.Sequential(_LoraByHand(nn.Linear(8, 6))).eval()
    scene = Scene(model, torch.randn(5, 8), torch.arange(5))
    with torch.no_grad():
        model[0].up.mul_(3.0538 / scene.derive("adapters").value[0]["share"])
    assert "the largest update, 305 % of its frozen weight" in Scene(model, scene.live.x, torch.arange(5)).view("adapters").caption
