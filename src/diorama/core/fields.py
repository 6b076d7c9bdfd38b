"""What the fields of a picture may hold, as their types say it: checked whole before the page gets it, which would draw anything else as nothing."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from msgspec import inspect

Flaw = tuple[str, Any, str] | None
"""Where a value is that its field cannot hold, that value, and what it holds; None where there is none."""
_Check = Callable[[Any], Flaw]

WIDEST = 8
"""Bytes of one number of an array at most: browsers have no wider ones."""


def flaw(value: object) -> str | None:
    """What is wrong with the fields of a struct or a dataclass and of all that it holds, in words: ``Number.unit must be text, and is 3``.

    *Cost*: types that are alike are told apart by Python's own loops: some microseconds a mark.
    """
    found = _of_class(type(value))(value)  # type: ignore[arg-type]  # every class has a hash
    if found is None:
        return None
    where, came, wanted = found
    return f"{where} must be {wanted}, and is {_short(came)}"


@functools.cache
def _of_class(cls: type) -> _Check:
    """The check of one class, made once; that of a field when it first holds something else than it does by default."""
    name, defaults, checks = cls.__name__, list(_defaults(cls).items()), dict[str, tuple[_Check, frozenset[type]]]()

    def check(value: Any) -> Flaw:
        for field, default in defaults:
            held = getattr(value, field)
            if held is default:
                continue
            if field not in checks:
                form = _annotated(cls, field)
                checks[field] = _of(form), _plain_types(form)
            each, plain = checks[field]
            # Most fields are settled here: a mark has up to twenty, and each call costs what the look does.
            if type(held) not in plain and (found := each(held)) is not None:
                where, came, wanted = found
                return (where if where[:1].isalpha() else f"{name}.{field}{where}"), came, wanted
        return None

    return check


def _defaults(cls: type) -> dict[str, Any]:
    """The fields of a struct or a dataclass, each with the very object that it holds where nothing is said; none for any other class."""
    if dataclasses.is_dataclass(cls):
        return {field.name: msgspec.NODEFAULT if field.default is dataclasses.MISSING else field.default for field in dataclasses.fields(cls)}
    names = getattr(cls, "__struct_fields__", ())
    told = getattr(cls, "__struct_defaults__", ())
    return dict(zip(names, [*[msgspec.NODEFAULT] * (len(names) - len(told)), *told], strict=True))


def _annotated(cls: type, field: str) -> inspect.Type:
    """The type of one field: to work out those of all takes some microseconds each, and a picture uses few."""
    owner = next(base for base in cls.__mro__ if field in base.__dict__.get("__annotations__", ()))
    said = owner.__annotations__[field]
    words = said.split(" | ") if isinstance(said, str) else ()
    if words and _WORDS.keys() >= set(words):
        plain = tuple(_WORDS[word] for word in words)
        return plain[0] if len(plain) == 1 else inspect.UnionType(plain)
    alone = types.SimpleNamespace(__annotations__={field: said})
    return _form(typing.get_type_hints(alone, vars(sys.modules[owner.__module__]))[field])


_WORDS: dict[str, inspect.Type] = {
    "str": inspect.StrType(), "float": inspect.FloatType(), "int": inspect.IntType(), "bool": inspect.BoolType(), "None": inspect.NoneType()}
"""Plain types as they are written."""


def _form(form: Any) -> inspect.Type:
    """A type as msgspec tells it, but for the fields of the structs in it: looking up those of all marks takes a tenth of a second, of which
    a picture needs those of three or four."""
    origin, items = typing.get_origin(form), typing.get_args(form)
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        return inspect.StructType(form, ())
    if dataclasses.is_dataclass(form):
        return inspect.AnyType()
    if origin in (typing.Union, types.UnionType):
        return inspect.UnionType(tuple(_form(item) for item in items))
    if origin is tuple and items[1:] == (...,):
        return inspect.VarTupleType(_form(items[0]))
    if origin is tuple:
        return inspect.TupleType(tuple(_form(item) for item in items))
    if origin is list:
        return inspect.ListType(_form(items[0]))
    if origin is dict:
        return inspect.DictType(_form(items[0]), _form(items[1]))
    if origin is np.ndarray:
        return inspect.CustomType(np.ndarray)
    return inspect.type_info(form)


def _of(form: inspect.Type) -> _Check:
    match form:
        case inspect.StructType(cls=cls):
            return _kinds({cls: _of_class(cls)}, _named(cls))
        case inspect.UnionType(types=types):
            return _union(types)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return _many(item)
        case inspect.TupleType(item_types=items):
            return _fixed([_of(item) for item in items])
        case inspect.DictType(key_type=key, value_type=item):
            return _mapping(_of(key), _of(item))
        case inspect.LiteralType(values=values):
            choices = frozenset(values)
            return lambda value: None if isinstance(value, str) and value in choices else ("", value, " or ".join(map(repr, values)))
        case inspect.CustomType(cls=np.ndarray):
            return _array
    if type(form) not in _PLAIN:  # whatever it is, or a type that no mark has yet
        return lambda _: None
    kinds, wanted = _PLAIN[type(form)]
    return lambda value: None if type(value) in kinds or _plain(value, form) else ("", value, wanted)


_PLAIN: dict[type, tuple[frozenset[type], str]] = {
    inspect.StrType: (frozenset({str}), "text"),
    inspect.FloatType: (frozenset({float, int}), "a number"),
    inspect.IntType: (frozenset({int}), "a whole number"),
    inspect.BoolType: (frozenset({bool}), "True or False"),
    inspect.NoneType: (frozenset({type(None)}), "None"),
}
"""The types that nearly all values of a kind have, which one look tells, and the kind in words."""


def _plain_types(form: inspect.Type) -> frozenset[type]:
    """Types of which every value fits, whatever else does."""
    forms = form.types if isinstance(form, inspect.UnionType) else (form,)
    return frozenset[type]().union(*(_PLAIN[type(each)][0] for each in forms if type(each) in _PLAIN))


def _plain(value: Any, form: inspect.Type) -> bool:
    """Whether a value is of a plain kind by another type: NumPy's numbers are sent as plain ones."""
    match form:
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.FloatType():
            return isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int | np.integer) and not isinstance(value, bool)
        case inspect.BoolType():
            return isinstance(value, np.bool_)
    return False


def _union(forms: Iterable[inspect.Type]) -> _Check:
    forms = list(forms)
    structs = {form.cls: _of_class(form.cls) for form in forms if isinstance(form, inspect.StructType)}
    plain = _plain_types(inspect.UnionType(tuple(forms)))
    others = [_of(form) for form in forms if not isinstance(form, inspect.StructType)]
    of_struct = _kinds(structs, " or ".join(map(_named, structs)) if len(structs) < 4 else "a mark")

    def check(value: Any) -> Flaw:
        kind = type(value)
        if kind in plain:
            return None
        if kind in structs or not others:
            return of_struct(value)
        tried = [each(value) for each in others]
        if None in tried:
            return None
        if isinstance(value, tuple | list | dict):  # what it holds is wrong, rather than what it is
            deepest = max((found for found in tried if found is not None), key=lambda found: len(found[0]))
            if deepest[0]:
                return deepest
        wanted = sorted([found[2] for found in tried if found is not None] + [_named(cls) for cls in structs], key="None".__eq__)
        return "", value, " or ".join(dict.fromkeys(wanted))

    return check


def _kinds(structs: dict[type, _Check], wanted: str) -> _Check:
    def check(value: Any) -> Flaw:
        found = structs.get(type(value))
        return found(value) if found is not None else ("", value, wanted)

    return check


def _many(item: inspect.Type) -> _Check:
    each = _of(item)
    alike = _PLAIN[type(item)][0] if type(item) in _PLAIN else frozenset()

    def check(values: Any) -> Flaw:
        if not isinstance(values, tuple | list):
            return "", values, "a tuple"
        if alike and alike.issuperset(map(type, values)):
            return None
        for index, value in enumerate(values):
            found = each(value)
            if found is not None:
                where, came, wanted = found
                return (where if where[:1].isalpha() else f"[{index}]{where}"), came, wanted
        return None

    return check


def _fixed(items: list[_Check]) -> _Check:
    def check(values: Any) -> Flaw:
        if not isinstance(values, tuple | list) or len(values) != len(items):
            return "", values, f"a tuple of {len(items)}"
        for index, (each, value) in enumerate(zip(items, values, strict=True)):
            found = each(value)
            if found is not None:
                return f"[{index}]{found[0]}", *found[1:]
        return None

    return check


def _mapping(key: _Check, item: _Check) -> _Check:
    def check(values: Any) -> Flaw:
        if not isinstance(values, dict):
            return "", values, "a dict"
        for name, value in values.items():
            found = key(name) or item(value)
            if found is not None:
                return f"[{name!r}]{found[0]}", *found[1:]
        return None

    return check


def _array(value: Any) -> Flaw:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= WIDEST:
        return None
    return "", value, "an array of real numbers"


def _named(cls: type) -> str:
    return f"a{'n' if cls.__name__[0] in 'AEIOU' else ''} {cls.__name__}"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
