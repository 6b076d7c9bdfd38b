"""The view of one cell's gates: its formulas, its moment, its cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo import Recurrent

import diorama
from diorama.core.errors import UsageError
from diorama.core.marks import Field, Lines, Table, Text
from diorama.core.picture import Picture
from diorama.scene import Scene


def _scene(kind: type[nn.RNNBase], **options: object) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model, x = Recurrent(kind, **options), torch.randint(0, 11, (4, 9))
    return Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=tuple("abcdefghij\n")))


def _of(picture: Picture, kind: type) -> list:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("unit", ["rnn/3", "rnn/8"])
def test_the_formulas_hold(kind: type[nn.RNNBase], unit: str) -> None:
    """Each line of the table, read as arithmetic, gives its value, which is that of the cell at that moment."""
    scene = _scene(kind, bidirectional=True)
    for moment in (0, 4, 8):
        picture = scene.view("gates", unit=unit, example=2, moment=moment, saturation=False)
        (table,) = _of(picture, Table)
        lines = [text.replace("σ", "sigmoid").replace("·", "*").replace("−", "-") for text in table.columns[2].texts]
        names = {"sigmoid": lambda z: 1 / (1 + math.exp(-z)), "tanh": math.tanh}
        got = [eval(line, {"__builtins__": {}}, names) for line in lines]
        np.testing.assert_allclose(got, table.columns[3].numbers, atol=3e-3)
        part, cell = ("rnn.l0", 3) if unit == "rnn/3" else ("rnn.l0.reverse", 2)
        value = scene.derive("gates", layer=part, example=2).value
        letters = [text.partition(" ")[0] for text in table.columns[1].texts]
        np.testing.assert_allclose(table.columns[3].numbers, [value[letter][moment, cell] for letter in letters], atol=1e-6)
        assert picture.checks[0].value < 1e-5
        assert ("cells 6 to 11 read backward" in picture.note) == (unit == "rnn/3")


def test_a_moment_is_chosen_in_the_text_or_on_the_axis() -> None:
    """A chosen token is the moment; the lines have its handle; every dot of the planes is a cell that can be chosen."""
    scene = _scene(nn.LSTM)
    picture = scene.view("gates", select=["token:5", "unit:rnn.l0/2"])
    lines, (text,) = _of(picture, Lines), _of(picture, Text)
    assert [one.cursor for one in lines] == [5, 5, 5]
    assert lines[0].handle.knob == "moment"
    assert [one.name[0] for mark in lines for one in mark.series] == ["i", "f", "o", "g", "h", "c"]
    value = scene.derive("gates", layer="rnn.l0").value
    np.testing.assert_allclose(lines[0].series[1].y, value["f"][:, 2], atol=1e-6)
    np.testing.assert_allclose(text.values, np.tanh(value["c"][:, 2]), atol=1e-6)
    planes = _of(picture, Field)
    counted = scene.derive("saturation", layer="rnn.l0").value
    assert len(planes) == 3
    np.testing.assert_allclose(planes[1].points, np.stack([counted["right"][1], counted["left"][1]], 1))
    assert planes[0].point_keys[4] == "unit:rnn.l0/4"


def test_what_is_typed_is_looked_at_and_long_texts_are_cut() -> None:
    """A typed text has its own gates; of a long one the steps about the moment are shown; a cell that is not there is refused."""
    scene = _scene(nn.GRU)
    typed = scene.view("gates", input="abcabcabcabc", limit=4, moment=6)
    assert "your text" in typed.caption
    assert typed.note == "places 4 to 7 of 12"
    with pytest.raises(UsageError, match="cells 0 to 5"):
        scene.view("gates", cell=6)


def test_the_cell_that_is_shown_by_itself_is_the_one_whose_colour_moves_most() -> None:
    """A memory that runs off to one side moves furthest, and its text is of one colour: another cell is shown."""
    scene = _scene(nn.LSTM)
    with torch.no_grad():
        for weight, gates in ((scene.model.rnn.bias_ih_l0, (8.0, 8.0, 8.0)), (scene.model.rnn.bias_hh_l0, (0.0, 0.0, 0.0))):
            size = len(weight) // 4
            # Input gate, forget gate and candidate of cell 4 are wide open: it counts the places.
            for part, value in enumerate(gates):
                weight[part * size + 4] = value
    picture = scene.view("gates", layer="rnn.l0", example=1, saturation=False)
    c = scene.derive("gates", layer="rnn.l0", example=1).value["c"]
    assert c.std(0).argmax() == 4
    assert f"cell {np.tanh(c).std(0).argmax()} of" in picture.title
    assert np.tanh(c).std(0).argmax() != 4
