"""What those who write plug-ins and marks are told: the pages are whole and fresh, each example runs, a knob gives what it is written as."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from diorama import plugins
from diorama.core import registry
from diorama.core.knobs import knobs_of
from diorama.core.registry import Registry
from diorama.live import catalogue

REGISTRIES = registry.REGISTRIES
EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_every_kind_has_an_example_that_runs(
    kind: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of each kind registers a plug-in against ``diorama.plugins`` alone, and uses it."""
    path = EXAMPLES / f"own_{kind.kind.removesuffix('s')}.py"
    imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module}
    assert {module for module in imported if module.startswith("diorama")} == {"diorama.plugins"}
    monkeypatch.setattr(kind, "_loaded", dict(kind._loaded))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "out"])
    if kind is registry.savers:
        (tmp_path / "out").mkdir()
    before = set(kind)
    runpy.run_path(str(path), run_name="__main__")
    assert len(set(kind) - before) == 1
    assert capsys.readouterr().out.strip()


def test_a_view_of_long_work_has_an_example_that_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It tells how far the work is, which goes on from any of its states, and comes to the numbers that plain PyTorch gives."""
    for kind in (registry.views, registry.derivations):
        monkeypatch.setattr(kind, "_loaded", dict(kind._loaded))
    made = runpy.run_path(str(EXAMPLES / "view_of_derivation.py"), run_name="__main__")
    assert "[10, 20, 30, 40, 50, 60]" in capsys.readouterr().out
    work, scene = made["Company"](layer="0"), made["scene"]
    stages = list(work.stages(scene))
    for stage in stages:
        *_, last = work.stages(scene, stage.state())
        assert np.array_equal(last.value, stages[-1].value)


def test_the_page_for_third_parties_is_whole_and_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name of ``diorama.plugins`` stands in ``docs/plugins.md`` with its docstring, fields and signatures as the code has them now."""
    monkeypatch.syspath_prepend(str(EXAMPLES.parents[1] / "docs"))
    made, docs = importlib.import_module("make"), EXAMPLES.parents[1] / "docs"
    assert (docs / "marks.md").read_text() == made.mark_page(), "run make docs"
    page = made.plugin_page()
    kept, outline = (docs / "plugins.md").read_text(), re.compile(r"^### .*|^\| `\w+` .*?\|.*?\||^- `[^`]*`", re.M)
    assert outline.findall(kept) == outline.findall(page), "run make docs"
    for example in EXAMPLES.glob("*.py"):
        assert example.read_text().rstrip() in kept, "run make docs"
    for name in set(plugins.__all__) - {"marks"}:
        assert f"### `diorama.plugins.{name}`" in page
        assert getattr(plugins, name).__doc__
    for mark in plugins.marks.MARKS.values():
        assert f"### `diorama.plugins.marks.{mark.__name__}`" in page


def test_nothing_that_is_given_by_its_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field by which a value or a mark is made stands in its table, also one called ``name``; no word stands for others that are not said,
    and no class is called by a name that nothing bears."""
    monkeypatch.syspath_prepend(str(EXAMPLES.parents[1] / "docs"))
    made = importlib.import_module("make")
    page, sheets = made.plugin_page(), made.mark_page()
    tables = dict(re.findall(r"^### `diorama\.plugins\.(\S+)`$(.*?)(?=^### |\Z)", page, re.M | re.S))
    given = {f"marks.{name}": each for name, each in vars(plugins.marks).items() if f"marks.{name}" in tables}
    given |= {name: getattr(plugins, name) for name in plugins.__all__}
    for name, each in given.items():
        if isinstance(each, type) and not issubclass(each, plugins.View.__mro__[1]):
            for field in (*getattr(each, "__struct_fields__", ()), *getattr(each, "__dataclass_fields__", ())):
                assert field[0] == "_" or f"\n| `{field}` |" in tables[name], f"{name} says nothing of {field}"
    for word in ("Anchor", "Item", "Mode", "Scale"):
        assert not re.search(rf"[:\[] ?{word}\b(?!`)", page + sheets), f"{word} is said without what it allows"
    assert all(f"### `diorama.export.{name}`" in sheets for name in ("cells.Cells", "cells.colour", "cells.pixels", "sheet.Raster"))
    for owner, field in re.findall(r"``([A-Z]\w+)\.(\w+)``", page):
        found = getattr(plugins, owner, None) or getattr(plugins.marks, owner, None) or _named(owner)
        assert found is not None and field in dir(found) or field in getattr(found, "__annotations__", {}), f"{owner}.{field} is nothing"


def _named(name: str) -> object:
    """A class of the package by its name alone, among the modules that the page's making has imported."""
    places = [module for key, module in sys.modules.items() if key.startswith("diorama.")]
    return next((vars(place)[name] for place in places if getattr(vars(place).get(name), "__module__", "") == place.__name__), None)


def test_every_file_that_the_architecture_names_is_there() -> None:
    """A file in backquotes is one of the tree: the end of its path is as it is written."""
    root = EXAMPLES.parents[1]
    there = ["/" + str(each.relative_to(root)) for top in ("src", "web/src", "tests", "docs", "examples") for each in (root / top).rglob("*.*")]
    named = set(re.findall(r"`([\w./-]+\.(?:py|ts|svelte))`", (root / "ARCHITECTURE.md").read_text()))
    assert len(named) > 25
    assert not [name for name in sorted(named) if not any(each.endswith("/" + name) for each in there)]


@pytest.mark.parametrize("kind", catalogue.REGISTRIES, ids=lambda kind: kind.noun if hasattr(kind, "noun") else str(kind))
def test_a_whole_number_stays_whole(kind: Registry) -> None:
    """What a plug-in writes as ``int`` comes to it as a whole number, from the page, an address or the command line."""
    for name, own in kind.items():
        hints = typing.get_type_hints(own)
        for knob in knobs_of(own).values():
            parts = set(typing.get_args(hints[knob.name])) or {hints[knob.name]}
            if int in parts and float not in parts and bool not in parts:
                assert knob.kind not in ("number", "text"), f"{name}.{knob.name} is an int, and its knob gives a {knob.kind}"
