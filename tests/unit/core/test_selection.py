"""Keys, selections and addresses survive the way into a URL and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.core.errors import NotFound, UsageError
from diorama.core.selection import KINDS, Key, Selection, as_key, layer_key, number_key, spoken, unit_key

PLAN = [
    "run:a", "layer:features.3", "layer:act#2", "layer:rnn.l1.reverse", "unit:features.3/17", "unit:features.3/17@5,8",
    "head:block.2.attn/4", "weight:fc/3,1", "op:layer1.0.add", "direction:smiling", "example:4", "example:4-90",
    "class:7", "step:120", "token:12", "op:block.softmax#2/3", "op:stem.conv2d/3@5,8", "op:chunk.1", "query:attn/1",
    "pattern:block.2.attn/4", "residual:block.2", "layer:", "unit:/3", "layer:conv1@5,8",
]


@pytest.mark.parametrize("text", PLAN)
def test_keys_of_the_plan_keep_their_spelling(text: str) -> None:
    """Every key in the plan parses and prints as it stands there."""
    assert str(Key.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "unit", "unit:", "unit:a", "unit:3", "unit:a/", "unit:a/x", "unit:a/3@", "example:x", "example:9-3", "cat:3", "op:", "op:a/3@"],
)
def test_malformed_keys_are_refused_with_the_right_form(text: str) -> None:
    """A key that is none raises UsageError that shows how one looks."""
    with pytest.raises(UsageError, match="key"):
        Key.parse(text)


names = st.text(min_size=1, max_size=20)
numbers = st.integers(0, 10**6)
keys = st.one_of(
    st.builds(lambda k, n: Key(k, n), st.sampled_from(["run", "layer", "op", "direction"]), names),
    st.builds(lambda n, i, p: Key("unit", n, (i,), p), names, numbers, st.sampled_from([(), (3,), (5, 8)])),
    st.builds(lambda n, i: Key("op", n, i), names, st.sampled_from([(), (3,)])),
    st.builds(lambda k, i: Key(k, "", (i,)), st.sampled_from(["example", "class", "step", "token"]), numbers),
)


@given(st.lists(keys, max_size=4), st.lists(keys, max_size=3))
def test_any_selection_survives_its_text(a: list[Key], b: list[Key]) -> None:
    """Hostile names come back unchanged from a selection's text."""
    selection = Selection(tuple(a), tuple(b))
    assert Selection.parse(str(selection)) == selection


def test_choosing_replaces_the_key_of_its_kind() -> None:
    """A selection keeps one unit while another example stays chosen."""
    chosen = Selection.of("unit:a/1", "example:3").choose("unit:b/2")
    assert str(chosen) == "example:3+unit:b/2"
    assert chosen.one("unit") == Key("unit", "b", (2,))
    assert chosen.one("class") is None


def test_an_op_is_chosen_as_a_layer() -> None:
    """What an op answers is a layer as any other and its channels are units, so every view follows them."""
    chosen = Selection.of("layer:a", "unit:a/1").choose("op:block.softmax/2")
    assert chosen.one("unit") == Key("op", "block.softmax", (2,))
    assert (chosen.one("unit").kind, chosen.one("unit").name) == ("unit", "op:block.softmax")
    assert as_key("layer", "op:block.softmax") == as_key("op", "block.softmax") == Key.parse("op:block.softmax")


def test_the_prefix_may_be_left_out() -> None:
    """Where the kind is known, 'features.3/17' means the unit; another kind is refused."""
    assert as_key("unit", "features.3/17") == Key.parse("unit:features.3/17")
    assert as_key("example", 4) == Key.parse("example:4")
    with pytest.raises(UsageError, match="wanted a layer"):
        as_key("layer", "unit:a/1")


def test_names_are_encoded() -> None:
    """A layer whose name holds separators still has an unambiguous key."""
    for text in (layer_key("a/b@c+d|e:f"), unit_key("a/b", 3, (1, 2)), number_key("example", 4, 9)):
        assert str(Key.parse(text)) == text
    assert Selection.parse(layer_key("a+b|c")).a[0].name == "a+b|c"


def test_a_wrong_kind_names_the_nearest() -> None:
    """A typing error in the kind is answered with the kind meant."""
    with pytest.raises(NotFound, match="'unit'"):
        Key.parse("units:a/3")
    assert len(KINDS) == len(set(KINDS))


def test_a_place_of_all_a_layers_units_has_a_key() -> None:
    """A layer's key may end with a place; an at sign in a layer's own name is quoted, so that neither is taken for the other."""
    key = Key.parse("layer:features.3@5,8")
    assert (key.name, key.place) == ("features.3", (5, 8))
    assert str(key) == "layer:features.3@5,8"
    odd = Key("layer", "a@1,2")
    assert Key.parse(str(odd)) == odd
    assert Key.parse("layer:a@b").name == "a@b"


def test_a_number_as_a_name_has_a_word_before_it() -> None:
    """A layer's name that says nothing in a sentence is introduced; another stands for itself."""
    assert [spoken(name) for name in ("0", "3.1#2", "layer3.0", "")] == ["layer 0", "layer 3.1#2", "layer3.0", "the model"]
