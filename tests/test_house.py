"""The rules of the house, as ARCHITECTURE.md states them."""

from __future__ import annotations

import ast
import functools
import gc
import inspect
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripts

import diorama.plugins
from diorama.core.marks import MARKS
from diorama.core.registry import REGISTRIES, commands, demos, derivations, findings, projections, signals, views
from diorama.plugins import FORMER

ROOT = Path(__file__).parents[1]
GENERATED = {"types.ts", "protocol.ts"}
SOURCE = ROOT / "src" / "diorama"
PYTHON = sorted(SOURCE.rglob("*.py"))
# A room imports these rooms and no other: each stands further down.
IMPORTS: dict[str, set[str]] = {
    "__main__": {"cli"},
    "plugins": {"core", "data", "derive", "export", "gallery", "methods", "model", "record", "scene", "training", "views"},
    "cli": {"core", "data", "derive", "live", "record", "run", "scene", "server", "training"},
    "gallery": {"core", "data", "record", "training"},
    "server": {"core", "live", "model", "run"},
    "notebook": {"core", "export"},
    "live": {"core", "data", "record", "run", "scene", "views"},
    "export": {"core"},
    "views": {"core", "data", "derive", "methods", "model", "record", "run", "scene"},
    "run": {"core", "data", "record", "scene"},
    "derive": {"core", "data", "methods", "model", "record", "scene"},
    "scene": {"core", "data", "model", "record"},
    "methods": {"core", "data", "model"},
    "record": {"core", "data", "model", "training"},
    "training": {"core", "data", "model"},
    "model": {"core", "data"},
    "data": {"core"},
    "core": set(),
}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _module(path: Path) -> str:
    parts = ("diorama", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, read once for all rules."""
    return tuple(ast.walk(ast.parse(path.read_text())))


@pytest.fixture(autouse=True, scope="module")
def _let_go() -> Iterator[None]:
    """The collector does not walk over millions of nodes again and again, and they are not left to the tests that follow."""
    gc.disable()
    yield
    _nodes.cache_clear()
    gc.enable()


@functools.cache
def _imports(path: Path) -> set[str]:
    """All diorama modules that a file imports, those inside functions included; those for type checking only left out."""
    module = _module(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    hidden = {
        id(inner)
        for node in _nodes(path)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in _nodes(path):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("diorama")}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            if base.startswith("diorama"):
                found |= {f"{base}.{alias.name}" for alias in node.names} if base == "diorama" else {base}
    return found


@pytest.mark.parametrize("path", [p for p in PYTHON if p != SOURCE / "__init__.py"], ids=_module)
def test_imports_point_down(path: Path) -> None:
    """A file imports only from its own room and the rooms that its room may use."""
    room = _room(_module(path))
    wrong = {name for name in _imports(path) if _room(name) not in IMPORTS[room] | {room}}
    assert not wrong, f"{_module(path)} is in {room!r} and must not import {sorted(wrong)}"


def test_what_a_room_may_import_is_what_it_does() -> None:
    """The table of imports names no room that is not used, and only rooms further down."""
    used: dict[str, set[str]] = {room: set() for room in IMPORTS}
    for path in PYTHON:
        if path != SOURCE / "__init__.py":
            room = _room(_module(path))
            used[room] |= {_room(name) for name in _imports(path)} - {room}
    assert used == IMPORTS
    order = list(IMPORTS)
    assert all(order.index(below) > order.index(room) for room, rooms in IMPORTS.items() for below in rooms)


def _sources() -> list[Path]:
    web = [
        p for p in (ROOT / "web" / "src").rglob("*") if p.suffix in (".ts", ".svelte", ".css") and p.name not in GENERATED
    ]
    return [*PYTHON, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py")), *sorted(web)]


def test_files_stay_under_500_lines() -> None:
    """No source file is longer than 500 lines; 400 are a reason to look."""
    long = {str(p.relative_to(ROOT)): n for p in _sources() if (n := len(p.read_text().splitlines())) > 500}
    assert not long


# Words that what users type fixes for two things: kinds of input, and marks.
TYPED_TWICE = {"Image", "Series", "Table"}
MESSAGES = SOURCE / "core" / "protocol.py"


def test_no_class_name_stands_twice() -> None:
    """One word is one thing: no two classes share a name, save that a message is called after what it tells of, behind `protocol.`

    No constant of a file is told twice either.
    """
    places: dict[str, list[str]] = {}
    taken: list[tuple[str, str]] = []
    twice: list[tuple[str, str]] = []
    for path in PYTHON:
        place = str(path.relative_to(SOURCE))
        for node in _nodes(path):
            if isinstance(node, ast.ClassDef) and path != MESSAGES:
                places.setdefault(node.name, []).append(place)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("protocol"):
                taken += [(place, alias.name) for alias in node.names]
            elif isinstance(node, ast.Module):
                told = [n.id for one in node.body if isinstance(one, ast.Assign) for n in one.targets if isinstance(n, ast.Name)]
                twice += [(place, name) for name in set(told) if told.count(name) > 1]
    assert not twice  # the second would take the place of the first wherever that is read
    assert not {name: files for name, files in places.items() if len(files) > 1 and name not in TYPED_TWICE}
    assert not [(place, name) for place, name in taken if name in places]


def test_a_plug_in_is_called_after_its_file_and_its_kind() -> None:
    """The class of a view, derivation, signal, command or demo is its file's name with the word for its kind: GatesView, GatesDerivation."""
    wrong = []
    kinds = {"View": views, "Derivation": derivations, "Signal": signals, "Command": commands, "Demo": demos}
    for kind, registry in kinds.items():
        for name, plugin in registry.items():
            wanted = name.title().replace("_", "") + kind
            if plugin.__module__.startswith("diorama.") and plugin.__name__ != wanted:
                wrong.append(f"{plugin.__module__}: {plugin.__name__} is {wanted}")
    assert not wrong


def test_no_drawer_for_odds_and_ends() -> None:
    """No module is called utils, misc, helpers, common or manager."""
    odd = [str(p) for p in _sources() if re.search(r"util|misc|helper|common|manager", p.stem)]
    assert not odd


# Nouns of the field or of the language; what a run's pickles name by its place (the kinds of input, a module that is followed) stays where it is.
NOUNS = {"clipping", "drawing", "lettering", "nesting", "padding", "pooling", "rounding", "wiring"}
NAMED_IN_RUNS = {"data/measured.py", "training/surgery/followed.py"}


def test_files_are_named_by_nouns() -> None:
    """A file's name ends in the noun of what is in it, and in no participle; plug-ins bear the names under which they are found."""
    found = {Path(inspect.getfile(one)) for all_of in REGISTRIES for name, one in all_of.items() if not all_of.is_foreign(name)}
    named = [path for path in PYTHON if path not in found and path.name != "__init__.py"]
    last = {str(path.relative_to(SOURCE)): path.stem.rpartition("_")[2] for path in named}
    participles = {place for place, word in last.items() if re.search("(ing|ed)$", word) and word not in NOUNS}
    assert participles == NAMED_IN_RUNS


# Words that look like participles and are nouns of the field or of the language, and those that are none whatever they end in.
NAMED_BY_ING = NOUNS | {
    "clustering", "crossing", "finding", "grouping", "mapping", "matching", "opening", "painting", "reading", "sampling", "setting", "training",
}
NO_NOUNS = {
    "about", "above", "along", "apart", "aside", "bad", "before", "begun", "behind", "beside", "between", "beyond", "broken", "current",
    "done", "drawn", "due", "equal", "given", "gone", "grown", "held", "hidden", "incremental", "kept", "known", "laid", "lost", "made",
    "neutral", "new", "old", "opaque", "other", "own", "partial", "read", "same", "seen", "shown", "shut", "sure", "strongest", "taken",
    "told", "under", "untold", "up", "written", "wrong",
}


def test_classes_are_named_by_nouns() -> None:
    """A class's name ends in a noun. Errors tell what happened, plug-ins bear their names, messages stand behind ``protocol.``, and a run's
    pickles name the modules of demos and those that acts put in.
    """
    odd = set()
    for path in PYTHON:
        place = str(path.relative_to(SOURCE))
        for node in _nodes(path):
            if not isinstance(node, ast.ClassDef) or place == "core/protocol.py" or place.startswith("gallery/") or place in NAMED_IN_RUNS:
                continue
            error = any(re.search("Error|Exception|NotApplicable", ast.unparse(base)) for base in node.bases)
            plugin = place.startswith("record/findings/") and node.name.lower() == path.stem.replace("_", "")
            word = re.findall("[A-Z]?[a-z0-9]*", node.name.lstrip("_"))[-2].lower() if not error and not plugin else ""
            if word in NO_NOUNS or (re.search("(ing|ed)$", word) and word not in NAMED_BY_ING):
                odd.add(f"{place}: {node.name}")
    assert not odd


def test_names_that_plugins_knew_stand_for_the_same_classes() -> None:
    """A plug-in that was written before classes were named by nouns is imported as it was."""
    assert {name: getattr(diorama.plugins, name) for name in FORMER} == {name: getattr(diorama.plugins, new) for name, new in FORMER.items()}
    with pytest.raises(AttributeError, match="Nonesuch"):
        diorama.plugins.Nonesuch  # noqa: B018 - it is the asking that raises


def _yields(node: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Where a function yields within a ``with`` of its own: the line, and each thing that is entered there."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Yield | ast.YieldFrom):
            yield from ((child.lineno, entered) for entered in inside)
        of_with = isinstance(node, ast.With | ast.AsyncWith) and child in node.body
        entered = tuple(ast.unparse(item.context_expr) for item in node.items) if of_with else ()  # type: ignore[attr-defined]
        yield from _yields(child, (*inside, *entered))


def test_no_stage_is_handed_on_from_within_a_setting() -> None:
    """Settings of NumPy, torch and warnings belong to a thread, and an iterator may be asked on by another one: what hands on a stage has left
    them. Only what closes or suppresses may stand around a ``yield``.
    """
    found = [
        f"{_module(path)}:{line}: {entered}"
        for path in PYTHON
        if "yield" in (text := path.read_text()) and " with " in text
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any("contextmanager" in ast.unparse(each) for each in node.decorator_list)
        for line, entered in _yields(node)
        if not entered.startswith(("contextlib.closing(", "contextlib.suppress("))
    ]
    assert not found, "\n".join(found)


def test_functions_fit_on_one_screen() -> None:
    """No function body is longer than 60 lines, docstring included."""
    long = []
    for path in PYTHON:
        for node in _nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 60:
                    long.append(f"{path.relative_to(SOURCE)}:{node.name} {length}")
    assert not long


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_has_both_halves(mark: str) -> None:
    """Each mark of the vocabulary is drawn by the page and by the static export."""
    web, static = ROOT / "web" / "src" / "marks" / f"{mark}.ts", SOURCE / "export" / "marks" / f"{mark}.py"
    wanted = "export const draw: Draw<"
    assert web.exists(), f"the mark {mark!r} has no browser half: web/src/marks/{mark}.ts"
    assert wanted in web.read_text(), f"web/src/marks/{mark}.ts draws nothing: it wants an {wanted}{mark.capitalize()}>"
    assert static.exists(), f"the mark {mark!r} has no static half: src/diorama/export/marks/{mark}.py"


@pytest.mark.parametrize(
    ("registry", "name"),
    [(r, n) for r in (views, signals, findings, commands, demos, derivations, projections, diorama.methods) for n in r],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "kind", "methods"),
)
def test_plugins_say_what_they_are(registry: object, name: str) -> None:
    """Every plug-in has a docstring whose first paragraph is one sentence, and every knob a sentence of its own."""
    from diorama.core.knobs import knobs_of, sentence

    plugin = registry[name]  # type: ignore[index]
    assert plugin.__doc__, f"{name} has no docstring"
    assert sentence(plugin).endswith((".", "?")), f"{name}: the first paragraph of the docstring is one sentence"
    assert all(knob.help for knob in knobs_of(plugin).values())
    assert plugin.name == name


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: p.stem)
def test_every_test_states_a_behaviour(path: Path) -> None:
    """Every test has a docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.name}:{node.name} says nothing"


def test_test_files_have_names_of_their_own() -> None:
    """No two test files share a name: pytest could not tell them apart."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})


def test_docs_cover_the_public_names() -> None:
    """Every public name stands in the reference, and has a docstring."""
    reference = (ROOT / "docs" / "reference.md").read_text()
    for name in diorama.__all__:
        assert f"diorama.{name}" in reference, f"docs/reference.md does not mention diorama.{name}: run make docs"
        value = getattr(diorama, name)
        assert inspect.getdoc(value), f"diorama.{name} has no docstring"


def test_the_plan_names_what_is_there() -> None:
    """Each file that ARCHITECTURE names in a room of the sources lies in that room."""
    tree = (ROOT / "ARCHITECTURE.md").read_text().partition("src/diorama/\n")[2].partition("\nweb/")[0]
    for room, text in re.findall(r"^  (\w+)/ (.*(?:\n    .*)*)", tree, re.M):
        there = {path.name for path in (ROOT / "src" / "diorama" / room).rglob("*.py")}
        absent = set(re.findall(r"\w+\.py", text)) - there
        assert not absent, f"{room}/ has no {sorted(absent)}"


def test_the_plan_names_each_file() -> None:
    """Each file of the sources stands in the plan of its room; of a folder of plug-ins the folder does, and private files need not."""
    tree = (ROOT / "ARCHITECTURE.md").read_text().partition("src/diorama/\n")[2].partition("\nweb/")[0]
    rooms = dict(re.findall(r"^  (\w+)/ (.*(?:\n    .*)*)", tree, re.M))
    many = ("attribution", "relevance", "synthesis", "projection", "perturbation", "grouping", "faithfulness", "signals", "findings", "commands",
            "derivations", "formats", "marks", "training", "why", "unit", "relate")  # fmt: skip
    for room, text in rooms.items():
        words, untold = set(re.findall(r"\w+", text)), []
        for path in sorted((ROOT / "src" / "diorama" / room).rglob("*.py")):
            inner = path.relative_to(ROOT / "src" / "diorama" / room).parts[:-1]
            plugin = room == "gallery" or bool({*inner} & {*many})
            if not plugin and not path.stem.startswith("_") and path.stem not in words:
                untold.append(path.name)
        assert not untold, f"the plan of {room}/ does not name {untold}"


def test_decisions_are_numbered() -> None:
    """Each decision has a number of its own, in its name and its title."""
    pages = sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers)), sorted({number for number in numbers if numbers.count(number) > 1})
    for page in pages:
        assert page.read_text().startswith(f"# {int(page.name[:4])}. "), page.name


def test_docs_cover_every_plugin() -> None:
    """Every plug-in stands in the reference."""
    reference = (ROOT / "docs" / "reference.md").read_text()
    for registry in (views, signals, findings, commands, demos, derivations, projections, diorama.methods):
        for name in registry:
            assert f"`{name}`" in reference, f"docs/reference.md does not mention {name!r}: run make docs"


def test_nothing_is_left_undone() -> None:
    """No source file holds a reminder of something unfinished."""
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error")
    assert not [str(p.relative_to(ROOT)) for p in _sources() if words.search(p.read_text())]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    """Every example runs as it stands; it holds each line of code of the page in ``docs/`` that bears its name."""
    page = ROOT / "docs" / f"{path.stem}.md"
    shown = re.findall(r"^```(?:python|sh)\n(.*?)^```$", page.read_text(), re.M | re.S) if page.is_file() else []
    assert not [line for line in "".join(shown).splitlines() if line not in path.read_text().splitlines()]
    arguments = {"watch_a_training": ["run", "60"], "dark_and_light": ["out", "1", "40"],
                 "dead_filters": ["out", "1", "40"], "wrong_labels": ["out", "1", "18"],
                 "hidden_activity": ["out", "-", "1", "numbers"], "induction_heads": ["out", "repeats", "32"],
                 "revacnn": ["out", "--seeds", "1", "--epochs", "1", "--images", "40"]}.get(path.stem, ["out"])
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["torch", "diorama.plugins", "diorama.export.figure"])  # what every example imports is imported once
    told = tmp_path / "told.txt"
    process = started.Process(target=scripts.run, args=(path, arguments, tmp_path, told))
    process.start()
    process.join()
    assert process.exitcode == 0, told.read_text()[-2000:]
