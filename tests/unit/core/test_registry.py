"""A registry is a folder as a mapping."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from diorama.core import entry_points
from diorama.core.errors import NotFound, UsageError
from diorama.core.knobs import Plugin
from diorama.core.registry import Registry, signals, views


class Foreign(Plugin):
    """A third party's view."""


def test_names_are_file_names() -> None:
    """Every view's name is its file's name, its room the folder's."""
    for name in views:
        assert views[name].name == name
        assert views[name].__module__ == f"diorama.views.{views[name].room}.{name}"


def test_a_plug_in_may_be_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view is a file or a folder of files, in its room's folder; a private file beside it is none."""
    room = tmp_path / "some_rooms" / "attic"
    (room / "broad").mkdir(parents=True)
    for folder in (tmp_path / "some_rooms", room):
        (folder / "__init__.py").write_text("")
    own = "from diorama.core.knobs import Plugin\nclass One(Plugin):\n    pass\n"
    (room / "broad" / "__init__.py").write_text("from .wall import HEIGHT\n" + own)
    (room / "broad" / "wall.py").write_text("HEIGHT = 3\n")
    (room / "narrow.py").write_text(own)
    (room / "_behind.py").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry("views", "some_rooms", "view", rooms=True)
    assert list(found._find()) == ["broad", "narrow"]
    assert (found["broad"].room, found["narrow"].room) == ("attic", "attic")


def test_an_unknown_name_gets_the_nearest() -> None:
    """A misspelt view is answered with the view meant."""
    with pytest.raises(NotFound, match="weights"):
        views["wieghts"]


def test_a_third_party_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point appears in the mapping; one that hides diorama's own is left out with a warning."""
    points = [
        SimpleNamespace(name="mine", value="x:Foreign", load=lambda: Foreign),
        SimpleNamespace(name="weights", value="x:Foreign", load=lambda: Foreign),
    ]
    monkeypatch.setattr(entry_points, "offered", lambda kind: points if kind == "views" else [])
    registry = Registry("views", "diorama.views", "view", rooms=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert "mine" in registry
    assert registry["mine"] is Foreign
    assert registry["weights"] is not Foreign
    assert len(caught) == 1


def test_a_notebook_adds_its_own() -> None:
    """A class made in this process can be registered; anything else is refused."""
    registry = Registry("views", "diorama.views", "view", rooms=True)
    registry.register("mine", Foreign)
    assert registry["mine"].name == "mine"
    assert "mine" in list(registry)
    with pytest.raises(UsageError, match="derived from"):
        registry.register("other", object())


def test_what_a_notebook_adds_is_checked_as_a_strangers() -> None:
    """A class of another kind is refused when it is registered, keeps its name, and leaves the registry as it was."""
    with pytest.raises(UsageError, match="'loss'.*diorama.plugins.Signal"):
        signals.register("loss", views["curves"])
    assert views["curves"].name == "curves"
    assert "loss" not in signals
