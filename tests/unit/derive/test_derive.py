"""Derivations: found by what they depend on, kept with the run, gone on with, shared, and refused when they are no such."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tally
import torch
from tally import Tally, recorded
from torch import nn

import diorama
from diorama.core.errors import Cancelled, Damaged, NotFound, UsageError
from diorama.derive import store as storing
from diorama.derive import work
from diorama.derive.plain_file import packed, plain, unpacked
from diorama.derive.store import Name, Store
from diorama.record.trust import sign, verify
from diorama.run import Run
from diorama.scene import Scene


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run on which the tally can be derived; whatever was done is written at once."""
    monkeypatch.setattr(work, "SHORT", 0.0)
    monkeypatch.setattr(work, "SHARE", 0.0)
    diorama.derivations.register("tally", Tally)
    Tally.made.clear()
    Tally.closed.clear()
    yield recorded(tmp_path / "run")
    diorama.derivations._loaded.pop("tally")
    assert not work._works, "work is left behind"


def _files(run: Run) -> list[str]:
    folder = run.path / "derived"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _again(run: Run) -> Scene:
    return diorama.open(run.path).scene()


def test_a_value_is_kept_with_the_run_and_found_by_another_process(run: Run) -> None:
    """It is made once, is the same when it is read, cannot be written to, and says who made it."""
    first = run.scene().derive("tally", start=2)
    assert not first.known
    np.testing.assert_allclose(first.value["sum"], run.scene().live.x.sum(0) + 2, rtol=1e-6)
    assert Tally.made == list(range(10))
    again = _again(run).derive("tally", start=2.0)
    assert again.key == first.key
    assert again.known
    np.testing.assert_array_equal(again.value["sum"], first.value["sum"])
    assert len(Tally.made) == 10
    with pytest.raises(ValueError, match="read-only"):
        again.value["sum"][0] = 1
    told = again.provenance
    assert (told.method, told.knobs["start"], told.step, told.maker) == ("tally", 2.0, 1, "this user")
    assert _files(run) == [f"{first.name.stem}.safetensors"]


def test_the_key_names_all_that_the_value_depends_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other knobs, weights, examples, edits, versions, tasks, and another beginning are other keys; the same are the same."""
    scene = run.scene()
    model, x, y = scene.model, scene.live.x, scene.live.y
    keys = [
        scene.derive("tally").key, scene.derive("tally", start=1).key, run.scene(0).derive("tally").key,
        scene.edit("unit:0/1", lesion=True).derive("tally").key, scene.edit("unit:0/1", value=1.0).derive("tally").key,
        scene.edit("layer:0", patch=torch.ones(1, 4)).derive("tally").key,
        scene.edit("layer:0", patch=torch.zeros(1, 4)).derive("tally").key, scene.derive("tally", after=0).key,
        Scene(model, x, y, task="regression").derive("tally").key, Scene(model, x + 1, y).derive("tally").key,
        Scene(model, x, 1 - y).derive("tally").key, Scene(nn.Sequential(*model[:1], nn.Tanh(), model[2]), x, y).derive("tally").key,
    ]
    monkeypatch.setattr(Tally, "version", 2)
    keys.append(scene.derive("tally").key)
    assert len(set(keys)) == len(keys)
    assert Scene(model, x, y).derive("tally").key == Scene(model, x.clone(), y.clone()).derive("tally").key


def test_it_starts_from_the_same_at_another_step(run: Run) -> None:
    """``after`` a step, or the derivation there, hands its value over; another derivation is refused."""
    plainly = run.scene().derive("tally").value["sum"]
    here = run.scene().derive("tally", after=0)
    np.testing.assert_allclose(here.value["sum"], 2 * plainly, rtol=1e-6)
    assert here.key == run.scene().derive("tally", after=run.scene(0).derive("tally")).key
    with pytest.raises(UsageError, match="same knobs"):
        run.scene().derive("tally", after=run.scene(0).derive("tally", start=1))
    with pytest.raises(UsageError, match="a step"):
        run.scene().derive("tally", after="0")


def test_what_was_stopped_goes_on_where_it_was(run: Run) -> None:
    """Closing the stream keeps what was done; the rest alone is made then, and the value is that of one run, to the bit."""
    stream = _again(run).derive("tally").stream()
    assert [next(stream).done for _ in range(4)] == [1, 2, 3, 4]
    stream.close()
    assert Tally.closed == [True]
    assert [Path(name).suffix for name in _files(run)] == [".part"]
    Tally.made.clear()
    value = _again(run).derive("tally").value
    assert Tally.made == list(range(4, 10))
    whole = Scene(run.scene().model, run.scene().live.x, run.scene().live.y).derive("tally").value
    np.testing.assert_array_equal(value["sum"], whole["sum"])
    assert [Path(name).suffix for name in _files(run)] == [".safetensors"]


def test_cancelling_raises_and_loses_nothing_that_was_saved(run: Run) -> None:
    """A cancelled stream raises Cancelled; the next one goes on behind the last saved stage."""
    seen: list[float] = []
    stream = run.scene().derive("tally").stream(cancel=lambda: len(seen) > 2, progress=lambda p: seen.append(p.done))
    with pytest.raises(Cancelled):
        list(stream)
    assert seen == [1, 2, 3]
    Tally.made.clear()
    assert run.scene().derive("tally").value["done"] == 10
    assert Tally.made[0] == 3


def test_short_work_is_not_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took under a second stays in memory: at this scene it comes at once, no file is there."""
    monkeypatch.setattr(work, "SHORT", 1.0)
    scene = run.scene()
    found = scene.derive("tally")
    assert found.value["done"] == 10
    assert found.known
    assert _files(run) == []
    assert scene.derive("tally").value["done"] == 10
    assert len(Tally.made) == 10


def test_without_a_run_it_lasts_as_long_as_the_scene(run: Run) -> None:
    """A scene of a module keeps it in memory, until the module is trained on."""
    scene = Scene(run.scene().model, run.scene().live.x, run.scene().live.y)
    key = scene.derive("tally").key
    assert scene.derive("tally").value is scene.derive("tally").value
    with torch.no_grad():
        scene.model[0].weight.add_(1)  # type: ignore[index,operator]
    assert scene.derive("tally").key != key
    assert not scene.derive("tally").known


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are those of POSIX")
def test_a_folder_that_only_allows_reading_is_no_hindrance(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written the value is made, and lasts as long as the scene."""

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    scene = run.scene()
    assert scene.derive("tally").value["done"] == 10
    assert scene.derive("tally").known
    assert _files(run) == []


def test_two_who_want_the_same_share_one_work(run: Run) -> None:
    """A stream that rests does not keep another from going on, and what one makes the other sees, also from a thread."""
    first, second = run.scene().derive("tally").stream(), _again(run).derive("tally").stream()
    assert next(first).done == 1
    assert [next(second).done for _ in range(3)] == [1, 2, 3]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(_again(run).derive("tally").value))
    thread.start()
    thread.join()
    *_, last = first
    assert last.final
    assert Tally.made == list(range(10))
    assert found[0]["sum"].tolist() == last.value["sum"].tolist() == list(second)[-1].value["sum"].tolist()


@contextlib.contextmanager
def _process(run: Run, wait: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join([str(Path(diorama.__file__).parents[1]), str(Path(tally.__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    worker = subprocess.Popen([sys.executable, tally.__file__, str(run.path), str(wait)], env=environment)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def _until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def _part_of_three(run: Run, wait: Path) -> bool:
    derived = _again(run).derive("tally", wait=str(wait))
    assert derived.store is not None
    found = derived.store.read(derived.name, ".part")
    return found is not None and found[1]["done"] == 3


def test_another_process_is_waited_for_and_a_dead_one_is_not(run: Run, tmp_path: Path) -> None:
    """While another process works, its progress is seen; killed in the middle, its work is gone on with at once; and the
    value of one that ends is taken as it is.
    """
    wait = tmp_path / "go"
    with _process(run, wait) as worker:
        _until(lambda: _part_of_three(run, wait))
        stream = _again(run).derive("tally", wait=str(wait)).stream()
        stage = next(stream)
        assert "another process" in stage.note
        assert stage.done == 3
        worker.kill()
        worker.wait()
    wait.touch()
    *_, last = stream
    assert last.final
    assert Tally.made == list(range(3, 10))
    assert last.value["process"] == worker.pid
    other = tmp_path / "other"
    with _process(run, other) as worker:
        _until(lambda: _part_of_three(run, other))
        stream = _again(run).derive("tally", wait=str(other)).stream()
        next(stream)
        other.touch()
        *_, last = stream
        assert worker.wait() == 0
    assert last.value["process"] == worker.pid
    assert len(Tally.made) == 7


def test_one_that_is_silent_for_long_is_not_waited_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lives and makes no progress keeps nobody waiting: the same is made beside it."""
    wait = tmp_path / "never"
    with _process(run, wait):
        _until(lambda: _part_of_three(run, wait))
        monkeypatch.setattr(storing, "PATIENCE", -1.0)
        stream = _again(run).derive("tally", wait=str(wait)).stream()
        assert next(stream).done == 4  # from what it wrote
        stream.close()


def _hostile(name: str, key: str) -> dict[str, Any]:
    good = {"done": 10, "sum": np.zeros(3), "process": 1}
    head = {"kind": "tally", "key": key, "provenance": {"method": "tally"}}
    bomb: Any = []
    for _ in range(300):
        bomb = [bomb]
    return {
        "empty": b"", "noise": os.urandom(400), "a long header": b"\xff" * 8 + b"{}",
        "another key": packed({**head, "key": "0" * 32}, good, sign),
        "another kind": packed({**head, "kind": "scan"}, good, sign),
        "another shape": packed(head, {**good, "sum": np.zeros((3, 1))}, sign),
        "no array": packed(head, {**good, "sum": "text"}, sign),
        "another value": packed(head, [1, 2], sign),
        "none": packed(head, None, sign), "deep": packed(head, bomb, sign),
        "no provenance": packed({"kind": "tally", "key": key}, good, sign),
        "a false provenance": packed({**head, "provenance": 3}, good, sign),
        "cut": packed(head, good, sign)[:-5],
        "changed": packed(head, good, sign)[:-1] + b"\1",
    }[name]  # type: ignore[return-value]


@pytest.mark.parametrize(
    "name", ["empty", "noise", "a long header", "another key", "another kind", "another shape", "no array",
             "another value", "none", "deep", "no provenance", "a false provenance", "cut", "changed"],
)
def test_a_file_that_is_none_is_passed_over(run: Run, name: str) -> None:
    """Whatever lies where the value or what was begun should be, the value is made anew, and nothing breaks."""
    derived = _again(run).derive("tally")
    assert derived.store is not None
    (run.path / "derived").mkdir()
    data = _hostile(name, derived.key)
    derived.store.path(derived.name).write_bytes(data)  # type: ignore[arg-type]
    value = derived.value
    assert Tally.made == list(range(10))
    np.testing.assert_array_equal(_again(run).derive("tally").value["sum"], value["sum"])
    assert len(Tally.made) == 10


def test_links_pipes_and_what_is_too_large_are_not_opened(run: Run, tmp_path: Path) -> None:
    """A link out of the folder, a pipe that would block, and a file beyond the budget are passed over; so is a folder that is a
    link.
    """
    derived = _again(run).derive("tally")
    assert derived.store is not None
    path = derived.store.path(derived.name)
    path.parent.mkdir()
    os.mkfifo(path)
    assert derived.found() is None
    path.unlink()
    good = packed({"kind": "tally", "key": derived.key, **derived.head()}, {"done": 1, "sum": np.zeros(3), "process": 1}, sign)
    (tmp_path / "outside").write_bytes(good)
    path.symlink_to(tmp_path / "outside")
    assert derived.found() is None
    path.unlink()
    path.write_bytes(good)
    derived.store.budget = len(good) - 1
    assert derived.found() is None
    derived.store.budget = len(good)
    assert derived.found()["done"] == 1
    path.parent.rename(tmp_path / "moved")
    path.parent.symlink_to(tmp_path / "moved")
    assert not _again(run).derive("tally").known
    assert _again(run).derive("tally", start=5).value["done"] == 10
    assert len(list((tmp_path / "moved").iterdir())) == 1


def test_what_somebody_else_made_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that another user's key signed is used and told as theirs; what another began is not gone on with."""
    stream = _again(run).derive("tally").stream()
    next(stream)
    stream.close()
    assert run.scene().derive("tally", start=1).value["done"] == 10
    monkeypatch.setattr(storing, "verify", lambda data, signature: False)
    again = _again(run).derive("tally", start=1)
    assert again.value["done"] == 10
    assert again.provenance.maker == "another user"
    Tally.made.clear()
    assert _again(run).derive("tally").value["done"] == 10
    assert Tally.made[0] == 0


def test_the_store_lets_the_least_used_go_and_never_what_was_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the budget the file that was used longest ago goes; a named direction, which no program can make again, stays."""
    scene = run.scene()
    scene.direction("mine", "class:0", layer="0")
    derived = [_again(run).derive("tally", start=k) for k in range(3)]
    for number, one in enumerate(derived[:2]):
        assert one.value is not None
        assert one.store is not None
        os.utime(one.store.path(one.name), (number, number))
    assert derived[0].store is not None
    size = derived[0].store.path(derived[0].name).stat().st_size
    assert _again(run).derive("tally", start=0).value is not None  # used now
    monkeypatch.setattr(storing, "BUDGET", 0)
    derived[2].store = Store(run.path / "derived", int(2.5 * size))
    assert derived[2].value is not None
    kept = _files(run)
    assert f"{derived[1].name.stem}.safetensors" not in kept
    assert f"{derived[0].name.stem}.safetensors" in kept
    assert f"{derived[2].name.stem}.safetensors" in kept
    assert any(name.startswith("direction-") for name in kept)


def test_plain_data_comes_back_and_nothing_else_is_taken() -> None:
    """Numbers, texts and arrays of every type and shape come back as they were; objects and tensors are refused."""
    value = {
        "a": [1, 2.5, True, None, "text", (3,)], "b": {"c": np.arange(6.0).reshape(2, 3).T, "d": np.zeros((0, 3))},
        "e": np.float32(1.5), "f": np.array(7), "g": np.array([1, 2], ">i4"), "h": np.array([True]), "i": float("inf"),
    }
    head, found = unpacked(packed({"told": 1}, value, sign), verify)
    assert head["told"] == 1
    wanted = plain(value)
    assert found["a"] == wanted["a"] == [1, 2.5, True, None, "text", [3]]
    for name in "cd":
        np.testing.assert_array_equal(found["b"][name], value["b"][name])
    assert found["e"] == 1.5
    assert found["f"].shape == ()
    assert found["g"].tolist() == [1, 2]
    assert found["h"].dtype == bool
    assert found["i"] == float("inf")
    for wrong in (torch.zeros(2), {1: 2}, {"$": 1}, np.array(["a"]), object(), {3}, np.zeros(1, complex)):
        with pytest.raises(TypeError):
            plain(wrong)
    with pytest.raises(Damaged):
        unpacked(b"", verify)


def test_what_does_not_exist_is_refused_by_name(run: Run) -> None:
    """An unknown derivation and an unknown knob are named with the nearest."""
    with pytest.raises(NotFound, match="tally"):
        run.scene().derive("tali")
    with pytest.raises(NotFound, match="start"):
        run.scene().derive("tally", strat=1)


def test_a_derivation_that_breaks_leaves_nothing_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it raises is raised to whoever asked; the claim is let go of, so that it can be asked for again at once."""
    derived = run.scene().derive("tally")
    steps = itertools.count()

    def broken(self: Any, scene: Scene, begun: Any = None, before: Any = None) -> Iterator[Any]:
        if next(steps) == 0:
            raise RuntimeError("broken")
        yield from original(self, scene, begun, before)

    original = Tally.stages
    monkeypatch.setattr(Tally, "stages", broken)
    with pytest.raises(RuntimeError, match="broken"):
        derived.value  # noqa: B018 - it is asked for
    assert not any("lock" in name for name in _files(run))
    assert derived.value["done"] == 10


def test_names_of_files_are_those_of_keys(tmp_path: Path) -> None:
    """A kept derivation is listed by its kind and its weights, and by nothing else."""
    store = Store(tmp_path / "derived")
    assert store.listed("tally", "abc") == []
    for kind, weights in (("tally", "abc"), ("tally", "abd"), ("tallying", "abc")):
        assert store.write(Name(kind, weights, "0f"), {"provenance": {}}, [1])
    (path,) = store.listed("tally", "abc")
    assert store.open(path) == [1]
    assert path.name == "tally-abc-0f.safetensors"


@pytest.mark.parametrize("name", ["decoder", "base", "dictionary", "direction", "parts", "patch_index", "preferred"])
def test_what_is_of_one_layer_asks_for_it(name: str) -> None:
    """No layer is none of the name ''."""
    scene = Scene(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.ones(4, 4), torch.zeros(4, dtype=torch.long))
    with pytest.raises(UsageError, match=f"{name} wants layer=…, one of '0', '1'"):
        scene.derive(name)
