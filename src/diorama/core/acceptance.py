"""What a class must be to be a plug-in of its kind: a registry asks before it takes one."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any, ClassVar, Literal, get_args, get_origin

import msgspec

from .errors import UsageError
from .knobs import describe


def check_plugin(plugin: Any, base: str) -> None:
    """Raise UsageError where a class is no plug-in of a kind: another base, knobs that are none, values of wrong types.

    *base* is written as ``package.module:Class``. What that class declares (``ClassVar``) must have the types it says.
    """
    from . import protocol

    place, _, attribute = base.partition(":")
    wanted = getattr(importlib.import_module(place), attribute)
    if not isinstance(plugin, type) or not issubclass(plugin, wanted):
        raise UsageError(f"it must be a class derived from diorama.plugins.{attribute}, got {plugin!r}")
    for cls in plugin.__mro__:
        module = vars(sys.modules.get(cls.__module__, sys))
        for name, annotation in vars(cls).get("__annotations__", {}).items() if issubclass(wanted, cls) else ():
            try:
                form = eval(annotation, module) if isinstance(annotation, str) else annotation  # noqa: S307 - our own bases' words
            except NameError:
                continue  # a type that only type checkers import
            if get_origin(form) is ClassVar:
                _check_type(name, getattr(plugin, name), get_args(form)[0])
    _check_class_methods(plugin)
    lacking = sorted(getattr(plugin, "__abstractmethods__", ()))
    if lacking:
        said = ", ".join(name + _signature(getattr(plugin, name)) for name in lacking)
        raise UsageError(f"it must be given what {attribute} leaves open: def {said}")
    flaw = wanted.flaw.__func__(plugin)
    if flaw is not None:
        raise UsageError(flaw)
    try:
        msgspec.convert(msgspec.to_builtins(describe(plugin)), protocol.Described)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"what it says of itself has a wrong type: {error}") from None
    plugin()  # a default that its knob refuses


def _check_class_methods(plugin: type) -> None:
    """What a base has as a class method is asked of the class, before there is a plug-in with knobs: a method of the same name must be one too."""
    for at, cls in enumerate(plugin.__mro__):
        for name, own in vars(cls).items():
            above = next((vars(base)[name] for base in plugin.__mro__[at + 1 :] if isinstance(vars(base).get(name), classmethod)), None)
            first = next(iter(inspect.signature(own).parameters.values()), None) if above is not None and inspect.isfunction(own) else None
            if above is not None and first is not None and first.kind is not first.VAR_POSITIONAL:  # which takes whatever comes
                asked = ", ".join(["cls", *list(inspect.signature(above.__func__).parameters)[1:]])
                raise UsageError(f"its {name} is asked of the class: write @classmethod above def {name}({asked})")


def _signature(function: Any) -> str:
    return "(" + ", ".join(inspect.signature(function).parameters) + ")"


def _check_type(name: str, value: Any, form: Any) -> None:
    try:
        msgspec.convert(value, form)
    except (msgspec.ValidationError, TypeError) as error:
        there = f"; there are {', '.join(get_args(form))}" if get_origin(form) is Literal else ""
        raise UsageError(f"its {name} has a wrong type: {error}{there}") from None
