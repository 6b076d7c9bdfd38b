"""Make the reference pages from the code: ``make docs``. With ``--pictures`` also the pictures of the README, by the product itself."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import diorama
from diorama import plugins
from diorama.core.knobs import Plugin, knobs_of, sentence, title_of
from diorama.core.marks import MARKS
from diorama.core.registry import commands, demos, derivations, findings, projections, signals, views

DOCS = Path(__file__).parent
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
    parts += ["## For third parties: `diorama.plugins`\n", inspect.getdoc(plugins) or "", ""]
    parts += [_exported(name, getattr(plugins, name)) for name in plugins.__all__]
    parts += ["## Marks\n", *(f"- `{name}`: {inspect.getdoc(mark)}" for name, mark in MARKS.items()), ""]
    (DOCS / "reference.md").write_text("\n".join(parts))
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


def _exported(name: str, value: Any) -> str:
    """A name that third parties may rely on; for a base class also what it declares and what a plug-in of its kind writes."""
    lines = [f"### `diorama.plugins.{name}`", "", inspect.getdoc(value) or "", ""]
    if isinstance(value, type) and issubclass(value, Plugin):
        own = [cls for cls in value.__mro__ if cls.__module__.startswith("diorama.")]
        declared = {key: None for cls in own for key, kind in cls.__annotations__.items() if "ClassVar" in str(kind)}
        methods = {
            key: member
            for cls in reversed(own)
            for key, member in vars(cls).items()
            if key[0] != "_" and inspect.isfunction(getattr(member, "__func__", member)) or key == "__call__"
        }
        if declared:
            lines += ["Declares " + ", ".join(f"`{key}`" for key in sorted(declared)) + ".", ""]
        for key, member in sorted(methods.items()):
            function = getattr(member, "__func__", member)
            must = " (to be written)" if getattr(function, "__isabstractmethod__", False) else ""
            lines.append(f"- `{key}{_signature(function)}`{must}: {sentence(function)}")
        lines.append("")
    return "\n".join(lines)


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
