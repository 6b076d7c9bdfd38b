"""The whole vocabulary of drawn things, one file a mark. A mark is frozen data whose shapes are checked on creation; it knows nothing of methods.

Elements of a mark may carry a *key* (clicking or brushing puts it into the shared selection), a *handle* (dragging or typing
sets a knob) or an *action* (a command to the training). Page, notebook and static export each draw marks.

A file's name is its mark's name, and its class is that name with a capital letter; what a mark is made of stands in its file
too, and all of it is found here. ``mark.py`` holds what all marks share. What a type checker knows of this package
(``__init__.pyi``) and what the page knows (``web/src``) is written from the folder by ``python -m diorama.core.typescript``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import operator
import pkgutil
import warnings
from typing import Any

import msgspec

from ..errors import LeftOut, UsageError
from .mark import Array, Handle, Mark

MARKS: dict[str, type[Mark]] = {}
"""Every mark by its name."""


def _take(name: str) -> None:
    """Take the mark of a file and what it is made of; one that cannot be used is told by its file's name and left out."""
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        mark = getattr(module, name.capitalize(), None)
        if not isinstance(mark, type) or not issubclass(mark, Mark):
            raise UsageError(f"it must define class {name.capitalize()}(Mark, …)")
    except Exception as error:  # noqa: BLE001 - whatever one file does, the others are marks
        said = f"the mark {name!r} (core/marks/{name}.py) cannot be used and is left out ({type(error).__name__}: {error})"
        with contextlib.suppress(Warning):
            warnings.warn(said, LeftOut, stacklevel=2)
        return
    MARKS[name] = mark
    globals().update({
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    })


for _found in pkgutil.iter_modules(__path__):
    if _found.name != "mark" and not _found.name.startswith("_"):
        _take(_found.name)

Node: Any = functools.reduce(operator.or_, MARKS.values())
"""A picture's body: one mark, or a group of them."""

__all__ = ["MARKS", "Array", "Handle", "Mark", "Node"]
