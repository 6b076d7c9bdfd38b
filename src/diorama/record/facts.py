"""The facts of a run: small plain data by name, checked when they are read, since a run may come from anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from ..core.errors import Damaged

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class LayerFact(msgspec.Struct):
    """A layer as the training wrote it down."""

    name: str
    kind: str = ""
    units: Count = 0
    shape: list[int] = []
    order: int = 0
    complex: bool = False
    groups: Count = 1


class HeldParameters(msgspec.Struct):
    """Which parameters no optimizer holds, which want no gradient, how many learn, and by which optimizers with which settings."""

    outside: list[str] = []
    still: list[str] = []
    count: Count = 0
    kinds: list[str] = []
    decay: float = 0.0
    momentum: float = 0.0


class IdleFact(msgspec.Struct):
    """An optimizer that steps no more, and since which step."""

    optimizer: str
    since: Count


class Likeness(msgspec.Struct):
    """What the probe set is like."""

    inputs: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)] | None = None
    balance: list[float] | None = None
    floor: float | None = None
    spread: float | None = None
    ends: Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)] | None = None
    """Between which nine of ten true values of a regression lie."""
    copied: Count | None = None
    """Of a table: the column that is the true value of a regression, shifted and scaled."""
    ahead: bool | None = None
    """Of texts whose labels are the next tokens: whether answers depend on the tokens that they are to tell."""
    turned: bool | None = None
    """Of texts that are filled up to one length: whether an attention looks at what fills them, and at nothing else."""
    again: float | None = None
    """The share of its rows that stand in it before already, where none do by chance."""
    order: Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)] | None = None
    """Of pictures: how much neighbouring rows, and columns, differ beside any two."""
    count: Count = 0
    labels: list[int] = []
    """Of classes: each example's, −100 where it has none."""
    nearest: list[int] = []
    """The label of the example whose input is most like each one's, −100 where none is known."""


class FirstBadNumber(msgspec.Struct):
    """Where the first number that is NaN or infinite came from."""

    step: Count
    where: str
    layer: str = ""
    op: str = ""
    tensor: str = ""
    examples: list[Count] = []
    count: Count = 0
    text: str = ""


class SteeredFact(msgspec.Struct):
    """The data that people change: how many examples there are, how many are changed, and how many of the probe set are among them."""

    examples: Count
    dropped: Count = 0
    relabelled: Count = 0
    weighed: Count = 0
    probe: Count = 0
    matched: Count = 0
    labels: str = ""


class ElsewhereFact(msgspec.Struct):
    """What of the shape of weights is kept elsewhere than in an optimizer's ``state``: by whom (empty: by itself), of which, and copies of which."""

    by: str
    what: str
    of: list[str] = []
    copies: list[str] = []


class MemoryFact(msgspec.Struct):
    """What an optimizer remembers, as far as acts depend on it: all weights as one, of some what is unlike them, or elsewhere."""

    optimizer: str
    joined: bool = False
    apart: dict[str, str] = {}
    how: dict[str, str] = {}
    elsewhere: list[ElsewhereFact] = []


class ActFact(msgspec.Struct):
    """What a command changed, for the page."""

    command: Count
    step: Count
    name: str = ""
    text: str = ""
    state: str = ""
    run: str = ""
    examples: str = ""


class Parent(msgspec.Struct):
    """The run beside this one from which it goes on, and the step."""

    run: str
    step: Count
    time: float | None = None


TYPES: dict[str, Any] = {
    "name": str, "model": str, "task": str, "model_error": str | None, "classes": list[str], "examples": Count,
    "parameters": list[tuple[str, list[int], str]], "buffers": list[str] | None, "layers": list[LayerFact], "guessed": list[str],
    "form": str, "ahead": bool, "reread": Count, "unasked": list[Count], "doubt": str, "measure": str, "mixing": str,
    "dropouts": list[tuple[str, float]],
    "inputs": dict[str, Any] | None, "optimizer": list[Any], "architecture": Count, "dropped": Count,
    "versions": dict[str, Any], "command": list[str], "parent": Parent | None,
    "frozen": list[tuple[str, Count, Count | None]], "left_out": list[str], "held": HeldParameters | None,
    "idle": list[IdleFact], "moved": str | None,
    "probe": Likeness, "first_bad": FirstBadNumber,
    "steered": SteeredFact, "units": dict[str, list[tuple[int, Count]]] | None,
    "acts": list[ActFact], "memory": list[MemoryFact],
}
"""What the readers of a run rely on; other facts may be any plain data."""
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_OWN = "architecture-"
"""Facts of this name and a number hold some of the others, as one architecture has them."""


def fact(key: str, text: str) -> Any:
    """A fact from its JSON. *Raises* Damaged for what is none, or of another type than it is in every run."""
    try:
        value = json.loads(text)
        msgspec.json.encode(
            value
        )  # what cannot be told to a page is refused here: half a character, a boundless number
        for name, part in (value if key.startswith(_OWN) else {key: value}).items():
            if name in TYPES:
                msgspec.convert(part, TYPES[name])
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Damaged(f"it holds a fact {key!r} that cannot be read: {error}") from None
    return value


def learnable(structure: Mapping[str, Any]) -> list[tuple[str, list[int], str]]:
    """The parameters of an architecture: what a snapshot holds beside them, as the running statistics of a batch norm, is no weight."""
    buffers = structure.get("buffers")
    told: list[tuple[str, list[int], str]] = list(structure.get("parameters") or ())
    if buffers is None:  # a run of an earlier version
        return [one for one in told if not one[0].endswith(_STATISTICS)]
    return [one for one in told if one[0] not in set(buffers)]
