"""What a person meets first of a language model: one unit on card and synthesis, tokens by name, a first token that is not masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Table
from diorama.scene import Scene
from diorama.views.inputs import LETTERS

WORDS = tuple("abcdefghij")


class _Writer(nn.Module):
    """A recurrent layer over characters, and scores of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(10, 6), nn.GRU(6, 7, batch_first=True), nn.Linear(7, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.rnn(self.embed(x))[0])
        return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Texts of ten characters, each of which foretells the next."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = _Writer().eval(), torch.randint(0, 10, (6, 11))
    return Scene(model, x[:, :-1], x[:, 1:], inputs=diorama.Tokens(vocabulary=WORDS))


def test_the_card_and_the_synthesis_open_on_one_unit(scene: Scene) -> None:
    """With nothing chosen both tell of the same unit of the same layer."""
    card, made = scene.view("card", synthesize=False), scene.view("synthesis", steps=1)
    assert card.title in made.title
    assert card.title.startswith("rnn")


def test_units_of_the_answer_are_called_by_their_tokens(scene: Scene) -> None:
    """Card, inspector and synthesis name the character that an output unit stands for; a hidden unit stands for none."""
    for name, knobs in (("card", {"synthesize": False}), ("inspector", {}), ("synthesis", {"steps": 1})):
        found = scene.view(name, select=("unit:head/3",), **knobs)
        assert "(“d”)" in found.title + found.caption, name
        hidden = scene.view(name, select=("unit:rnn/3",), **knobs)
        assert "“" not in hidden.title + hidden.caption.partition(",")[0], name


def test_the_first_token_is_not_said_to_be_masked(scene: Scene) -> None:
    """Nothing stands before it, and nothing else is struck out here; where a place is masked too, both are told."""
    said = scene.view("learns_from").caption
    assert "the first token of each text, which is not predicted" in said
    assert "masked" not in said
    assert scene.live.y is not None
    y = scene.live.y.clone()
    y[:, 4] = -100
    said = Scene(scene.model, scene.live.x, y, inputs=scene.kind).view("learns_from").caption
    assert "what is masked and the first token of each text" in said


def test_texts_in_tables_are_long_enough_to_be_read(scene: Scene) -> None:
    """A table of examples holds a text of some lines as a whole."""
    x = torch.randint(0, 10, (4, 200), generator=torch.Generator().manual_seed(1))
    long = Scene(scene.model, x, x.roll(-1, 1), inputs=scene.kind)
    (table,) = (mark for mark in long.view("examples").marks() if isinstance(mark, Table))
    column = next(column for column in table.columns if column.name == "example")
    assert set(map(len, column.texts)) == {200}
    assert LETTERS >= 200


class _TwoLayers(_Writer):
    """A first layer that keeps nothing, and a second whose first cell says whether it reads a vowel."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(6, 7, 2, batch_first=True), nn.Linear(7, 10)
        with torch.no_grad():
            for weight in self.rnn.parameters():
                weight.zero_()
            self.embed.weight.zero_()[:, 1] = torch.randn(10, generator=torch.Generator().manual_seed(2))
            self.embed.weight[:, 0] = torch.tensor([float(word in "aei") for word in WORDS])
            self.rnn.weight_ih_l0[:2, :2] = torch.eye(2)
            self.rnn.weight_ih_l0[0] = torch.tensor([0.6, 1.0, 0, 0, 0, 0])
            self.rnn.weight_ih_l0[1] = torch.tensor([0.0, 1.0, 0, 0, 0, 0])
            self.rnn.weight_ih_l1[3, :2] = torch.tensor([1.0, -1.0])


def test_cells_of_all_recurrent_layers_are_ranked() -> None:
    """The best match lies in the second layer, and the view opens on it; a layer that is named is ranked alone."""
    x = torch.randint(0, 10, (8, 40), generator=torch.Generator().manual_seed(3))
    scene = Scene(_TwoLayers().eval(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=WORDS))
    found = scene.view("cells", property="vowel")
    (table,) = (mark for mark in found.marks() if isinstance(mark, Table))
    assert table.row_keys[0] == "unit:rnn.l1/3"
    assert {column.name for column in table.columns} >= {"layer", "cell"}
    assert found.title == "Cell 3 of rnn.l1"
    (alone,) = (mark for mark in scene.view("cells", property="vowel", layer="rnn.l0").marks() if isinstance(mark, Table))
    assert all(key.startswith("unit:rnn.l0/") for key in alone.row_keys)


def test_properties_that_do_not_occur_are_not_offered(scene: Scene) -> None:
    """Letters have neither notes nor, where there are none, digits and blanks: these choices are named with the reason; vowels are offered."""
    idle = scene.view("cells").idle
    assert {"property=pitch", "property=silence", "property=digit", "property=blank"} <= set(idle)
    assert not {"property=vowel", "property=any", "property=chosen tokens"} & set(idle)
    assert "property=pitch" in scene.view("cells", cell="rnn.l0/2").idle


def test_tokens_that_are_words_stand_apart_where_they_are_listed() -> None:
    """Numbers of tokens, and words without blanks of their own, are no one word in the list of what spoke for an answer; characters stay together."""
    x = torch.tensor([[7, 0, 9, 3, 1, 5, 2, 8]] * 3)
    scene = Scene(_Writer().eval(), x, x.roll(-1, 1), task="next_token")
    for kind, apart in ((None, True), (diorama.Tokens(vocabulary=tuple(f"w{k}" for k in range(10)), separator=" "), True), (WORDS, False)):
        own = Scene(scene.model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=kind) if kind is WORDS else kind, task="next_token")
        tables = [mark for mark in own.view("words", group="tokens", method="gradient").marks() if isinstance(mark, Table)]
        near = [text for table in tables for column in table.columns if column.name == "where" for text in column.texts]
        assert near
        assert all((" " in text) == apart for text in near)
