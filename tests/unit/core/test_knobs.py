"""A knob is declared once, and everything follows from the declaration."""

from __future__ import annotations

import dataclasses

import pytest

from diorama.core.errors import NotFound, UsageError
from diorama.core.knobs import Plugin, build, describe, knob, knobs_of


class Sample(Plugin):
    """Show a sample. More words."""

    count: int = knob(5, "how many", low=1, high=9)
    share: float = knob(0.5, "which part", low=0, high=1, unit="of all")
    sort: str = knob("index", "in which order", choices=("index", "norm"))
    each: bool = knob(False, "one scale each")
    layer: str | None = knob(None, "where to look", kind="layer")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"count": "7"}, {"count": 7}),
        ({"count": 3.0}, {"count": 3}),
        ({"share": "0.25"}, {"share": 0.25}),
        ({"share": 1}, {"share": 1.0}),
        ({"each": "yes"}, {"each": True}),
        ({"sort": "norm"}, {"sort": "norm"}),
        ({"layer": "conv1"}, {"layer": "conv1"}),
    ],
)
def test_texts_become_values(values: dict[str, object], wanted: dict[str, object]) -> None:
    """What a command line or an address says becomes the knob's own type."""
    made = build(Sample, values)
    assert {name: getattr(made, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count wants a whole number from 1 to 9, got 0"),
        ({"count": 2.5}, "whole number"),
        ({"count": True}, "whole number"),
        ({"share": float("nan")}, "share wants a number from 0 to 1 .of all."),
        ({"share": None}, "got None"),
        ({"sort": "nrom"}, "nearest: 'norm'"),
        ({"each": "perhaps"}, "yes or no"),
        ({"layer": 3}, "layer wants a layer, got 3"),
        ({"count": "a" * 10_000}, "from 1 to 9, got 'a{60}'…$"),
        ({"count": 10**5000}, "from 1 to 9, got a number of very many digits"),
    ],
)
def test_wrong_values_say_what_was_wanted(values: dict[str, object], message: str) -> None:
    """A value out of range raises UsageError with the range and what came."""
    with pytest.raises(UsageError, match=message):
        Sample(**values)


def test_an_unknown_knob_names_the_nearest() -> None:
    """A misspelt knob is answered with the knob meant."""
    with pytest.raises(NotFound, match="'count'"):
        build(Sample, {"cuont": 3})


def test_plugins_are_frozen_and_described() -> None:
    """A plug-in cannot change after it is made, and its description carries every knob."""
    sample = Sample()
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.count = 4  # type: ignore[misc]
    told = describe(Sample)
    assert told["sentence"] == "Show a sample. More words."
    assert [entry["name"] for entry in told["knobs"]] == list(knobs_of(Sample)) == list(sample.knobs())
    assert told["knobs"][4]["optional"]
