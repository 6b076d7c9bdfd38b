"""Writes what the page and a type checker know of the marks and the messages, from Python's own definitions.

``web/src/types.ts`` holds the marks, the picture and the colour tables, ``web/src/protocol.ts`` the messages,
``web/src/marks/halves.ts`` the index of the marks' browser halves, and ``core/marks/__init__.pyi`` the names of the package. A
mark or a message whose fields change breaks a type check, not the page. Run ``python -m diorama.core.typescript`` after a
change; a test fails while a file is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import colour, marks, patience, picture, protocol, selection

PAPERS = {"light": "#fbfaf8", "dark": "#131417"}
"""The two papers of the page; zero of a signed scale is the paper itself."""

_MADE = "Made by `python -m diorama.core.typescript`; not edited by hand."

_HEAD = f"""\
// {_MADE}

export type Numbers =
  Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array;

/** An array as Python sent it: rows first. */
export interface NdArray {{
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Numbers;
}}"""

_PLAIN = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}

Schema = dict[str, Any]


def types_source() -> str:
    """The whole text of ``types.ts``."""
    schemas = components(picture.Picture, picture.Progress)
    parts = [
        _HEAD,
        *(interface(name, schema) for name, schema in schemas.items()),
        f"export type Node = {' | '.join(mark.__name__ for mark in marks.MARKS.values())};",
        f"export type KeyKind = {' | '.join(map(json.dumps, selection.KINDS))};",
        f"export const KEY_KINDS: readonly KeyKind[] = {json.dumps(selection.KINDS)};",
        _STRUCTS + json.dumps({name: _form(schema) for name, schema in schemas.items()}, indent=1) + ";",
        *_palettes(),
    ]
    return "\n\n".join(parts) + "\n"


def protocol_source() -> str:
    """The whole text of ``protocol.ts``."""
    schemas = components(protocol.ToServer, protocol.FromServer, protocol.RawInput)
    waits = msgspec.to_builtins(patience.PATIENCE)
    parts = [
        f"// {_MADE}",
        f"export type KnobValue = {text_of(msgspec.json.schema(str | float | bool | None))};",
        *(interface(name, schema, fixed=False) for name, schema in schemas.items()),
        *(f"export type {name} = {_names(getattr(protocol, name))};" for name in ("RawInput", "ToServer", "FromServer")),
        "/** How long page and server wait, in milliseconds; `rest` is a factor. */",
        f"export const PATIENCE = {json.dumps({n: w if n == 'rest' else round(1000 * w) for n, w in waits.items()})} as const;",
        "/** Bytes of one message to the server at most: a longer one ends the connection. */",
        f"export const LONGEST_MESSAGE = {protocol.LONGEST_MESSAGE};",
        "/** Characters of a text that is looked at. */",
        f"export const LONGEST_TEXT = {protocol.LONGEST_TEXT};",
    ]
    return "\n\n".join(parts) + "\n"


def _names(union: Any) -> str:
    return " | ".join(kind.__name__ for kind in get_args(union))


def halves_source() -> str:
    """The whole text of ``halves.ts``."""
    lines = [f"// {_MADE}", "", 'import type { Node } from "../types.ts";']
    halves = [f'import * as {name} from "./{name}.ts";' for name in marks.MARKS]
    halves += ['import type { Half } from "./half.ts";']
    lines += [*sorted(halves, key=lambda line: line.rpartition("/")[2]), ""]
    lines += ["/** The browser half of every mark by its name. */"]
    lines += [f"export const HALVES: {{ readonly [M in Node as M[\"mark\"]]: Half<M> }} = {{ {', '.join(marks.MARKS)} }};"]
    return "\n".join(lines) + "\n"


def stub_source() -> str:
    """The whole text of the marks' ``__init__.pyi``."""
    named: dict[str, list[str]] = {"mark": ["Array", "Handle", "Mark"]}
    for name, value in vars(marks).items():
        if isinstance(value, type) and value.__module__.startswith(f"{marks.__name__}.") and name not in named["mark"]:
            named.setdefault(value.__module__.rpartition(".")[2], []).append(name)
    lines = [f"# {_MADE}", ""]
    for module, names in sorted(named.items()):
        lines += [f"from .{module} import {name} as {name}" for name in sorted(names, key=str.lower)]
    nodes = " | ".join(mark.__name__ for mark in marks.MARKS.values())
    return "\n".join([*lines, "", f"Node = {nodes}", "MARKS: dict[str, type[Mark]]"]) + "\n"


def components(*kinds: Any) -> dict[str, Schema]:
    """The JSON schemas of structs and of all that they hold, by name; an array is ``{"array": True}``."""

    def other(kind: type) -> Schema:
        if kind is np.ndarray:
            return {"array": True}
        raise TypeError(f"no TypeScript for {kind!r}")

    return msgspec.json.schema_components(kinds, schema_hook=other)[1]


def interface(name: str, schema: Schema, fixed: bool = True) -> str:
    """A struct as an interface of TypeScript, whose fields may be set where it is not ``fixed``."""
    first = " ".join(schema.get("description", "").split("\n\n")[0].split())
    needed, lines = schema.get("required", ()), []
    for field, inner in schema["properties"].items():
        often = "" if field in needed or ("default" in inner and not inner.get("unsaid")) else "?"
        lines.append(f"  {'readonly ' if fixed else ''}{field}{often}: {text_of(inner, fixed)};")
    return (f"/** {first} */\n" if first else "") + f"export interface {name} {{\n" + "\n".join(lines) + "\n}"


def text_of(schema: Schema, fixed: bool = True) -> str:
    """A schema as a type of TypeScript."""

    def inner(schema: Schema) -> str:
        return text_of(schema, fixed)

    if "typescript" in schema:
        return str(schema["typescript"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "array" in schema:
        return "NdArray"
    if schema.get("discriminator", {}).get("propertyName") == "mark":
        return "Node"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(inner, schema["anyOf"])))
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    kind, still = schema.get("type"), "readonly " if fixed else ""
    if kind == "array" and "prefixItems" in schema:
        return f"{still}[{', '.join(map(inner, schema['prefixItems']))}]"
    if kind == "array":
        item = inner(schema.get("items", {}))
        return f"{still}{f'({item})' if ' ' in item else item}[]"
    if kind == "object":
        record = f"Record<string, {inner(schema.get('additionalProperties', {}))}>"
        return f"Readonly<{record}>" if fixed else record
    return _PLAIN[kind] if kind is not None else "unknown"


_STRUCTS = """\
export interface Form {
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly nested: Readonly<Record<string, string | null>>;
}

/** What fields hold when a header leaves them out, and which fields hold structs (null: one of the marks). */
export const STRUCTS: Readonly<Record<string, Form>> = """


def _form(schema: Schema) -> dict[str, Any]:
    fields: dict[str, Schema] = schema["properties"]
    nested = {name: next(_structs(inner), "") for name, inner in fields.items()}
    return {
        "defaults": {name: inner["default"] for name, inner in fields.items() if "default" in inner},
        "nested": {name: found for name, found in nested.items() if found != ""},
    }


def _structs(schema: Schema) -> Iterator[str | None]:
    """The struct that a field holds, at whatever depth; None for one of the marks."""
    if "$ref" in schema:
        yield text_of(schema)
    elif "discriminator" in schema:
        yield None
    else:
        for inner in (*schema.get("anyOf", ()), *schema.get("prefixItems", ()), *filter(None, [schema.get("items")])):
            yield from _structs(inner)


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
)


def viridis() -> NDArray[np.uint8]:
    """The magnitude scale, twenty of viridis' own colours (van der Walt, Smith, Firing) joined in OKLab."""
    return colour.ramp(_VIRIDIS)


def targets() -> dict[Path, Callable[[], str]]:
    """Every written file of a checkout, with what it holds."""
    core = Path(__file__).parent
    page = core.parents[2] / "web" / "src"
    return {
        core / "marks" / "__init__.pyi": stub_source,
        page / "types.ts": types_source,
        page / "protocol.ts": protocol_source,
        page / "marks" / "halves.ts": halves_source,
    }


if __name__ == "__main__":
    for path, source in targets().items():
        path.write_text(source(), encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
