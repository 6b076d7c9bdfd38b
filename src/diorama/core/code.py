"""What a third party's plug-in does, told by its code: what is kept of it is then another where the code is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .registry import is_own

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def written(plugin: Any) -> str:
    """A hash of the code of a plug-in's class, of its bases, and of what these name in their own package; empty for diorama's own.

    *Meaning* it follows functions, classes and plain values by their names, as they are in this process, so that a cell which is run again and a
    file that was changed count alike. What is reached otherwise (by ``getattr``, from a file of data), and lists
    and dicts, which may be filled meanwhile, do not count.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    if is_own(cls):
        return ""
    told = hashlib.blake2b(digest_size=8)
    package = cls.__module__.partition(".")[0]
    for line in _of_class(cls, package, set()):
        told.update(line.encode(errors="replace"))
    return told.hexdigest()


def _of_class(cls: type, package: str, seen: set[int]) -> Iterator[str]:
    if id(cls) in seen or cls.__module__.partition(".")[0] != package:
        return
    seen.add(id(cls))
    for base in cls.__mro__[1:]:
        yield from _of_class(base, package, seen)
    for name, value in sorted(vars(cls).items()):
        if name == "name" or (name.startswith("__") and not isinstance(value, FunctionType)):
            continue
        yield name
        yield from _of(value, package, seen)


def _of(value: Any, package: str, seen: set[int]) -> Iterator[str]:
    """What a value says: a plain one itself, a function or a class its code; of any other thing nothing."""
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or getattr(value, "__wrapped__", None) or value
    if isinstance(value, type):
        yield from _of_class(value, package, seen)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, package, seen)
    elif isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, tuple):  # a list or a dict may be what the class writes down while it works
        for part in value:
            yield from _of(part, package, seen)
    elif isinstance(value, frozenset):  # in no order of its own
        yield repr(sorted(map(repr, value)))


def _of_function(function: FunctionType, package: str, seen: set[int]) -> Iterator[str]:
    if id(function) in seen or function.__module__.partition(".")[0] != package:
        return
    seen.add(id(function))
    yield from _of((function.__defaults__, *sorted((function.__kwdefaults__ or {}).items())), package, seen)
    for cell in function.__closure__ or ():
        try:
            yield from _of(cell.cell_contents, package, seen)
        except ValueError:  # not filled yet
            continue
    names: set[str] = set()
    yield from _of_code(function.__code__, names)
    for name in sorted(names):
        there = function.__globals__.get(name)
        yield from _of(there, package, seen)
        if isinstance(there, ModuleType) and there.__name__.partition(".")[0] == package:
            for inner in sorted(names & vars(there).keys()):
                yield from _of(vars(there)[inner], package, seen)


def _of_code(code: CodeType, names: set[str]) -> Iterator[str]:
    """The instructions and constants of a function and of those in it; the names that it looks up are put into ``names``."""
    names.update(code.co_names)
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield re.sub(r"0x[0-9a-f]+", "", repr(constant))
