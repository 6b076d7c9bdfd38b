"""A knob is a declared parameter: one line gives the check, the flag, the control, the documentation and the cache key."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import inspect
import math
import operator
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec

from .errors import UsageError, not_found

Kind = Literal[
    "number", "integer", "flag", "choice", "units", "examples", "labels", "span", "text", "numbers",
    "layer", "unit", "class", "column", "example", "signal", "series", "step", "run", "cell",
]
"""What a knob holds; "units" are the numbers of several of a layer's, "examples" those of a data set, "labels" one for each
of these, "span" is 4:12 as slices have it. The kinds after "numbers" are names resolved in the scene; None lets the view choose."""

LETTERS = 60
"""So much of a wrong value is repeated in an error."""
SCENE_KINDS = ("layer", "unit", "class", "column", "example", "signal", "series", "step", "run", "cell")


@dataclasses.dataclass(frozen=True)
class Knob:
    """One declared parameter, as the page, the command line and the docs see it."""

    name: str
    kind: Kind
    default: Annotated[Any, msgspec.Meta(extra_json_schema={"typescript": "KnobValue"})]
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    log: bool = False
    main: bool = False
    optional: bool = False

    @property
    def flag(self) -> str:
        """The knob's name on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> Any:
        """Return the value in the knob's own type, or raise UsageError that says what was wanted."""
        if value is None:
            if self.optional:
                return None
            raise UsageError(f"{self.name} wants {self.wanted()}, got None")
        if self.kind == "flag":
            return self._flag(value)
        if self.kind in ("number", "integer", "step", "example"):
            return self._number(value)
        if self.kind == "numbers":
            return numbers_text(value, self.name)
        if self.kind == "choice":
            if value not in self.choices:
                raise not_found(f"choice of {self.name}", value, self.choices)
            return str(value)
        if self.kind == "examples":
            return numbers_written(value, self.name)
        if self.kind == "labels":
            return self._labels(value)
        if self.kind == "class" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return str(int(value)) if float(value).is_integer() else repr(float(value))  # where answers are numbers, labels are as well
        if self.kind == "units":
            return self._units(value)
        if self.kind == "span":
            return self._span(value)
        if not isinstance(value, str):
            raise UsageError(f"{self.name} wants {self.wanted()}, got {_shown(value)}")
        return value

    def _span(self, value: Any) -> str | None:
        """From the first to behind the last as one text, ``4:12``; of a brush the whole numbers between its ends."""
        parts = value.split(":") if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
        if value == "" and self.optional:
            return None
        try:
            first, last = (float(part) for part in parts)
            brushed = not first.is_integer() or not last.is_integer()
            low, high = (math.ceil(first), math.floor(last) + 1) if brushed else (int(first), int(last))
        except (TypeError, ValueError, OverflowError):
            low = high = -1
        if not 0 <= low < high < 1 << 40:
            raise UsageError(f"{self.name} wants {self.wanted()}, got {str(value)[:60]!r}")
        return f"{low}:{high}"

    def _units(self, value: Any) -> str:
        """Numbers as one text: ``3,9``."""
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        words = [str(part).strip() for part in parts if str(part).strip()]
        if len(words) > 1 << 16 or not all(word.isdecimal() and len(word) < 10 for word in words):
            raise UsageError(f"{self.name} wants {self.wanted()}, got {str(value)[:60]!r}")
        return ",".join(words)

    def _labels(self, value: Any) -> str:
        """Labels as one text, ``5,cat,1``; a class whose name holds a comma is named by its index."""
        parts = value.split(",") if isinstance(value, str) else value.tolist() if hasattr(value, "tolist") else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        words = [str(part).strip() for part in parts]
        single = all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts)
        if not single or any("," in word for word in words) or (len(words) > 1 and not all(words)):
            raise UsageError(f"{self.name} wants {self.wanted()}, got {_shown(value)}")
        return ",".join(words)

    def _flag(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise UsageError(f"{self.name} wants yes or no, got {_shown(value)}")

    def _number(self, value: Any) -> float | int:
        whole = self.kind != "number"
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{self.name} wants {self.wanted()}, got {_shown(value)}") from None
        inside = (self.low is None or number >= self.low) and (self.high is None or number <= self.high)
        if isinstance(value, bool) or math.isnan(number) or not inside or (whole and not number.is_integer()):
            raise UsageError(f"{self.name} wants {self.wanted()}, got {_shown(value)}")
        return int(number) if whole else number

    def wanted(self) -> str:
        """Say in words what the knob takes."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        noun = {
            "number": "a number", "integer": "a whole number", "flag": "yes or no", "text": "text",
            "units": "numbers of units, as [3, 9] or '3,9'", "examples": "numbers of examples, as [3, 14] or '3,14,20-40'",
            "labels": "a class by its index or name, or a number, for each example, as [5, 'cat', 1] or '5,cat,1'",
            "numbers": "numbers, as [0, 100] or '0,100'",
            "span": "a span from its first place to behind its last, as (4, 12) or '4:12'",
        }.get(self.kind, f"a {self.kind}")
        if self.low is not None and self.high is not None:
            noun += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            noun += f" of at least {self.low:g}"
        elif self.high is not None:
            noun += f" of at most {self.high:g}"
        return noun + (f" ({self.unit})" if self.unit else "")


def numbers_text(value: Any, name: str) -> str:
    """Several numbers as one text, ``0,100``, from a text or a list. *Raises* UsageError for anything else."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        found = [float(part) for part in parts]
    except (TypeError, ValueError):
        found = [math.nan]
    if len(found) > 1000 or not all(math.isfinite(number) for number in found):
        raise UsageError(f"{name} wants at most 1000 finite numbers, such as 0,100, got {str(value)[:60]!r}")
    return ",".join(f"{number:.12g}" for number in found)


def numbers_listed(text: str) -> list[float]:
    """The numbers that such a text holds."""
    return [float(part) for part in text.split(",") if part]


def knob(
    default: Any,
    help: str,  # noqa: A002 - the word that every caller reads
    *,
    kind: Kind | None = None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = (),
    unit: str = "",
    log: bool = False,
    main: bool = False,
) -> Any:
    """Declare a knob as the default of a plug-in's field.

    ``low`` and ``high`` are inclusive. ``choices`` is a function where more may come, as into a registry: it is asked at each look.
    ``log`` asks for a logarithmic slider. ``main`` shows the knob in a view's head line rather than behind "more". A default of None
    makes the knob optional.

    *Raises* UsageError for a declaration that says nothing that could be checked or shown.
    """
    if kind is None:
        kind = (
            "choice" if choices  # or a function that gives them
            else "flag" if isinstance(default, bool)
            else "integer" if isinstance(default, int)
            else "number" if isinstance(default, float)
            else "text"
        )
    if not isinstance(help, str) or not help.strip():
        raise UsageError(f"a knob says in words what it does, as in knob({default!r}, \"What it does.\"), got {help!r}")
    if kind not in get_args(Kind):
        raise not_found("kind of knob", kind, get_args(Kind))
    late, choices = (choices, ()) if callable(choices) else (None, choices)
    if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
        raise UsageError(f"the choices of a knob are several texts, got {choices!r}")
    for end in (low, high):
        if end is not None and (isinstance(end, bool) or not isinstance(end, int | float)):
            raise UsageError(f"a knob's low and high are numbers, got {end!r}")
    if low is not None and high is not None and low > high:
        raise UsageError(f"a knob's low is at most its high, got {low!r} and {high!r}")
    declared = Knob("", kind, default, help, low, high, tuple(choices), unit, log, main, default is None)
    return dataclasses.field(default=default, metadata={"knob": declared, "choices": late})


def numbers_written(value: Any, name: str) -> str:
    """Numbers of examples as one short text, ``3,14,20-40``, in the order in which they came; from a text, a number or several.

    *Raises* UsageError for anything else.
    """
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if all(re.fullmatch(r"\d{1,15}(-\d{1,15})?", part) for part in parts):
            return ",".join(parts)
    else:
        with contextlib.suppress(TypeError, ValueError):
            several = [operator.index(number) for number in ([value] if isinstance(value, int) else value)]
            if all(number >= 0 for number in several):
                return ",".join(_runs(several))
    raise UsageError(f"{name} wants numbers of examples, as [3, 14] or '3,14,20-40', got {str(value)[:60]!r}")


def numbers_in(text: str) -> list[range]:
    """The runs of numbers in such a text."""
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.append(range(int(first), int(last or first) + 1))
    return found


def _runs(numbers: list[int]) -> Iterator[str]:
    """Numbers that follow each other as one run."""
    start = 0
    for k in range(1, len(numbers) + 1):
        if k == len(numbers) or numbers[k] != numbers[k - 1] + 1:
            yield str(numbers[start]) if k == start + 1 else f"{numbers[start]}-{numbers[k - 1]}"
            start = k


# To a type checker what knob() gives is the default: of specifiers it knows defaults by keyword alone.
@dataclass_transform(kw_only_default=True, frozen_default=True)
class Plugin(abc.ABC):  # noqa: B024 - each kind's own base leaves something open
    """Base of everything that is one file and one name. Subclasses become frozen dataclasses whose fields are knobs."""

    name: ClassVar[str] = ""
    """The file's name; set by the registry."""
    title: ClassVar[str] = ""
    """What the page calls it; the name with spaces when left out."""
    _asked_with: ClassVar[tuple[str, ...]] = ()
    """Words that whoever asks for one says beside its knobs: no knob can have such a name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own, above = dict(vars(cls)), _fields_above(cls)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.__doc__ = own.get("__doc__")  # a dataclass without a docstring gets its signature for one
        _refuse_what_is_no_knob(cls, own, above)

    @classmethod
    def flaw(cls) -> str | None:
        """Say in one sentence what is wrong with what the class declares, or None; a registry asks before it takes it."""
        for name in knobs_of(cls):
            if name in cls._asked_with:
                return f"its knob {name} can have no such name, which says something else where one is asked for: give it another"
        try:
            hints = get_type_hints(cls)
        except Exception:  # noqa: BLE001 - types that only a type checker finds, or that are no types
            return None
        for declared in knobs_of(cls).values():
            given, form = _GIVEN.get(declared.kind, str), hints[declared.name]
            parts = set(get_args(form)) if get_origin(form) in (Union, UnionType) else {form}
            if parts & {int, float, str, bool} and not parts & {given, *({float} if given is int else ())}:
                return (
                    f"its knob {declared.name} gives {_TYPED[given]} and is written as {getattr(form, '__name__', form)}: write "
                    f"{declared.name}: {given.__name__} = knob(…)"
                )
        return None

    def __post_init__(self) -> None:
        for declared in knobs_of(type(self)).values():
            object.__setattr__(self, declared.name, declared.check(getattr(self, declared.name)))

    def knobs(self) -> dict[str, Any]:
        """The values of all knobs, for provenance and cache keys."""
        return {name: getattr(self, name) for name in knobs_of(type(self))}


_GIVEN = {"number": float, "integer": int, "step": int, "example": int, "flag": bool}
_TYPED = {float: "a number", int: "a whole number", bool: "yes or no", str: "text"}


def _fields_above(plugin: type) -> dict[str, Any]:
    """The fields that a class inherits."""
    above = [cls for cls in plugin.__mro__[1:] if dataclasses.is_dataclass(cls)]
    return {field.name: field for cls in reversed(above) for field in dataclasses.fields(cls)}


def _refuse_what_is_no_knob(plugin: type, own: Mapping[str, Any], above: Mapping[str, Any]) -> None:
    """Refuse a default that nobody could choose: not in the page, not by a flag, and in no key of what is kept."""
    fields = {field.name: field for field in dataclasses.fields(plugin)}  # type: ignore[arg-type]
    for name, field in fields.items():
        if above.get(name) is field:
            if name in own and own[name] is not field.default:
                raise UsageError(f"{plugin.__name__}.{name} is a knob of what it derives from, and {_FORM.format(name, own[name])}")
        elif "knob" not in field.metadata and not isinstance(own.get(name), dataclasses.Field):
            default = own.get(name, ...)
            if any(name in vars(cls) for cls in plugin.__mro__[1:]):
                raise UsageError(f"{plugin.__name__}.{name} is said of the whole class: write {name} = {default!r}, without a type")
            raise UsageError(f"{plugin.__name__}.{name} is no knob, so nobody could choose it: {_FORM.format(name, default)}")


_FORM = "a knob is written {0}: … = knob({1!r}, \"What it does.\")"


_KNOBS: weakref.WeakKeyDictionary[type, dict[str, Knob]] = weakref.WeakKeyDictionary()
"""By plug-in, as every look asks for them several times."""
_LATE: weakref.WeakKeyDictionary[type, dict[str, Callable[[], tuple[str, ...]]]] = weakref.WeakKeyDictionary()
"""By plug-in the knobs whose choices are asked for at each look."""


def knobs_of(plugin: type) -> dict[str, Knob]:
    """All knobs that a plug-in declares, in order of declaration."""
    if plugin not in _KNOBS:
        declared = {field.name: field.metadata.get("knob") for field in dataclasses.fields(plugin)}
        _KNOBS[plugin] = {name: dataclasses.replace(knob, name=name) for name, knob in declared.items() if knob is not None}
        late = {field.name: field.metadata.get("choices") for field in dataclasses.fields(plugin)}
        _LATE[plugin] = {name: asked for name, asked in late.items() if asked is not None}
    late_now = {name: dataclasses.replace(_KNOBS[plugin][name], choices=tuple(asked())) for name, asked in _LATE[plugin].items()}
    return {**_KNOBS[plugin], **late_now}


def build(plugin: type, values: Mapping[str, Any]) -> Any:
    """Make a plug-in from knob values (texts are parsed), with a helpful error for an unknown knob."""
    known, own = knobs_of(plugin), getattr(plugin, "name", "") or plugin.__name__
    if not isinstance(values, Mapping):
        raise UsageError(f"{own} wants a dict of its knobs' values, got {type(values).__name__}; it has {', '.join(known) or 'none'}")
    for name in values:
        if name not in known:
            raise not_found(f"knob of {own}", name, known)
    return plugin(**{name: known[name].check(value) for name, value in values.items()})


def sentence(plugin: type) -> str:
    """The first sentence of the plug-in's docstring: its help text everywhere."""
    text = inspect.cleandoc(plugin.__doc__ or "") or f"{title_of(plugin)}."
    return " ".join(text.split("\n\n")[0].split())


def title_of(plugin: type) -> str:
    """The plug-in's title, from its name when it declares none."""
    name: str = getattr(plugin, "name", "") or plugin.__name__
    return getattr(plugin, "title", "") or name.replace("_", " ").capitalize()


def describe(plugin: type) -> dict[str, Any]:
    """A plug-in as plain data: name, title, sentence, knobs."""
    return {
        "name": getattr(plugin, "name", ""),
        "title": title_of(plugin),
        "sentence": sentence(plugin),
        "knobs": [dataclasses.asdict(declared) for declared in knobs_of(plugin).values()],
    }


def _shown(value: Any) -> str:
    """What came, as an error repeats it: of a long text or list its beginning."""
    if isinstance(value, str) and len(value) > LETTERS:
        return f"{value[:LETTERS]!r}…"
    try:
        told = repr(value)
    except ValueError:  # of a number of more than 4,300 digits
        return "a number of very many digits"
    return f"{told[:LETTERS]}…" if len(told) > LETTERS + 2 else told
