"""What a class declares, read from its source: fields with type, default and meaning, and what can be called on it."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin


class Declared(NamedTuple):
    """One field."""

    name: str
    type: str
    default: str
    meaning: str
    for_all: bool
    """It is said of the whole class."""


def fields_of(kind: type) -> list[Declared]:
    """The public fields of a class and of what it derives from, each where it was declared last."""
    return list(_last(_own_fields, kind))


def _last(own: Callable[[type], Iterator[Named]], kind: type) -> Iterable[Named]:
    """What a class and what it derives from, as far as it is diorama's, have of their own: of each name the last."""
    classes = [cls for cls in reversed(kind.__mro__) if cls.__module__.startswith("diorama.")]
    return {one.name: one for cls in classes for one in own(cls)}.values()


@functools.cache
def _parsed(module: str) -> tuple[ast.Module, list[str]]:
    source = inspect.getsource(sys.modules[module])
    return ast.parse(source), source.splitlines()


def _own_fields(cls: type) -> Iterator[Declared]:
    tree, lines = _parsed(cls.__module__)
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or node.target.id[0] == "_":  # type: ignore[union-attr]
            continue
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = inspect.cleandoc(str(after.value.value))
        elif comment := re.search(r"  # (?!type:|noqa)(.*)", lines[node.end_lineno - 1][node.end_col_offset :]):  # type: ignore[operator]
            said = comment[1]
        default = "" if node.value is None else ast.unparse(node.value)
        if default.startswith("knob("):
            call: Any = node.value
            default, said = ast.unparse(call.args[0]), ast.literal_eval(call.args[1])
        elif default.startswith(("dataclasses.field(", "field(")):
            default = next((f"{ast.unparse(each.value)}()" for each in node.value.keywords if each.arg == "default_factory"), "…")  # type: ignore[union-attr]
        written = ast.unparse(node.annotation)
        inner = re.fullmatch(r"ClassVar\[(.*)\]", written)
        yield Declared(
            node.target.id, _spelled(cls, inner[1] if inner else written), default, " ".join(said.split()), inner is not None  # type: ignore[union-attr]
        )


def _spelled(cls: type, written: str) -> str:
    """A type as it is written, or the words that it allows where it is a name for these."""
    stands = vars(sys.modules[cls.__module__]).get(written)
    return " | ".join(map(repr, get_args(stands))) if get_origin(stands) is Literal else written


class Called(NamedTuple):
    """A method, or with an empty signature a property."""

    name: str
    signature: str
    meaning: str
    to_be_written: bool
    of_class: bool
    """It is called on the class: a class method, written with ``@classmethod`` and ``cls``."""


Named = TypeVar("Named", Declared, Called)


def methods_of(kind: type) -> list[Called]:
    """What can be called on a class, or read of it: the public members of its own and of what it derives from."""
    return sorted(_last(_own_methods, kind))


def _own_methods(cls: type) -> Iterator[Called]:
    for name, member in vars(cls).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", None) or getattr(member, "func", None) or member
        if (name[0] == "_" and name != "__call__") or not inspect.isfunction(function):
            continue
        reads = not inspect.isfunction(getattr(member, "__func__", member))
        text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        returns = _written(inspect.signature(function).return_annotation)
        yield Called(
            name, f": {returns}" if reads and returns else "" if reads else signature(function), text,
            getattr(function, "__isabstractmethod__", False), isinstance(member, classmethod),
        )


def signature(function: Any) -> str:
    """A signature as a reader wants it: parameters with types and defaults, without self."""
    told = inspect.signature(function)
    parts, star = [], False
    for name, one in told.parameters.items():
        if name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        stated = _allowed(function, _written(one.annotation))
        typed = f": {stated}" if stated else ""
        shown = re.sub(r"<function (.*?)(\.<locals>\.<lambda>|<lambda>)? at 0x\w+>", "…", repr(one.default))
        default = "" if one.default is one.empty else f" = {shown}" if typed else f"={shown}"
        parts.append(f"{mark}{name}{typed}{default}")
    returns = _allowed(function, _written(told.return_annotation))
    return f"({', '.join(parts)})" + (f" → {returns}" if returns else "")


def _allowed(function: Any, written: str) -> str:
    """A type of a signature, with the words that a short name in it allows."""
    known = getattr(inspect.unwrap(function), "__globals__", {})

    def whole(name: re.Match[str]) -> str:
        stands = known.get(name[0])
        return " | ".join(map(repr, get_args(stands))) if get_origin(stands) is Literal else name[0]

    return re.sub(r"\b[A-Z]\w*\b", whole, written)


def _written(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
