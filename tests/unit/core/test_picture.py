"""Pictures and marks: shapes are checked, and the binary form gives back what went in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from paper import PICTURES

from diorama.core import marks
from diorama.core.colour import Limits, symmetric
from diorama.core.errors import Damaged, LeftOut, NotFound, UsageError
from diorama.core.fields import flaw
from diorama.core.marks import (
    Action,
    Bars,
    Block,
    Blocks,
    Edge,
    Field,
    Group,
    Heatmap,
    Image,
    Number,
    Parallel,
    Scatter,
    Series,
    Table,
    Text,
    Tiles,
)
from diorama.core.marks import Column as TableColumn
from diorama.core.picture import Check, Picture

GREY = Limits(low=0, high=1, scale="grey")


def _round(picture: Picture) -> Picture:
    return Picture.from_bytes(picture.to_bytes())


@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", "u1", "i4", "i8", "?"]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
    )
)
def test_values_survive_the_binary_form(values: np.ndarray) -> None:
    """Any numbers, NaN and infinities included, come back equal."""
    sent = Picture(title="t", body=Heatmap(values=values, limits=Limits(low=0, high=1)))
    back = _round(sent).body
    assert isinstance(back, Heatmap)
    np.testing.assert_array_equal(back.values, values)


def test_a_tree_survives_the_binary_form() -> None:
    """Groups, checks, keys and nested parts come back equal."""
    body = Group(
        direction="row",
        children=(
            Number(label="<b>loss</b>", value=0.5, unit="nats"),
            Group(
                children=(Bars(values=np.arange(3.0), labels=("a", "b", "c"), keys=("class:0", "class:1", "class:2")),)
            ),
        ),
    )
    sent = Picture(title="t", body=body, checks=(Check(name="gap", value=0.1),), step=7, final=False)
    back = _round(sent)
    assert (back.title, back.checks, back.step, back.final) == (sent.title, sent.checks, 7, False)
    assert isinstance(back.body, Group)
    assert back.body.children[0] == body.children[0]
    assert [type(mark).__name__ for mark in back.marks()] == ["Group", "Number", "Group", "Bars"]


@pytest.mark.parametrize("damage", [b"", b"DIO1", b"XXXX\0\0\0\0", b"DIO1\xff\xff\xff\x7f{}"])
def test_other_bytes_are_refused(damage: bytes) -> None:
    """Bytes that are no picture raise Damaged."""
    with pytest.raises(Damaged):
        Picture.from_bytes(damage)


def test_truncated_bytes_are_refused() -> None:
    """A picture that lost its end raises Damaged, wherever it was cut."""
    data = Picture(title="t", body=Heatmap(values=np.ones((4, 4)), limits=GREY)).to_bytes()
    for end in range(0, len(data) - 1, 13):
        with pytest.raises(Damaged):
            Picture.from_bytes(data[:end])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image(pixels=np.zeros((3, 3, 2))),
        lambda: Image(pixels=np.zeros((3, 3)), heat=np.zeros((2, 3))),
        lambda: Tiles(images=np.zeros((2, 3, 3)), limits=GREY, labels=("a",)),
        lambda: Tiles(images=np.zeros((2, 3, 3))),
        lambda: Heatmap(values=np.zeros((2, 3)), limits=GREY, row_labels=("a",)),
        lambda: Heatmap(values=np.zeros(3), limits=GREY),
        lambda: Series(name="s", x=np.zeros(3), y=np.zeros(2)),
        lambda: Bars(values=np.zeros(2), labels=("a",)),
        lambda: Field(values=np.zeros((2, 2)), extent=(0, 1, 0, 1)),
        lambda: Field(values=np.zeros((2, 2, 2)), extent=(0, 1, 0, 1), points=np.zeros((3, 3))),
        lambda: Blocks(blocks=(Block(id="a", label="a", parent="b"),)),
        lambda: Blocks(blocks=(Block(id="a", label="a"),), edges=(Edge(source="a", target="b"),)),
        lambda: Blocks(blocks=(Block(id="a", label="a"), Block(id="a", label="b"))),
        lambda: Blocks(blocks=(Block(id="a", label="a", parent="b"), Block(id="b", label="b", parent="a"))),
        lambda: Blocks(blocks=(Block(id="a", label="a"),), places=np.zeros((2, 4)), routes=np.zeros((0, 4)), points=np.zeros((0, 2))),
        lambda: Blocks(blocks=(Block(id="a", label="a"),), places=np.zeros((1, 4)), routes=np.zeros((1, 4)), points=np.zeros((0, 2))),
        lambda: Blocks(blocks=(Block(id="a", label="a"),), places=np.zeros((1, 4))),
        lambda: Text(tokens=("a", "b"), values=np.zeros(3)),
        lambda: Table(columns=(TableColumn(name="a", numbers=np.zeros(2)), TableColumn(name="b", texts=("x",)))),
    ],
)
def test_shapes_are_checked_on_creation(make: object) -> None:
    """A mark whose parts don't fit together is refused when it is made."""
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


def test_a_graph_saved_without_places_is_laid_out_when_it_is_opened() -> None:
    """A picture whose graph carries no places, as those saved earlier, gets them; one that has them keeps them."""
    graph = Blocks(blocks=(Block(id="a", label="a"), Block(id="b", label="b")), edges=(Edge(source="a", target="b"),))
    bare = {"mark": "blocks", "blocks": [{"id": "a", "label": "a"}, {"id": "b", "label": "b"}]}
    bare["edges"] = [{"source": "a", "target": "b"}]
    opened = msgspec.convert({"title": "t", "body": bare}, Picture).body
    for one in (opened, _round(Picture(title="t", body=graph)).body):
        assert isinstance(one, Blocks)
        assert (one.places, one.extent) == (pytest.approx(graph.places), graph.extent)


def test_an_unknown_format_names_those_that_exist() -> None:
    """Saving under an unknown suffix says which suffixes there are."""
    picture = Picture(title="t", body=Number(label="n"))
    with pytest.raises(NotFound, match="file format"):
        picture.save("x.bmp")


def test_limits_count_what_they_cannot_show() -> None:
    """NaN, infinite and clipped cells are counted; the range of signed values is symmetric."""
    limits = symmetric(np.array([1.0, -3.0, np.nan, np.inf, -np.inf]))
    assert (limits.low, limits.high, limits.nan, limits.infinite, limits.clipped) == (-3, 3, 1, 2, 0)
    assert symmetric(np.array([1.0, -3.0, 2.0]), limit=1.5).clipped == 2
    assert symmetric(np.array([np.nan])).high == 1.0


def test_points_carry_their_square() -> None:
    """A scatter's axes are of one length and hold all points; what does not belong together is refused."""
    points = np.array([[0.0, 1.0], [4.0, 2.0], [np.nan, 900.0]])
    mark = Scatter(points=points, kind="example")
    (left, right), (low, high) = mark.spans
    assert right - left == pytest.approx(high - low)
    assert left < 0 < 4 < right
    assert low < 1 < 2 < high
    assert Picture.from_bytes(Picture(title="t", body=mark).to_bytes()).body.spans == mark.spans
    (left, right), (low, high) = mark.within({"0": (0.0, 10.0), "1": (0.0, 4.0)}).spans
    assert (left, right, low, high) == (0.0, 10.0, -3.0, 7.0)
    assert Scatter(points=np.full((3, 3), np.nan)).spans == ((-1.0, 1.0),) * 3
    for wrong in ({"points": np.zeros((2, 4))}, {"keys": ("a",)}, {"values": np.zeros(3)}, {"drawn": "thumbnails"},
                  {"trails": np.zeros((3, 4, 3))}, {"borders": np.zeros((2, 4))}, {"spans": ((0.0, 1.0),)}):
        with pytest.raises(UsageError):
            Scatter(**{"points": points, **wrong})


def test_parallel_axes_carry_their_ranges() -> None:
    """Browser and paper draw the same axes, a film holds them, and what does not belong together is refused."""
    mark = Parallel(values=np.array([[1.0, np.nan], [3.0, 5.0]]), axes=("a", "b"))
    assert mark.spans == ((1.0, 3.0), (4.5, 5.5))
    assert Picture.from_bytes(Picture(title="t", body=mark).to_bytes()).body.spans == mark.spans
    wide = {"0": (0.0, 9.0), "1": (4.5, 5.5)}
    assert mark.within(wide).ranges() == wide
    with pytest.raises(UsageError, match="axes wants 2"):
        Parallel(values=np.zeros((2, 2)), axes=("a",))


def test_half_a_character_does_not_stop_a_picture() -> None:
    """Texts with a lone surrogate, as bytes that are no UTF-8 are often read, travel with the sign for a missing character."""
    mark = Text(tokens=("a", "\ud800", "👩", "\u202eb"), keys=("token:0", "token:1", "token:2", "token:3"))
    again = Picture.from_bytes(Picture(title="\udcff and so on", body=mark, caption="A sentence.").to_bytes())
    assert again.title.endswith(" and so on")
    text = next(iter(again.marks()))
    assert (text.tokens[0], text.tokens[2:]) == ("a", ("👩", "\u202eb"))
    assert set(text.tokens[1]) == {"�"}


def _structs(value: Any) -> Iterator[msgspec.Struct]:
    """A struct and all that it holds."""
    if isinstance(value, msgspec.Struct):
        yield value
        value = msgspec.structs.astuple(value)
    if isinstance(value, tuple):
        for inner in value:
            yield from _structs(inner)


@pytest.mark.parametrize("mark", marks.MARKS)
def test_a_field_that_holds_something_else_is_named(mark: str) -> None:
    """Whatever field of a mark, of what it is made of or of its picture holds what its type excludes, that is told; samples of all hold none."""
    of_mine = [p for p in PICTURES.values() if any(type(one).__name__.lower() == mark for one in _structs(p))]
    held = {type(one): (p, one) for p in of_mine for one in _structs(p) if mark in type(one).__module__ or one is p}
    assert len(held) > 1
    for picture, one in held.values():
        assert flaw(picture) is None
        for field in msgspec.structs.fields(one):
            before = getattr(one, field.name)
            for wrong in (object(), b"bytes", np.array(["text"]), (object(),)):
                msgspec.structs.force_setattr(one, field.name, wrong)
                try:
                    assert str(flaw(picture)).startswith(f"{type(one).__name__}.{field.name}"), wrong
                finally:
                    msgspec.structs.force_setattr(one, field.name, before)


@pytest.mark.parametrize(("field", "value", "said"), [
    ("value", "3", "Number.value must be a number or None, and is '3'"),
    ("value", True, "a number or None, and is True"),
    ("value", np.float32(3), None),
    ("value", float("nan"), None),
    ("tone", "blue", "Number.tone must be 'bad' or 'good' or 'plain' or 'warn', and is 'blue'"),
    ("actions", (Action(command="stop", label="s", knobs={"a": [1]}),), "Action.knobs['a'] must be"),
    ("handle", "knob", "Number.handle must be a Handle or None"),
])
def test_what_a_field_may_hold_is_said(field: str, value: object, said: str | None) -> None:
    """NumPy's numbers are numbers, flags are none; whoever wrote the view reads the mark, the field, what it wants and what came."""
    told = flaw(Number(**{"label": "loss", field: value}))
    assert told is None if said is None else said in str(told)


def test_a_mark_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose class bears another name, or that fails, is told by its name and takes no other mark with it."""
    there, name = dict(marks.MARKS), "diorama.core.marks.gauge"
    for module in (ModuleType(name), None):
        monkeypatch.setitem(sys.modules, name, module)
        with pytest.warns(LeftOut, match=r"the mark 'gauge' \(core/marks/gauge.py\) cannot be used and is left out"):
            marks._take("gauge")
    assert there == marks.MARKS
