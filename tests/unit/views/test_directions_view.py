"""Directions of a scene: kept with its run, looked along, moved along, explained and asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_nets import HORIZONTAL, VERTICAL, edges
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.marks import Bars, Image, Lines, Table, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene

UNIT, BIAS, GAIN = 3, 0.5, 8.0


def _net() -> nn.Module:
    """Six numbers as six units, of which the answer hangs on one."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(6))
        model[0].bias.zero_()
        model[1].weight.zero_()
        model[1].weight[1, UNIT] = GAIN
        model[1].bias.copy_(torch.tensor([0.0, -GAIN * BIAS]))
    return model


def _scene() -> Scene:
    """Rows whose class is whether the fourth number exceeds a half."""
    x = torch.rand(120, 6, generator=torch.Generator().manual_seed(0))
    return Scene(_net(), x, (x[:, UNIT] > BIAS).long(), classes=("low", "high"))


def _of(picture: Picture, kind: type, start: str = "") -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, kind) and mark.title.startswith(start))


def test_a_planted_direction_is_found_and_moves_the_answer() -> None:
    """The unit that the answer hangs on makes up the direction, and the answer turns where the arithmetic says."""
    scene = _scene()
    found = scene.direction("high", a="class:1", b="class:0", layer="0")
    assert int(np.abs(found.vector).argmax()) == UNIT
    assert found.vector[UNIT] > 0.95
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    picture = scene.view("directions", direction="high", example=5, synthesize=False)
    assert _of(picture, Bars, "The units").keys[0] == f"unit:0/{UNIT}"
    lines = _of(picture, Lines, "Example 5 moved")
    moved = float(scene.examples.x[5, UNIT]) + lines.series[1].x * found.step * found.vector[UNIT]
    np.testing.assert_allclose(lines.series[1].y, 100 / (1 + np.exp(-GAIN * (moved - BIAS))), atol=1e-3)
    (flip,) = lines.events
    turn = (BIAS - float(scene.examples.x[5, UNIT])) / (found.step * found.vector[UNIT])
    assert flip.x == pytest.approx(turn, abs=0.26)
    ends = [mark for mark in picture.marks() if isinstance(mark, Table) and mark.title.startswith("Farthest")]
    along = found.values(scene.examples.x.double().numpy())
    assert ends[0].row_keys[0] == f"example:{int(along.argmax())}"
    assert ends[1].row_keys[0] == f"example:{int(along.argmin())}"


def test_the_nearest_examples_to_a_moved_one_are_those_of_a_plain_search() -> None:
    """Two steps on, the nearest real example is the one whose numbers are nearest to the moved ones."""
    scene = _scene()
    found = scene.direction("high", a="class:1", b="class:0", layer="0")
    table = _of(scene.view("directions", direction="high", example=5, synthesize=False), Table, "The examples nearest")
    rows = scene.examples.x.double().numpy()
    for by, key in zip((-2, -1, 0, 1, 2), table.row_keys, strict=True):
        away = np.linalg.norm(rows - rows[5] - by * found.step * found.vector, axis=1)
        away[5] = np.inf
        assert key == f"example:{int(away.argmin())}"


def test_a_direction_is_kept_with_its_run_and_follows_its_steps(tmp_path: Path) -> None:
    """Named once, it is found when the run is opened again, fitted anew at each step, and its name stands for it alone."""
    model, x = _net(), torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
    y = (x[:, UNIT] > BIAS).long()
    with diorama.watch(model, tmp_path / "run", probe=(x, y), snapshots=1) as recorder:
        with torch.no_grad():
            model[0].weight.copy_(torch.eye(6)[[1, 2, UNIT, 0, 4, 5]])
        recorder.step()
    first = diorama.open(tmp_path / "run").scene(1).direction("high", a=np.flatnonzero(y.numpy()), layer="0")
    run = diorama.open(tmp_path / "run")
    again = run.scene(1).direction("high")
    np.testing.assert_array_equal(again.vector, first.vector)
    assert int(np.abs(again.vector).argmax()) == 2
    assert int(np.abs(run.scene(0).direction("high").vector).argmax()) == UNIT
    with pytest.raises(UsageError, match="another name"):
        run.scene(1).direction("high", a="class:0")
    with pytest.raises(NotFound, match="high"):
        run.scene(1).direction("hihg")
    table = _of(run.scene(1).view("directions", how="pca", layer="0"), Table, "Directions kept")
    assert table.row_keys == ("direction:high",)


def test_a_spoilt_file_of_a_direction_is_passed_over(tmp_path: Path) -> None:
    """What does not hold a direction is not found, and does not hinder the others."""
    run = diorama.open(_scene().save(tmp_path / "run"))
    scene = run.scene()
    scene.direction("high", a="class:1", layer="0")
    (kept,) = (run.path / "derived").glob("direction-*.json")
    shutil.copy(kept, kept.with_name("direction-copy.json"))
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"name": "x", "layer": "0", "how": "means", "a": ["no"], "b": []}')):
        kept.with_name(f"direction-{name}.json").write_text(text)
    fresh = diorama.open(run.path).scene()
    assert fresh.direction("high").layer == "0"
    with pytest.raises(NotFound):
        fresh.direction("x")


def test_the_page_names_a_direction_by_a_knob() -> None:
    """With a name in the knob, the direction between the chosen classes is kept, and can be chosen from then on."""
    scene = _scene()
    scene.view("directions", select=["class:1", "class:0"], layer="0", keep="upper", synthesize=False)
    assert scene.direction("upper").sets == ("high", "low")


def test_a_direction_is_a_target_an_objective_and_an_order() -> None:
    """Its gradient is the arithmetic's, what it asks for lies farther along it than any example, and examples sort by it."""
    scene = _scene()
    found = scene.direction("high", a="class:1", b="class:0", layer="0")
    heat = diorama.attribute(scene.model, scene.examples.x[:3], found, method="gradient")
    np.testing.assert_allclose(heat.values, np.tile(found.vector / found.step, (3, 1)), rtol=1e-5)
    made = diorama.synthesize(scene.model, found, scene.examples.x, steps=60, inputs=scene.kind)
    along = found.values(scene.examples.x.double().numpy())
    assert found.values(made.x.double().numpy())[0] > along.max()
    table = scene.view("examples", direction="high", sort="direction").body
    assert table.row_keys[0] == f"example:{int(along.argmax())}"
    shown = scene.view("attribution", direction="high", method="gradient")
    assert "the direction high" in shown.caption
    assert "the direction high" in scene.view("synthesis", direction="high", steps=10).caption
    with pytest.raises(NotApplicable, match="directions"):
        scene.view("examples", sort="direction")


def test_a_base_shows_what_its_directions_ask_for_and_where_they_are_strongest() -> None:
    """Of upright and lying edges the parts are the two detectors, each shown by crops that hold its edge."""
    scene = edges()
    picture = scene.view("directions", how="nmf", layer="1", count=2)
    assert {int(np.abs(scene.direction(f"nmf/1/{k}").vector).argmax()) for k in (0, 1)} == {VERTICAL, HORIZONTAL}
    best = _of(picture, Tiles, "Where each")
    assert best.keys == ("direction:nmf%2F1%2F0", "direction:nmf%2F1%2F1")
    k = next(k for k in (0, 1) if np.abs(scene.direction(f"nmf/1/{k}").vector).argmax() == VERTICAL)
    crop = best.images[k][:3, :3].astype(float)
    assert crop[:, 2].mean() > crop[:, 0].mean() + 100
    assert _of(picture, Tiles, "What each").images.shape == (2, 12, 12)
    along = scene.view("directions", direction=f"nmf/1/{k}", example=0)
    assert {mark.title for mark in along.marks() if isinstance(mark, Image)} >= {"what it asks for", "example 0"}


def test_what_directions_ask_for_is_made_once() -> None:
    """Asked again at the same weights, the pictures stand in the first picture already."""
    scene = edges()
    first = list(scene.stream("directions", how="pca", layer="0", count=2))
    again = list(scene.stream("directions", how="pca", layer="0", count=2))
    assert len(again) <= 2
    np.testing.assert_array_equal(_of(first[-1], Tiles, "What").images, _of(again[-1], Tiles, "What").images)


def test_a_direction_wants_two_sets_and_a_name_of_its_own() -> None:
    """Sets without examples, names of bases and unknown ways of fitting are refused in one sentence."""
    scene = _scene()
    with pytest.raises(NotApplicable, match="both sets"):
        scene.direction("none", a="class:1", b="class:1", layer="0")
    for name, more in (("pca/0/1", {}), ("", {}), ("x" * 99, {}), ("fine", {"how": "nmf"})):
        with pytest.raises(UsageError):
            scene.direction(name, a="class:1", layer="0", **more)
    with pytest.raises(UsageError, match="0 to"):
        scene.direction("pca/0/99")
