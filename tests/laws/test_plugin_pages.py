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


@pytest.mark.parametrize("kind", catalogue.REGISTRIES, ids=lambda kind: kind.noun if hasattr(kind, "noun") else str(kind))
def test_a_whole_number_stays_whole(kind: Registry) -> None:
    """What a plug-in writes as ``int`` comes to it as a whole number, from the page, an address or the command line."""
    for name, own in kind.items():
        hints = typing.get_type_hints(own)
        for knob in knobs_of(own).values():
            parts = set(typing.get_args(hints[knob.name])) or {hints[knob.name]}
            if int in parts and float not in parts and bool not in parts:
                assert knob.kind not in ("number", "text"), f"{name}.{knob.name} is an int, and its knob gives a {knob.kind}"
