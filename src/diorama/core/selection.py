"""Keys name things (a unit, an example, a step); a selection is what the user has chosen."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import quote, unquote

from .errors import UsageError, not_found

POINTS = ("op", "query", "key", "value", "pattern", "residual")
"""Kinds of places in a model beside its layers: the name of such a point begins with its kind (``op:block.softmax``)."""
NAMED = ("run", "layer", "direction")
INDEXED = ("unit", "head", "weight")
NUMBERED = ("example", "class", "step", "token")
KINDS = NAMED + POINTS + INDEXED + NUMBERED
_SAFE = ".#_- "
_CALL = re.compile(r"#\d+$")
_NUMBERS = re.compile(r"\d+(,\d+)*")
_UNIT = re.compile(r"(?P<name>.*)/(?P<index>\d+(,\d+)*)(@(?P<place>\d+(,\d+)*))?", re.DOTALL)
"""A name may hold slashes and at-signs of its own: the number is behind the last slash, the place behind an at-sign at the end."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A reference to one thing, such as ``unit:features.3/17@5,8``.

    ``kind`` is run, layer, direction (a name), unit, head, weight (a name and numbers), example, class, step, token (numbers), or op, query, key,
    value, pattern, residual (a name, perhaps with a unit).
    ``name`` is the run, layer or direction; ``index`` the unit, head, weight position, or the number(s) of examples,
    classes, steps and tokens (two numbers mean an inclusive range); ``place`` a position in the unit's map (row, column),
    of a layer that of all its units together. What an op, a query or the like answers is a layer as any other, whose
    name begins with its kind: ``op:block.softmax`` names it, ``op:block.softmax/3`` a unit of it. Of a softmax
    over keys a unit is a key and its place a query; where it has an axis of heads (n, heads, queries, keys) a unit is a head
    and its place a query and a key. Without a place a unit is read as the mean over its places.
    """

    kind: str
    name: str = ""
    index: tuple[int, ...] = ()
    place: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind in POINTS:
            object.__setattr__(self, "name", f"{self.kind}:{self.name}")
            object.__setattr__(self, "kind", "unit" if self.index else "layer")

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key from its text; raises UsageError with the expected form."""
        kind, colon, rest = text.partition(":")
        if not colon or kind not in KINDS:
            raise (
                not_found("kind of key", kind, KINDS)
                if colon
                else UsageError(f"a key looks like 'unit:features.3/17' or 'example:4', got {text!r}")
            )
        try:
            return cls._parts(kind, rest)
        except ValueError:
            form = {
                "unit": "unit:LAYER/NUMBER",
                "head": "head:LAYER/NUMBER",
                "weight": "weight:LAYER/NUMBER,NUMBER",
                **{point: f"{point}:NAME or {point}:NAME/NUMBER" for point in POINTS},
            }.get(kind, f"{kind}:NUMBER" if kind in NUMBERED else f"{kind}:NAME")
            raise UsageError(f"a key of this kind looks like {form!r}, got {text!r}") from None

    @classmethod
    def _parts(cls, kind: str, rest: str) -> Key:
        if kind in POINTS:
            return cls._point(kind, rest)
        if kind in NAMED:
            front, at, place = rest.rpartition("@")
            if kind == "layer" and at and _NUMBERS.fullmatch(place):
                return cls(kind, unquote(front), (), _numbers(place))
            if not rest and kind != "layer":
                raise ValueError
            return cls(kind, unquote(rest))
        if kind in INDEXED:
            found = _UNIT.fullmatch(rest)
            if found is None:
                raise ValueError
            return cls(kind, unquote(found["name"]), _numbers(found["index"]), _numbers(found["place"]) if found["place"] else ())
        first, dash, last = rest.partition("-")
        span = (*_numbers(first), *(_numbers(last) if dash else ()))
        if len(span) > 2 or (len(span) == 2 and span[1] < span[0]):
            raise ValueError
        return cls(kind, "", span)

    @classmethod
    def _point(cls, kind: str, rest: str) -> Key:
        """A point, one of its units (behind the last slash), or a place in them."""
        if (found := _UNIT.fullmatch(rest)) is not None:
            return cls(kind, unquote(found["name"]), _numbers(found["index"]), _numbers(found["place"]) if found["place"] else ())
        front, at, place = rest.partition("@")
        if not front and kind == "op":
            raise ValueError
        return cls(kind, unquote(front), (), _numbers(place) if at else ())

    def __str__(self) -> str:
        place = "@" + ",".join(map(str, self.place)) if self.place else ""
        point, colon, rest = self.name.partition(":")
        if colon and point in POINTS and self.kind in ("layer", "unit"):
            unit = "/" + ",".join(map(str, self.index)) if self.index else ""
            return f"{point}:{_quoted(rest)}{unit}{place}"
        if self.kind in NAMED:
            return f"{self.kind}:{_quoted(self.name)}{place}"
        index = ",".join(map(str, self.index))
        if self.kind in INDEXED:
            return f"{self.kind}:{_quoted(self.name)}/{index}{place}"
        return f"{self.kind}:{'-'.join(map(str, self.index))}"

    @property
    def number(self) -> int:
        """The first index: the unit, example, class, step or token."""
        return self.index[0]

    @property
    def numbers(self) -> range:
        """All numbers that a range names."""
        return range(self.index[0], self.index[-1] + 1)

    @property
    def layer(self) -> str:
        """The layer that the key lies in."""
        return self.name


def together(names: Iterable[str]) -> str:
    """Several names as one text, with + between; what a name has of its own is written as in keys."""
    return "+".join(quote(name, safe=_SAFE + ":/@") for name in names)


def several(text: str) -> list[str]:
    """The names in a text that has + between them."""
    return [unquote(part) for part in text.split("+")]


def _numbers(text: str) -> tuple[int, ...]:
    if not _NUMBERS.fullmatch(text):
        raise ValueError(text)
    return tuple(int(part) for part in text.split(","))


def is_point(name: str) -> bool:
    """Whether a layer's name is that of an op, a query or the like, rather than of a module."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind in POINTS


@functools.lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    """A name as keys write it: a picture holds the same few names many times."""
    return quote(name, safe=_SAFE)


def within(path: str, name: str) -> str:
    """The full name of what lies in a module: ``l0`` in ``rnn`` is ``rnn.l0``, and in the model itself ``l0``."""
    return f"{path}.{name}" if path else name


def unit_key(layer: str, unit: int, place: Iterable[int] = ()) -> str:
    """The text of a unit's key."""
    return str(Key("unit", layer, (int(unit),), tuple(int(p) for p in place)))


def layer_key(layer: str) -> str:
    """The text of a layer's key."""
    return str(Key("layer", layer))


def spoken(name: str) -> str:
    """A layer in a sentence or a label: where its name is a mere number, as in an ``nn.Sequential``, with the word before it.

    The model itself, which is the layer where nothing below it holds weights, has no name.
    """
    return f"layer {name}" if name.replace(".", "").replace("#", "").isdigit() else name or "the model"


def spoken_unit(layer: str, unit: int) -> str:
    """A unit in a sentence or a label, as a key writes it (``conv2/7``); of a layer whose name is a mere number in words."""
    return unit_key(layer, unit).removeprefix("unit:") if spoken(layer) == layer else f"unit {unit} of {spoken(layer)}"


def spoken_weight(key: Key) -> str:
    """Numbers of a weight in a sentence or a label, as their key writes them; of a layer whose name is a mere number in words."""
    if spoken(key.name) == key.name or not key.index:
        return str(key).removeprefix("weight:")
    return f"weight {', '.join(map(str, key.index))} of {spoken(key.name)}"


def own_name(layer: str, known: Collection[str]) -> str:
    """What a layer's name means among those that there are: itself, or of a call its module (``act`` for ``act#2``), however a key
    writes it; the name without its call where it is not there.
    """
    bare = without_call(layer)
    found = next((text for text in (layer, bare, unquote(layer), unquote(bare)) if text in known), None)
    # Of a key that was read, where the name has a percent sign of its own.
    return found or next((own for own in known if "%" in own and unquote(own) in (layer, bare)), bare)


def without_call(layer: str) -> str:
    """The module that a layer's name means: ``act`` for ``act#2``, its second call."""
    return _CALL.sub("", layer)


def number_key(kind: str, *numbers: int) -> str:
    """The text of an example's, class's, step's or token's key."""
    return str(Key(kind, "", tuple(int(n) for n in numbers)))


def plainly(text: str) -> Key:
    """Read a key that may leave its kind out: with a number behind the last slash it is a unit.

    *Raises* UsageError as :meth:`Key.parse` does.
    """
    plain = text.partition(":")[0] not in KINDS and _UNIT.fullmatch(text) is not None
    return Key.parse(f"unit:{text}" if plain else text)


def as_key(kind: str, value: Any) -> Key:
    """Make a key where the kind is known, so that its prefix may be left out: ``as_key("unit", "features.3/17")``."""
    if isinstance(value, Key):
        key = value
    else:
        text = str(value)
        key = Key.parse(text if text.partition(":")[0] in KINDS else f"{kind}:{text}")
    if key.kind != kind and not (kind in POINTS and key.name.startswith(f"{kind}:")):
        raise UsageError(f"wanted a {kind}, got {str(key)!r}")
    return key


@dataclasses.dataclass(frozen=True)
class Selection:
    """The keys that the user has chosen: set A, and set B where a view compares."""

    a: tuple[Key, ...] = ()
    b: tuple[Key, ...] = ()

    @classmethod
    def of(cls, *keys: str | Key, against: Iterable[str | Key] = ()) -> Selection:
        """Build a selection from keys or their texts."""
        return cls(tuple(_key(k) for k in keys), tuple(_key(k) for k in against))

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read a selection from its text: keys joined by '+', set B after '|'."""
        first, _, second = text.partition("|")
        return cls.of(*filter(None, first.split("+")), against=filter(None, second.split("+")))

    def __str__(self) -> str:
        first, second = "+".join(map(str, self.a)), "+".join(map(str, self.b))
        return f"{first}|{second}" if second else first

    def one(self, kind: str) -> Key | None:
        """The most recently chosen key of a kind in set A."""
        return next((key for key in reversed(self.a) if key.kind == kind), None)

    def all(self, kind: str) -> tuple[Key, ...]:
        """All keys of a kind in set A, in the order they were chosen."""
        return tuple(key for key in self.a if key.kind == kind)

    def choose(self, key: str | Key) -> Selection:
        """Choose one key instead of the others of its kind."""
        chosen = _key(key)
        return dataclasses.replace(self, a=(*(k for k in self.a if k.kind != chosen.kind), chosen))


def _key(value: str | Key) -> Key:
    return value if isinstance(value, Key) else Key.parse(value)
