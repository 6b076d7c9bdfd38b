"""Make the reference pages from the code: ``make docs``. With ``--pictures`` also the pictures of the README, by the product itself."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import diorama
from diorama import plugins
from declared import fields_of, methods_of, signature
from diorama.core import marks
from diorama.core.knobs import Plugin, knobs_of, sentence, title_of
from diorama.core.marks import MARKS
from diorama.core.registry import REGISTRIES, Registry, commands, demos, derivations, findings, projections, signals, views

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples" / "plugins"
PLUGINS = """# Plug-ins of your own

Made from the code by `make docs`. Each example is a file of `examples/plugins/`, which runs as it stands.
"""
HEAD = """# Reference

Made from the code by `make docs`; a test fails when a public name or a plug-in is missing here.
"""


def main() -> None:
    """Write docs/reference.md, and the pictures where asked."""
    parts = [HEAD, "## Public names\n"]
    parts += [_name(name, getattr(diorama, name)) for name in diorama.__all__]
    for title, registry in (
        ("Views", views),
        ("Attribution methods", diorama.methods),
        ("Derivations", derivations),
        ("Projections", projections),
        ("Signals", signals),
        ("Findings", findings),
        ("Commands", commands),
        ("Demos", demos),
    ):
        if len(registry):
            parts += [f"## {title}\n", *(_plugin(registry[name]) for name in registry)]
    parts += ["## For third parties", "", "What `diorama.plugins` offers, with an example of each kind, stands on [a page of its own](plugins.md).", ""]
    (DOCS / "reference.md").write_text("\n".join(parts))
    (DOCS / "plugins.md").write_text(plugin_page())
    if "--pictures" in sys.argv:
        from pictures import make

        make(DOCS / "pictures")


def _name(name: str, value: Any) -> str:
    text = inspect.getdoc(value) or ""
    if callable(value) and not isinstance(value, type):
        head = f"### `diorama.{name}`\n\n```python\n{name}{_signature(value)}\n```\n"
    else:
        head = f"### `diorama.{name}`\n"
    return f"{head}\n{text}\n"


def _signature(value: Any) -> str:
    parameters = inspect.signature(value).parameters.values()
    lines = [str(p).split(":")[0].strip() + (f"={p.default!r}" if p.default is not p.empty else "") for p in parameters]
    return "(" + ", ".join(lines) + ")"


def plugin_page() -> str:
    """The whole text of plugins.md: every kind with an example, then every other name, then the marks."""
    bases = [next(each for each in plugins.__all__ if getattr(plugins, each) is _base(registry)) for registry in REGISTRIES]
    parts = [PLUGINS, inspect.getdoc(plugins) or "", ""]
    for name, registry in zip(bases, REGISTRIES, strict=True):
        example = (EXAMPLES / f"own_{registry.kind.removesuffix('s')}.py").read_text()
        parts += [f"## {registry.noun[0].upper()}{registry.noun[1:]}s", "", f"Group `diorama.{registry.kind}`.", ""]
        parts += ["```python", example.rstrip(), "```", "", _exported(name, getattr(plugins, name))]
    parts += ["## What they are given, and what they give", ""]
    parts += [_exported(name, getattr(plugins, name)) for name in plugins.__all__ if name not in (*bases, "marks", "savers")]
    parts += ["### `diorama.plugins.savers`", "", "The registry of file formats.", "", "## Marks", ""]
    parts += ["What pictures are made of: `diorama.plugins.marks`. `Array` is a NumPy array; the comment of a field gives its shape.", ""]
    parts += [_exported(name, mark, "marks.") for name, mark in vars(marks).items() if _is_mark(mark)]
    return "\n".join(parts)


def _is_mark(value: Any) -> bool:
    return isinstance(value, type) and value.__module__.startswith("diorama.core.marks.")


def _base(registry: Registry) -> type:
    place, _, name = registry.base.partition(":")
    found: type = getattr(importlib.import_module(place), name)
    return found


def _exported(name: str, value: Any, place: str = "") -> str:
    """A name that third parties may rely on: what it says of itself, what it holds, what can be called on it."""
    title = f"### `diorama.plugins.{place}{name}`"
    if not isinstance(value, type):
        return "\n".join([title, "", f"`{name}{signature(value)}`", "", inspect.getdoc(value) or "", ""])
    lines = [title, "", inspect.getdoc(value) or "", ""]
    known = [field for field in fields_of(value) if field.name != "name"]
    if not known and "__init__" in vars(value):
        lines += [f"`{name}{signature(value.__init__)}`", ""]  # type: ignore[misc]
    for head, chosen in (
        ("said of the class", [field for field in known if field.for_all]),
        ("knob" if issubclass(value, Plugin) else "field", [field for field in known if not field.for_all]),
    ):
        if chosen:
            lines += [f"| {head} | type | default | meaning |", "|---|---|---|---|"]
            lines += ["| " + " | ".join(_cell(text) for text in (f"`{f.name}`", _code(f.type), _code(f.default), f.meaning)) + " |" for f in chosen]
            lines.append("")
    called = methods_of(value)
    lines += [f"- `{each.name}{each.signature}`{' (to be written)' if each.to_be_written else ''}: {each.meaning}" for each in called]
    return "\n".join([*lines, ""] if called else lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plugin(plugin: Any) -> str:
    lines = [f"### `{plugin.name}` — {title_of(plugin)}", "", sentence(plugin), ""]
    rest = (inspect.getdoc(plugin) or "").split("\n\n", 1)
    if len(rest) == 2:
        lines += [rest[1], ""]
    rows = [
        f"| `{k.name}` | {k.wanted()} | {'' if k.default is None else f'`{k.default}`'} | {k.help} |"
        for k in knobs_of(plugin).values()
    ]
    if rows:
        lines += ["| knob | takes | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
