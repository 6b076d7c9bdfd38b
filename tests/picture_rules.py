"""What every picture of a view must be: it travels, says what it is and how it was made, in words that people read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from diorama.core.knobs import knobs_of
from diorama.core.marks import MARKS, Group, Network, Table
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.core.selection import Key

NOTATION = re.compile(r"\d[eE][-+]?\d")
PERCENT = re.compile(r"\d%|(?:^|[\s(])-\d")
# Nouns alone: "all of 1 answers" speaks of a layer that is called 1.
MANY = (
    "units|layers|examples|steps|tokens|classes|heads|weights|parameters|snapshots|readings|places|runs|cells|inputs|columns|rows|pictures|"
    "images|pixels|phrases|clusters|regions|features|groups|numbers|values|words|findings|processes|batches|neighbours|connections|paths|parts"
)
ONE_OF_MANY = re.compile(rf"(?:^|(?<![\d.,×/–:−-]) |\()1 (?:more |other |dead )?(?:{MANY})\b")


def checked(picture: Picture) -> None:
    """A picture travels, says what it is and how it was made, and its keys can be read."""
    again = Picture.from_bytes(picture.to_bytes())
    assert [type(mark) for mark in again.marks()] == [type(mark) for mark in picture.marks()]
    assert picture.title
    assert picture.caption.endswith(".")
    told = [picture.title, picture.caption, picture.note, *(check.sentence for check in picture.checks), *words_in(picture.body)]
    assert not [text for text in told if NOTATION.search(text)], "a sentence holds a number in computer notation"
    fields = [text for mark in picture.marks() if isinstance(mark, Table) for column in mark.columns for text in column.texts]
    assert not [text for text in fields if re.fullmatch(r"[-−+]?[\d.]+e[-+]\d+", text)], "a table holds a number in computer notation"
    assert not [text for text in told if PERCENT.search(text)], "a sentence holds 3% for 3 %, or a hyphen for a minus"
    assert not (one := [text for text in told if ONE_OF_MANY.search(text)]), f"a sentence says that there is 1 of what it calls many: {one}"
    assert picture.provenance is not None
    assert picture.provenance.method
    known = knobs_of(views[picture.provenance.method])
    every = {*known, *(f"{name}={choice}" for name, knob in known.items() for choice in knob.choices)}
    assert set(picture.idle) <= every, "a knob, or a choice of one, that changes nothing here is one of the view's"
    for mark in picture.marks():
        assert isinstance(mark, (*MARKS.values(), Group))
        if isinstance(mark, Network) and len(mark.places):
            assert ((mark.places[:, :2] + mark.places[:, 2:]).max(0) <= np.add(mark.extent, 0.01)).all(), "a box or bar lies outside its plane"
        for field in ("keys", "row_keys", "column_keys", "point_keys"):
            for key in filter(None, getattr(mark, field, ())):
                Key.parse(key)


def words_in(node: Any) -> Iterator[str]:
    """What the marks of a picture say in words."""
    for name in ("title", "caption", "label", "note"):
        if isinstance(text := getattr(node, name, None), str):
            yield text
    yield from (note for note in getattr(node, "notes", ()) if isinstance(note, str))
    for child in node.children if isinstance(node, Group) else ():
        yield from words_in(child)
