"""Third parties' plug-ins that take long to import: named, left out for now, in nobody's way, and there as soon as they have come."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from broken_plugins import first_of

import diorama
from diorama.core import arrivals, registry
from diorama.core.errors import LeftOut, NotFound, Unavailable
from diorama.core.registry import Registry
from diorama.live import catalogue
from diorama.live.hub import Hub
from diorama.live.performer import ViewPerformer

REGISTRIES = registry.REGISTRIES


class Slow:
    """An import that comes when it is let."""

    def __init__(self, kind: Registry) -> None:
        self.come, self.begun, self.kind = threading.Event(), threading.Event(), kind

    def __call__(self) -> Any:
        self.begun.set()
        assert self.come.wait(60)
        return type("Mine", (first_of(self.kind),), {})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(arrivals, "PATIENCE", 0.05)
    monkeypatch.setattr(arrivals, "LEAST", 0.01)


@pytest.fixture
def unawaited() -> Iterator[None]:
    """Nobody waits for one package; another is waited for as always."""
    arrivals.expect(("mine",))
    yield
    arrivals.expect(())


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_what_takes_long_to_import_is_left_out_until_it_has_come(kind: Registry, offered: Any, unawaited: None) -> None:
    """Lists of its kind and of others go on without it and say whose it is; another of its package waits, another package's does not; then all
    are there."""
    own, others = set(kind), {other.kind: set(other) for other in REGISTRIES if other is not kind}
    slow = Slow(kind)
    offered(kind, "a_slow", slow, "mine")
    offered(kind, "b_later", lambda: type("Mine", (first_of(kind),), {}), "mine")
    offered(kind, "c_quick", lambda: type("Mine", (first_of(kind),), {}), "yours")
    try:
        with pytest.warns(LeftOut, match=f"the {kind.noun} 'a_slow' of mine,? .*is still being imported"):
            assert set(kind) == own | {"c_quick"}
        assert slow.begun.wait(60)
        assert {other.kind: set(other) for other in REGISTRIES if other is not kind} == others
        told = kind.broken
        assert re.search(r"of mine is still being imported \(\d+ s\) and is left out for now$", told["a_slow"])
        assert re.search(rf"'b_later' of mine waits for the {kind.noun} 'a_slow' of mine, which is still being imported \(\d+ s\)", told["b_later"])
        assert "a_slow" not in dict(kind.items())
        assert set(kind.coming) == {"a_slow", "b_later"}
        arrival = kind.coming["a_slow"]
    finally:
        slow.come.set()
    assert arrival.done.wait(60)
    arrivals.expect(())
    with arrivals.waiting(60):
        assert set(kind) == own | {"a_slow", "b_later", "c_quick"}
    assert not {"a_slow", "b_later"} & {*kind.broken}
    assert kind["a_slow"].name == "a_slow"


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_a_wrong_name_and_a_right_one_import_nothing_else(kind: Registry, offered: Any) -> None:
    """Whoever asks for one by its name, or for one that is not there, has no other imported."""
    offered(kind, "mine", lambda: pytest.fail("it was imported"))
    assert "mine" in kind.names
    assert "mine" in kind
    assert kind not in [other for other in REGISTRIES if other is not kind]  # two mappings are alike where all that they hold is
    assert kind[kind.own[0]]
    with pytest.raises(NotFound, match="nearest: 'mine'"):
        kind["mime"]


def test_who_asks_by_name_waits_for_it(offered: Any, hurried: None) -> None:
    """One that is being imported already is not imported twice."""
    slow = Slow(registry.views)
    offered(registry.views, "mine", slow)
    with pytest.warns(LeftOut):
        assert "mine" not in list(registry.views)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(registry.views["mine"]))
    asking.start()
    slow.come.set()
    asking.join(60)
    assert [each.name for each in found] == ["mine"]


def test_an_import_that_never_ends_is_ended(offered: Any, hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is, where it runs Python, and is then left out like any other that fails."""
    monkeypatch.setattr(arrivals, "LONGEST", 0.3)

    def endless() -> Any:
        while True:
            with contextlib.suppress(Exception):
                int("no number")

    offered(registry.views, "mine", endless)
    with pytest.warns(LeftOut, match="still being imported"):
        list(registry.views)
    assert registry.views.coming["mine"].done.wait(60)
    assert "importing the view 'mine' of mine took longer than 0.3 seconds and was ended); mend, update" in registry.views.broken["mine"]


def test_what_only_the_main_thread_can_import_is_imported_there(offered: Any) -> None:
    """An import that sets a handler of signals works where whoever asks for the list is the main thread."""

    def load() -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("signal only works in main thread of the main interpreter")
        return type("Mine", (first_of(registry.views),), {})

    offered(registry.views, "mine", load)
    assert "mine" in list(registry.views)
    assert registry.views["mine"].name == "mine"


def test_one_that_asks_for_another_while_it_is_imported_waits_for_none(offered: Any, unawaited: None) -> None:
    """Two that want each other do not wait for ever: who is imported gets an error for one that is not there yet, and lists what is."""
    slow = Slow(registry.views)
    offered(registry.views, "a_slow", slow, "mine")

    def load() -> Any:
        assert "confusion" in list(registry.views)
        with pytest.raises(Unavailable, match="still being imported"):
            registry.views["a_slow"]
        return type("Mine", (first_of(registry.views),), {})

    offered(registry.views, "b_asks", load, "yours")
    try:
        with pytest.warns(LeftOut):
            assert "b_asks" in list(registry.views)
    finally:
        slow.come.set()
    assert registry.views["a_slow"]


@pytest.mark.filterwarnings("ignore::diorama.core.errors.LeftOut")
def test_the_page_is_greeted_without_it_and_told_when_it_has_come(offered: Any, hurried: None, monkeypatch: Any, tmp_path: Path) -> None:
    """The first start says what is waited for and goes on; the catalogue is asked for again, no worker waits, and who looks is greeted anew."""
    monkeypatch.setattr(catalogue, "kept_catalogue", lambda stamp: None)
    monkeypatch.setattr(catalogue, "keep_catalogue", lambda *_: None)
    monkeypatch.setattr(arrivals, "PATIENCE", 0.2)
    monkeypatch.setattr(arrivals, "TICK", 0.01)
    slow = Slow(registry.views)
    offered(registry.views, "mine", slow)
    asked: list[dict[str, Any]] = []

    def submit(message: dict[str, Any], **more: Any) -> None:
        asked.append({**message, **more})

    pool: Any = SimpleNamespace(submit=submit, start=lambda: None, close=lambda: None, expire=lambda: None)
    greeted: list[Any] = []
    place = Hub([tmp_path], pool=pool)
    monkeypatch.setattr("diorama.live.hub._AGAIN", 0.0)
    place.start()
    try:
        place.join(SimpleNamespace(send=greeted.append, follows=(), channels=SimpleNamespace(live_runs=(), tick=lambda: None), close=lambda: None))  # type: ignore[arg-type]
        notes: list[str] = []
        first = ViewPerformer().perform(asked[0], lambda event: notes.append(event["note"]), lambda: False)
        assert any(note.startswith("the view 'mine' of mine is still being imported") for note in notes), notes
        assert first is not None
        asked[0]["on_done"](first, b"")
        assert place.slow == ["mine"]
        assert "mine" not in {view.name for view in greeted[-1].views}
        assert any("mine' of mine is still being imported" in sentence for sentence in greeted[-1].broken)
        with pytest.raises(Unavailable, match="still being imported"):
            place.view("mine")
        while len(asked) < 2:
            time.sleep(0.01)
        assert asked[1]["slow"] == ["mine"]
        arrival = registry.views.coming["mine"]
        slow.come.set()
        assert arrival.done.wait(60)
        second = ViewPerformer().perform(asked[1], lambda event: None, lambda: False)
        assert second is not None
        asked[1]["on_done"](second, b"")
        assert "mine" in {view.name for view in greeted[-1].views}
        assert not place.slow
    finally:
        slow.come.set()
        arrivals.expect(())
        place.close()


@pytest.mark.filterwarnings("ignore::diorama.core.errors.LeftOut")
@pytest.mark.parametrize("kind", [registry.views, registry.commands, registry.findings], ids=lambda kind: kind.kind)
def test_what_comes_while_the_rest_is_described_is_asked_for_again(kind: Registry, offered: Any, unawaited: None, monkeypatch: Any) -> None:
    """One that was on its way as its kind was listed and has come before that list is closed stands in no list yet: it is still named as late.
    Of a package of which one took long, all others come at one look once that one is there."""
    monkeypatch.setattr(arrivals, "BRIEF", 0.0)
    slow = Slow(kind)
    offered(kind, "a_slow", slow, "mine")
    for name in ("b_later", "c_later", "d_later"):
        offered(kind, name, lambda: type("Mine", (first_of(kind),), {}), "mine")
    broken = Registry.broken.fget  # type: ignore[attr-defined]

    def comes(self: Registry) -> Any:
        if self is kind and not slow.come.is_set():
            arrival = kind.coming["a_slow"]
            slow.come.set()
            assert arrival.done.wait(60)
        return broken(self)

    monkeypatch.setattr(Registry, "broken", property(comes))
    try:
        first = catalogue.describe_installation()
    finally:
        slow.come.set()
    listed = {told["name"] for told in first[kind.kind]}
    assert not {"a_slow", "b_later"} & listed
    assert first["slow"][kind.kind].items() >= {"a_slow": "mine", "b_later": "mine"}.items()
    monkeypatch.setattr(arrivals, "BRIEF", 60.0)
    second = catalogue.describe_installation()
    assert {told["name"] for told in second[kind.kind]} >= {"a_slow", "b_later", "c_later", "d_later"}
    assert not second["slow"]


@pytest.mark.filterwarnings("ignore::diorama.core.errors.LeftOut")
def test_who_asks_for_one_kind_hardly_waits_for_another(offered: Any, hurried: None, monkeypatch: Any) -> None:
    """What is kept serves for every kind but that of what had not come."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(catalogue, "kept_catalogue", lambda stamp: kept or None)
    monkeypatch.setattr(catalogue, "keep_catalogue", lambda _, found: kept.update(found))
    slow = Slow(registry.views)
    offered(registry.views, "mine", slow)
    try:
        first = catalogue.installed("methods")
        assert first["slow"] == {"views": {"mine": "mine"}}
        monkeypatch.setattr(catalogue, "describe_installation", lambda wanted=None: {"made": wanted})
        assert catalogue.installed("methods")["methods"]
        assert catalogue.installed("views") == {"made": "views"}
    finally:
        slow.come.set()
    assert diorama.views["mine"]
