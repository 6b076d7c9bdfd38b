"""Which runs are found, and what is kept: selections by their hash, frames under a cap, the catalogue for an installation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

import diorama
from diorama.core.errors import UsageError
from diorama.live import catalogue
from diorama.live.cache import Frames
from diorama.live.notes import Notes
from diorama.live.shelf import find_runs


def make_run(path: Path) -> None:
    """What looks like a run from outside."""
    path.mkdir(parents=True)
    (path / "run.db").write_bytes(b"")


def test_runs_are_found_by_their_way_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A served run bears its own name, runs in a served folder the way to them; hidden and unfinished ones are not there,
    and what may not be looked into is, where it stands beside runs."""
    for name in ("a", "deep/b", "deep/er/c", ".a.12.new", "a/inside", "far/too/deep/down/d"):
        make_run(tmp_path / name)
    assert set(find_runs([tmp_path])) == {"a", "deep/b", "deep/er/c"}
    assert set(find_runs([tmp_path / "a"])) == {"a"}
    assert find_runs([tmp_path / "nowhere"]) == {}
    for name in ("deep/shut", "far/shut"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut")
    assert set(find_runs([tmp_path])) == {"a", "deep/b", "deep/er/c", "deep/shut"}


def test_two_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Runs of the same name in two served folders both appear."""
    make_run(tmp_path / "one" / "digits")
    make_run(tmp_path / "two" / "digits")
    found = find_runs([tmp_path / "one", tmp_path / "two"])
    assert found == {"digits": tmp_path / "one" / "digits", "two/digits": tmp_path / "two" / "digits"}


def test_a_kept_selection_outlives_the_server(tmp_path: Path) -> None:
    """The same text has the same name, and another server recalls it."""
    text = "+".join(f"unit:features.3/{k}" for k in range(100))
    name = Notes(tmp_path).keep(text)
    assert Notes(tmp_path).keep(text) == name
    assert Notes(tmp_path).recall(name) == text


@pytest.mark.parametrize("name", ["@../../etc/passwd", "@", "", None, 5, "@" + "g" * 20, "@" + "0" * 20, "0" * 20])
def test_only_kept_names_are_recalled(tmp_path: Path, name: object) -> None:
    """No other name reaches a file."""
    with pytest.raises(UsageError):
        Notes(tmp_path).recall(name)


@pytest.mark.parametrize("text", [None, 5, "x" * 1_000_001, "not a selection", ["example:4"]])
def test_only_selections_are_kept(tmp_path: Path, text: object) -> None:
    """Nothing else is written."""
    with pytest.raises(UsageError):
        Notes(tmp_path / "notes").keep(text)
    assert not (tmp_path / "notes").exists()


def test_selections_are_kept_in_memory_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A folder that cannot be made costs only what outlives the server."""
    (tmp_path / "file").write_text("")
    notes = Notes(tmp_path / "file" / "below")
    assert notes.recall(notes.keep("example:4")) == "example:4"


def test_frames_stay_under_their_cap() -> None:
    """What was used longest ago goes first; a frame that would push out the others is not kept."""
    frames = Frames(cap=80)
    for name in "abcdefgh":
        frames.put(name, bytes(10))
    frames.get("a")
    frames.put("i", bytes(10))
    assert frames.get("b") is None
    assert frames.get("a") == bytes(10)
    frames.put("large", bytes(11))
    assert frames.get("large") is None
    for _ in range(100):
        frames.put("a", b"new")
    assert frames.get("a") == b"new"
    assert frames.get("i") == bytes(10), "a frame that takes the place of its older self takes no more room"


def test_the_catalogue_is_kept_for_one_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was described is found again by its stamp and by no other, and an unwritable folder is no error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    catalogue.keep_catalogue("one", {"views": []})
    assert catalogue.kept_catalogue("one") == {"views": []}
    assert catalogue.kept_catalogue("two") is None
    catalogue.keep_catalogue("two", {"views": [1]})
    assert catalogue.kept_catalogue("one") == {"views": []}  # another installation's start does not undo this one's
    for number in range(catalogue.KEPT + 3):
        catalogue.keep_catalogue(f"more-{number}", {})
    assert len(list((tmp_path / "diorama").glob("catalogue-*.json"))) == catalogue.KEPT
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    catalogue.keep_catalogue("three", {})
    assert catalogue.kept_catalogue("three") is None


def test_a_run_comes_with_its_family(tmp_path: Path) -> None:
    """A run that is served by itself brings those that go on from it and from which it goes on, and no other beside it."""
    model = nn.Linear(2, 2)
    for name, parent in (("a", None), ("a-2", ("a", 1)), ("a-3", ("a-2", 1)), ("a-4", None), ("b", None)):
        with diorama.watch(model, tmp_path / name, parent=None if parent is None else (tmp_path / parent[0], parent[1])) as recorder:
            if parent is None:
                recorder.step(loss=1.0)
    for root in ("a", "a-3"):
        assert find_runs([tmp_path / root]) == {name: tmp_path / name for name in ("a", "a-2", "a-3")}
    assert set(find_runs([tmp_path / "b"])) == {"b"}
