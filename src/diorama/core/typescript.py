"""Writes ``web/src/types.ts``: the marks, the picture, the knobs and the colour tables as the page knows them.

The page's types are made from Python's, so that a mark whose fields change breaks the page's type check, not the page.
Run ``python -m diorama.core.typescript`` after changing a mark; a test fails while the file is stale.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import colour, knobs, marks, picture, provenance, selection

PAPERS = {"light": "#fbfaf8", "dark": "#131417"}
"""The two papers of the page; zero of a signed scale is the paper itself."""

STRUCTS: tuple[type[msgspec.Struct], ...] = (
    colour.Limits,
    marks.Handle, marks.Action, marks.Box,
    marks.Image, marks.Tiles, marks.Heatmap,
    marks.Series, marks.Event, marks.Lines,
    marks.RidgeSet, marks.Ridges, marks.Bars, marks.Field,
    marks.Block, marks.Edge, marks.Blocks,
    marks.Alternative, marks.Text,
    marks.Column, marks.Table, marks.Number, marks.Group,
    provenance.Provenance, picture.Check, picture.Progress, picture.Picture,
)  # fmt: skip

_HEAD = """\
// Made by `python -m diorama.core.typescript` from core's marks, pictures, knobs and colours; not edited by hand.

export type Numbers =
  Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array;

/** An array as Python sent it: rows first. */
export interface NdArray {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Numbers;
}"""

_PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", Any: "unknown"}


def source() -> str:
    """The whole text of ``types.ts``."""
    parts = [
        _HEAD,
        *map(_interface, STRUCTS),
        f"export type Node = {_alternatives(marks.Node)};",
        f"export type MarkName = {' | '.join(_text(name) for name in (*marks.MARKS, 'group'))};",
        _knob(),
        f"export type KeyKind = {' | '.join(map(_text, selection.KINDS))};",
        f"export const KEY_KINDS: readonly KeyKind[] = {json.dumps(selection.KINDS)};",
        _defaults(),
        *_palettes(),
    ]
    return "\n\n".join(parts) + "\n"


def _interface(struct: type[msgspec.Struct]) -> str:
    hints = get_type_hints(struct)
    lines = [f"  readonly {name}: {_type(hints[name])};" for name in struct.__struct_fields__]
    tag = struct.__struct_config__.tag
    if tag is not None:
        lines.insert(0, f"  readonly {struct.__struct_config__.tag_field}: {_text(str(tag))};")
    return _comment(struct) + f"export interface {struct.__name__} {{\n" + "\n".join(lines) + "\n}"


def _comment(kind: type) -> str:
    first = (kind.__doc__ or "").split("\n\n")[0]
    return f"/** {' '.join(first.split())} */\n"


def _type(hint: Any) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is np.ndarray:
        return "NdArray"
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == marks.Node:
        return "Node"
    if origin is Literal:
        return " | ".join(_text(str(value)) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type(argument) for argument in arguments))
    if origin is tuple:
        if arguments[-1] is ...:
            return f"readonly {_wrapped(_type(arguments[0]))}[]"
        return f"readonly [{', '.join(map(_type, arguments))}]"
    if origin is dict:
        return f"Readonly<Record<{_type(arguments[0])}, {_type(arguments[1])}>>"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint.__name__
    raise TypeError(f"no TypeScript for {hint!r}")


def _wrapped(text: str) -> str:
    return f"({text})" if " " in text else text


def _text(value: str) -> str:
    return json.dumps(value)


def _alternatives(union: Any) -> str:
    return " | ".join(kind.__name__ for kind in get_args(union))


_DESCRIPTION = """

/** A plug-in as plain data. */
export interface Description {
  readonly name: string;
  readonly title: string;
  readonly sentence: string;
  readonly knobs: readonly Knob[];
}"""


def _knob() -> str:
    hints = {**get_type_hints(knobs.Knob), "kind": knobs.Kind}
    fields = [f"  readonly {field.name}: {_type(hints[field.name])};" for field in dataclasses.fields(knobs.Knob)]
    return _comment(knobs.Knob) + "export interface Knob {\n" + "\n".join(fields) + "\n}" + _DESCRIPTION


_STRUCTS = """\
export interface Form {
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly nested: Readonly<Record<string, string | null>>;
}

/** What fields hold when a header leaves them out, and which fields hold structs (null: one of the marks). */
export const STRUCTS: Readonly<Record<string, Form>> = """


def _defaults() -> str:
    table = {
        struct.__name__: {"defaults": dict(_plain_defaults(struct)), "nested": dict(_nested(struct))}
        for struct in STRUCTS
    }
    return _STRUCTS + json.dumps(table, indent=1) + ";"


def _plain_defaults(struct: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        if field.default is not msgspec.NODEFAULT:
            yield field.name, list(field.default) if isinstance(field.default, tuple) else field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            yield field.name, field.default_factory()


def _nested(struct: type[msgspec.Struct]) -> Iterator[tuple[str, str | None]]:
    hints = get_type_hints(struct)
    for name in struct.__struct_fields__:
        found = list(_structs(hints[name]))
        if found:
            yield name, found[0].__name__ if len(found) == 1 else None


def _structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for argument in get_args(hint):
        yield from _structs(argument)


def _palettes() -> Iterator[str]:
    tables = {f"DIVERGING_{theme.upper()}": colour.diverging(paper) for theme, paper in PAPERS.items()}
    tables["VIRIDIS"] = viridis()
    yield f"export const CLASSES: readonly string[] = {json.dumps(colour.CLASSES)};"
    yield f'export const INFINITE = "{colour.INFINITE}";\nexport const NAN_INK = "{colour.NAN_INK}";'
    yield f'export const PAPERS = {{ light: "{PAPERS["light"]}", dark: "{PAPERS["dark"]}" }} as const;'
    for name, table in tables.items():
        yield f"/** {len(table)} colours, three hexadecimal bytes each. */"
        yield f'export const {name} = "{table.tobytes().hex()}";'


_VIRIDIS = (
    "#440154", "#481467", "#482576", "#453781", "#404688", "#39558c", "#33638d", "#2d718e", "#287d8e", "#238a8d",
    "#1f968b", "#20a386", "#29af7f", "#3dbc74", "#56c667", "#75d054", "#95d840", "#bade28", "#dde318", "#fde725",
)  # fmt: skip


def viridis() -> NDArray[np.uint8]:
    """The magnitude scale, twenty of viridis' own colours (van der Walt, Smith, Firing) joined in OKLab."""
    return colour.ramp(_VIRIDIS)


def target() -> Path:
    """Where ``types.ts`` lies in a checkout."""
    return Path(__file__).parents[3] / "web" / "src" / "types.ts"


if __name__ == "__main__":
    target().write_text(source(), encoding="utf-8")
    sys.stdout.write(f"wrote {target()}\n")
