"""What a worker keeps loaded: runs, scenes at steps, the live end, scenes with edits and inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import UsageError
from diorama.core.registry import views
from diorama.core.request import Request
from diorama.live.performer import ViewPerformer, anatomy
from diorama.live.scenes import KEPT, Scenes
from diorama.record.arrays import LIVE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recorded run."""
    folder = tmp_path_factory.mktemp("scenes") / "tiny"
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    probe = (torch.rand(6, 1, 8, 8), torch.arange(6) % 3)
    with diorama.watch(model, folder, probe=probe, optimizer=optimizer, snapshots=4) as recorder:
        for _ in range(9):
            optimizer.step()
            recorder.step(loss=1.0)
    return {"path": str(folder), "trust": False, "model": None}


def look(**values: Any) -> Request:
    """A request for the run."""
    return Request.parse({"run": "tiny", "view": "weights", **values})


def test_steps_with_the_same_snapshot_share_a_scene(source: dict[str, Any]) -> None:
    """A scene is made once for a snapshot, and the newest one is the one without a step."""
    scenes, steps = Scenes(), diorama.open(source["path"]).snapshots
    first, last = steps[0], steps[-1]
    assert last > first
    assert scenes.at(source, first) is scenes.at(source, first - 5)
    assert scenes.at(source, last) is scenes.at(source, last + 5)
    assert scenes.at(source, first) is not scenes.at(source, last)
    assert scenes.at(source, None).step == last


def test_another_run_stands_where_the_one_in_sight_does(source: dict[str, Any]) -> None:
    """Of another run without a step the same moment is shown, of the run itself the newest; a named step stays what it is."""
    scenes, sources = Scenes(), {"tiny": source, "other": source}
    steps = diorama.open(source["path"]).snapshots
    for other, step, wanted in (("other", None, steps[1]), ("other", steps[0], steps[0]), ("tiny", None, steps[-1])):
        request = look(step=steps[1], other={"run": other, "step": step})
        assert scenes.of(request, sources).others[0].step == wanted
        assert (scenes.moment(request, sources).others[0].step or 0) >= wanted
    assert scenes.moment(look(step=steps[1], other={"run": "other"}), sources).others[0].step == steps[1]


def test_few_scenes_are_kept(source: dict[str, Any]) -> None:
    """Scrubbing through a run does not fill the memory, and drawing does not push out what it draws for."""
    scenes = Scenes()
    base = scenes.of(look(), {"tiny": source})
    for k in range(3 * KEPT):
        scenes.of(look(edits=[{"key": f"unit:1/{k % 3}", "scale": 1.0 + k}]), {"tiny": source})
    assert len(scenes._changed) == KEPT
    assert scenes.of(look(), {"tiny": source}) is base


def test_the_live_end_is_read_again_only_when_it_was_written(source: dict[str, Any]) -> None:
    """A live scene stays the same object until the training writes newer weights."""
    scenes = Scenes()
    first = scenes.at(source, "live")
    assert scenes.at(source, "live") is first
    state = {name: tensor + 1 for name, tensor in first.model.state_dict().items()}
    written = Path(source["path"]) / LIVE
    from safetensors.torch import save_file

    save_file(state, written, metadata={"step": "99"})
    try:
        second = scenes.at(source, "live")
        assert second is not first
        assert scenes.at(source, "live") is second
    finally:
        os.unlink(written)


def test_edits_without_a_key_are_refused(source: dict[str, Any]) -> None:
    """An edit says what it changes."""
    with pytest.raises(UsageError, match="key"):
        Scenes().of(look(edits=[{"lesion": True}]), {"tiny": source})


def test_anatomy_tells_layers_kind_and_what_fits(source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The page learns the layers, what inputs can be coloured by and, for each view that does not fit, why; of one that cannot say it, too."""
    monkeypatch.setattr(views["lesions"], "fits", lambda scene: False)
    found = anatomy(Scenes(), source)
    assert found["model"] is None
    assert [layer["name"] for layer in found["layers"]] == ["0", "1"]
    assert found["properties"][:2] == ["brightness", "contrast"]
    assert found["fits"]["weights"] is None
    assert isinstance(found["fits"]["cells"], str)
    assert "wants mending" in found["fits"]["lesions"]
    assert found["pairs"] == [name for name in ("compare", "differences") if found["fits"][name]]


def test_anatomy_of_a_model_that_cannot_be_loaded_says_why(source: dict[str, Any], tmp_path: Path) -> None:
    """Without its model a run still tells what fits, and how to enable the rest."""
    import shutil

    copy = shutil.copytree(source["path"], tmp_path / "copy")
    for file in copy.glob("model-*"):
        file.unlink()
    found = anatomy(Scenes(), {**source, "path": str(copy)})
    assert found["model"]
    assert found["fits"]["curves"] is None
    assert found["fits"]["activations"]


def test_only_declared_knobs_become_arguments(source: dict[str, Any]) -> None:
    """A request cannot pass arguments of the program's own functions as knobs."""
    job = {"kind": "view", "sources": {"tiny": source}}
    for name in ("select", "cancel", "other", "input", "example", "nope"):
        with pytest.raises(LookupError, match="no knob"):
            ViewPerformer().perform({**job, "request": look(knobs={name: 1}).plain()}, lambda *_: None, lambda: False)
