"""Make the reference pages from the code: ``make docs``. With ``--pictures`` also the pictures of the README, by the product itself."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import diorama
from diorama import plugins
from declared import Called, fields_of, methods_of, signature
from diorama.core import marks
from diorama.core.knobs import Plugin, knobs_of, sentence, title_of
from diorama.core.marks import mark
from diorama.core.registry import REGISTRIES, Registry, commands, demos, derivations, findings, projections, signals, views
from diorama.data.kinds import Kind
from diorama.export import cells, sheet, style, typeset
from diorama.scene import Scene

DOCS = Path(__file__).parent
PAGE = DOCS.parent / "web" / "src" / "marks"
EXAMPLES = DOCS.parent / "examples" / "plugins"
REFERENCED = (
    ("Views", views),
    ("Attribution methods", diorama.methods),
    ("Derivations", derivations),
    ("Projections", projections),
    ("Signals", signals),
    ("Findings", findings),
    ("Commands", commands),
    ("Demos", demos),
)
"""The kinds of plug-ins of which the reference has a chapter."""
SHEET = (sheet.Sheet, style.Style, cells.Cells, sheet.TextLine, sheet.Shape, sheet.Raster)
"""What a static half draws on and with, and of what a sheet consists."""
PLUGINS = """# Plug-ins of your own

Made from the code by `make docs`. Each example is a file of `examples/plugins/`, which runs as it stands.
"""
MARKS_HEAD = """# A mark of your own

Made from the code by `make docs`.

A mark is added in the project itself, in three files and a look; `CONTRIBUTING.md` says which, and which samples belong to it. What each
file may rely on stands here.

1. `src/diorama/core/marks/NAME.py`: its structure, a frozen class derived from `Mark` with its checks in `__post_init__` (that each
   field holds what its type says is checked for all, where a view's picture goes on its way). Arrays travel in
   binary; a field that holds a key makes an element choosable. The class is the file's name with a capital letter.
2. `web/src/marks/NAME.ts`: its browser half, which exports `draw` and, where it fits itself to its place, what else `Half` names.
3. `src/diorama/export/marks/NAME.py`: its static half, `draw(mark, style)`, which returns a `Sheet`.

`python -m diorama.core.typescript` then writes the page's types, the index of halves and the stub. The look is its lines in
`web/src/marks.css`, all below `.diorama`.
"""
MARKS_BROWSER = """`draw(element, mark, context, any)` fills the element once and returns what keeps it up to date. What holds of it:

- the element is its own and empty; title, caption and legend are drawn by `head`, and the mark draws into `head(…).body`;
- `update(mark)` brings a mark of the same kind, with other data and perhaps another number of elements: what is there is changed, not made anew;
- `refresh()` comes when selection, hover or theme changed, which are read from the context at that time: no half keeps them;
- arrays are `NdArray`: `shape`, rows first, and `data`, a typed array, in which NaN and infinite numbers do come;
- names and texts may be anything: they go in by `textContent` (`make`, `setText`), never as HTML, and styles by the element's `style`;
- `destroy()` comes once, after which nothing of it may still listen;
- it imports from `web/src/marks/`, `types.ts`, `picture.ts` and `colour.ts` alone, so that page, notebook and exported file draw the same.
"""
MARKS_HELP = """What the halves share:
"""
MARKS_STATIC = """## The static half

`draw(mark, style)` in `src/diorama/export/marks/NAME.py` returns a sheet with what is drawn. What holds of it:

- title and caption are drawn around it by whoever calls it; handles and actions are left out, as nobody can drag on paper;
- `style.width` is the room across: it keeps within it where it can, and says its size by `grow`; it is as high as it needs to be;
- places are layout pixels, x to the right and y down, and a text stands on its baseline;
- a long name is cut by `typeset.fit`, a sentence broken by `typeset.wrap`; numbers are written by `style.number`, as the page writes them;
- NaN and infinite numbers do come, and are drawn as such or counted, never left out in silence;
- nothing global of matplotlib may be set: sheets are drawn in several threads at once.
"""
MARKS_EXAMPLE = r'''## A whole example

A dial: a number between two ends, as a hand on a half circle. All of its parts stand here.

`src/diorama/core/marks/dial.py`. A mark is made with keywords only (`Dial(value=0.7, label="share")`), as all marks are: hence
`kw_only`, while `omit_defaults` keeps out of the message what is as it always is. A single number that is NaN or infinite comes as `null`
in the browser and as None in a picture that is read back, so its field allows None; in arrays such numbers stay what they are.

```python
"""A number between two ends, as a hand on a dial."""

from __future__ import annotations

from ..errors import UsageError
from .mark import Mark


class Dial(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A number between two ends, as a hand on a half circle."""

    value: float | None = None
    low: float = 0.0
    high: float = 1.0
    label: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """The ends stand in order."""
        if not self.low < self.high:
            raise UsageError(f"Dial.low wants to be below Dial.high, got {self.low:g} and {self.high:g}")
```

`web/src/marks/dial.ts`. `living` draws it at once, and again where its data or the theme change; `keyed` makes it choosable where it has
a key. `height` says how high it stands, title and caption not counted, so that a card makes room for it.

```ts
// A number between two ends, as a hand on a half circle.

import type { Dial } from "../types.ts";
import { make, setText, svg } from "./elements.ts";
import { format } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living } from "./keyed.ts";

const RADIUS = 40;

export const draw: Draw<Dial> = (element, first, context) => {
  const frame = head(element, "dial", context);
  const item = make("div", "dial");
  const face = svg("svg", { viewBox: "-42 -42 84 44", width: 84, height: 44 });
  const arc = svg("path", { d: `M ${-RADIUS} 0 A ${RADIUS} ${RADIUS} 0 0 1 ${RADIUS} 0`, class: "dial-arc" });
  const hand = svg("line", { x1: 0, y1: 0, class: "dial-hand" });
  const words = make("div", "dial-words");
  face.append(arc, hand);
  item.append(face, words);
  frame.body.append(item);
  const keys = keyed(frame.body, context, { role: "button" });
  let mark = first;

  function paint(): void {
    frame.update(mark, null, context.theme);
    const { value, low, high } = mark;
    hand.style.display = value === null ? "none" : "";
    if (value !== null) {
      const angle = Math.PI * Math.min(1, Math.max(0, (value - low) / (high - low)));
      hand.setAttribute("x2", String(-0.9 * RADIUS * Math.cos(angle)));
      hand.setAttribute("y2", String(-0.9 * RADIUS * Math.sin(angle)));
    }
    setText(words, `${format(value)} ${mark.label}`.trim());
    keys.set([item], [{ keys: mark.key ? [mark.key] : [], describe: () => [mark.label, format(mark.value)] }]);
  }

  return living(element, context, keys, paint, (next) => {
    mark = next;
  });
};

export function height(): number {
  return 60;
}
```

`src/diorama/export/marks/dial.py`:

```python
"""A number between two ends, as a hand on a half circle."""

from __future__ import annotations

import math

import numpy as np

from ...core.marks import Dial
from .. import typeset
from ..sheet import Sheet
from ..style import INK, LABEL, MUTED, Style, number

_RADIUS = 40.0


def draw(mark: Dial, style: Style) -> Sheet:
    """The half circle, the hand where the number is, and the number with its label below."""
    sheet = Sheet()
    around = np.linspace(0.0, math.pi, 41)
    sheet.line(_RADIUS - _RADIUS * np.cos(around), _RADIUS - _RADIUS * np.sin(around), MUTED, 2.0)
    value = math.nan if mark.value is None else mark.value
    if math.isfinite(value):
        angle = math.pi * min(1.0, max(0.0, (value - mark.low) / (mark.high - mark.low)))
        tip = (_RADIUS - 0.9 * _RADIUS * math.cos(angle), _RADIUS - 0.9 * _RADIUS * math.sin(angle))
        sheet.line([_RADIUS, tip[0]], [_RADIUS, tip[1]], INK, 2.0)
    words = typeset.fit(f"{number(value)} {mark.label}".strip(), LABEL, style.width)
    wide = sheet.text(0.0, _RADIUS + 16.0, words, LABEL, INK)
    sheet.grow(max(2 * _RADIUS, wide), _RADIUS + 20.0)
    return sheet
```

The look, at the end of `web/src/marks.css`:

```css
/* dial */
.diorama .dial { outline: none; width: max-content; }
.diorama .dial-arc { fill: none; stroke: var(--muted); stroke-width: 2; }
.diorama .dial-hand { stroke: var(--ink); stroke-width: 2; }
.diorama .dial-words { font-size: var(--small); }
```

After `python -m diorama.core.typescript` a view yields it as any other: `marks.Dial(value=0.7, label="share", key="unit:conv1/3")`.
'''
MARKS_COLOURS = """What a look may use, by `var(…)`: it follows the theme. `Theme` is "light" or "dark"; the colours of a scale and of classes
come from `colour.ts`. `--ink` is for what is read, `--muted` for what stands beside it, `--hairline` for thin lines,
`--wash` for quiet areas, `--raised` for cards on the `--paper`, `--accent` for what is chosen, `--positive` and `--negative` for signs.
"""
MARKS_PAPER = """Colours, sizes of letters in layout pixels, and faces of paper, from `diorama.export.style`; there is no dark figure.
`TITLE` is for a figure's title, `TEXT` for what is read, `LABEL` for axes, notes and captions, `TINY` for what has no more room.
"""
HELPERS = (
    "head:head", "head:legendIn", "elements:make", "elements:setText", "elements:setName", "elements:ensure", "elements:svg", "keyed:keyed",
    "keyed:living", "context:stateOf", "context:howOf", "format:format", "format:withUnit",
)
"""What most browser halves call."""
HEAD = """# Reference

Made from the code by `make docs`; a test fails when a public name or a plug-in is missing here.
"""


def main() -> None:
    """Write docs/reference.md, and the pictures where asked."""
    parts = [HEAD, "## Public names\n"]
    parts += [_name(name, getattr(diorama, name)) for name in diorama.__all__]
    for title, registry in REFERENCED:
        if len(registry):
            parts += [f"## {title}\n", *(_plugin(registry[name]) for name in registry)]
    parts += ["## For third parties", "", "What `diorama.plugins` offers, with an example of each kind, stands on [a page of its own](plugins.md).", ""]
    (DOCS / "reference.md").write_text("\n".join(parts))
    (DOCS / "plugins.md").write_text(plugin_page())
    (DOCS / "marks.md").write_text(mark_page())
    if "--pictures" in sys.argv:
        from pictures import make

        make(DOCS / "pictures")


def _name(name: str, value: Any) -> str:
    text = inspect.getdoc(value) or ""
    if isinstance(value, Registry):
        title, place = next(entry for entry in REFERENCED if entry[1] is value)
        text = (
            f"Every {place.noun} by name, as a mapping: what each is stands under [{title}](#{title.lower().replace(' ', '-')}). Those of "
            "third parties are there as well; one that cannot be used is named in `broken`, with the reason."
        )
        head = f"### `diorama.{name}`\n"
    elif callable(value) and (not isinstance(value, type) or issubclass(value, (Kind, Scene))):
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
        more = (EXAMPLES / f"{registry.kind.removesuffix('s')}_of_derivation.py")
        several = [example] + ([more.read_text()] if more.exists() else [])
        parts += [line for each in several for line in ("```python", each.rstrip(), "```", "")]
        parts += [_exported(name, getattr(plugins, name))]
    parts += ["## What they are given, and what they give", ""]
    parts += [_exported(name, getattr(plugins, name)) for name in plugins.__all__ if name not in (*bases, "marks", "savers")]
    parts += ["### `diorama.plugins.savers`", "", "The registry of file formats.", "", "## Marks", ""]
    parts += ["What pictures are made of: `diorama.plugins.marks`. `Array` is a NumPy array; the comment of a field gives its shape.", ""]
    parts += [_exported(name, mark, "diorama.plugins.marks.") for name, mark in vars(marks).items() if _is_mark(mark)]
    return "\n".join(parts)


def mark_page() -> str:
    """The whole text of marks.md: which files a mark is, and what its two halves may rely on."""
    parts = [MARKS_HEAD, MARKS_EXAMPLE, "## The browser half\n", MARKS_BROWSER]
    parts += [f"```ts\n{_declared(PAGE / name)}\n```\n" for name in ("half.ts", "context.ts")]
    parts += [MARKS_HELP, *(f"- `{name}`: {text}" for name, text in map(_told, HELPERS)), "", "What `head` and `keyed` take and give:", ""]
    parts += [f"```ts\n{_declared(PAGE / name)}\n```\n" for name in ("head.ts", "keyed.ts")]
    parts += ["### Colours and sizes of the page", "", MARKS_COLOURS, *_variables(), ""]
    parts += [MARKS_STATIC, "### Colours and sizes of paper", "", MARKS_PAPER, *_constants(), ""]
    parts += [_exported(each.__name__, each, f"{each.__module__}.") for each in SHEET]
    parts += [_exported(name, getattr(cells, name), "diorama.export.cells.") for name in ("colour", "pixels")]
    for place, names in ((style, ("number", "short", "with_unit")), (typeset, ("width", "fit", "wrap"))):
        parts += [_exported(name, getattr(place, name), f"{place.__name__}.") for name in names]
    parts += [_exported(name, getattr(mark, name), "diorama.core.marks.mark.") for name in ("Mark", "check_shape", "check_length", "span")]
    return "\n".join(parts)


def _variables() -> list[str]:
    """The variables of the page's look, with what they are on the light and on the dark paper."""
    text = (PAGE.parent / "tokens.css").read_text()
    light, dark = (dict(re.findall(r"^  (--[\w-]+): (.*);$", block, re.M)) for block in re.findall(r"^\.diorama.*?^}", text, re.M | re.S)[:2])
    rows = [f"| `{name}` | `{value}` | {_code(dark.get(name, ''))} |" for name, value in light.items()]
    return ["| variable | value | on dark paper |", "|---|---|---|", *rows]


def _constants() -> list[str]:
    """The constants of the look of paper."""
    found = {name: value for name, value in vars(style).items() if name.isupper()}
    return ["| name | value |", "|---|---|", *(f"| `{name}` | `{value!r}` |" for name, value in found.items())]


def _declared(path: Path) -> str:
    """What a file of the page declares for others: its exported types, as they stand."""
    found = re.findall(r"(?:^/\*\*[^\n]*\*/\n)?^export (?:type [^;]*;|interface .*?^})", path.read_text(), re.M | re.S)
    return "\n\n".join(found)


def _told(helper: str) -> tuple[str, str]:
    """A function of the page by its signature, and what the line above it says."""
    file, name = helper.split(":")
    found = re.search(rf"^/\*\* (.*?) \*/\nexport function ({name}.*?) {{$", (PAGE / f"{file}.ts").read_text(), re.M)
    assert found, f"web/src/marks/{file}.ts says nothing of {name}"
    return f"{file}.ts: {found[2]}", found[1]


def _is_mark(value: Any) -> bool:
    return isinstance(value, type) and value.__module__.startswith("diorama.core.marks.")


def _base(registry: Registry) -> type:
    place, _, name = registry.base.partition(":")
    found: type = getattr(importlib.import_module(place), name)
    return found


def _exported(name: str, value: Any, place: str = "diorama.plugins.") -> str:
    """A name that others may rely on: what it says of itself, what it holds, what can be called on it."""
    title = f"### `{place}{name}`"
    if not isinstance(value, type):
        return "\n".join([title, "", f"`{name}{signature(value)}`", "", inspect.getdoc(value) or "", ""])
    lines = [title, "", inspect.getdoc(value) or "", ""]
    known = [field for field in fields_of(value) if field.name != "name" or not issubclass(value, Plugin)]  # a plug-in's is given by its registry
    if not known and "__init__" in vars(value):
        lines += [f"`{name}{signature(value.__init__)}`", ""]  # type: ignore[misc]
    if not issubclass(value, Plugin) and (told := _keywords(name, value, place)):
        lines += [told, ""]
    for head, chosen in (
        ("said of the class", [field for field in known if field.for_all]),
        ("knob" if issubclass(value, Plugin) else "field", [field for field in known if not field.for_all]),
    ):
        if chosen:
            lines += [f"| {head} | type | default | meaning |", "|---|---|---|---|"]
            lines += ["| " + " | ".join(_cell(text) for text in (f"`{f.name}`", _code(f.type), _code(f.default), f.meaning)) + " |" for f in chosen]
            lines.append("")
    called = methods_of(value)
    lines += [f"- `{each.name}{each.signature}`{_written(each)}: {each.meaning}" for each in called]
    return "\n".join([*lines, ""] if called else lines)


def _keywords(name: str, value: type, place: str) -> str:
    """That a value is made with keywords only, where it is, with those that it needs."""
    if not hasattr(value, "__struct_fields__"):
        return ""
    known = inspect.signature(value).parameters.values()
    if any(each.kind is not each.KEYWORD_ONLY for each in known):
        return ""
    needed = [each.name for each in known if each.default is each.empty] or [next(iter(known)).name]
    called = ("marks." if "marks" in place else "") + name
    return f"Made with keywords only: `{called}({', '.join(f'{each}=…' for each in needed)})`."


def _written(called: Called) -> str:
    """How a method is written, where that is not as its signature says."""
    return " (to be written)" if called.to_be_written else " (a class method)" if called.of_class else ""


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
