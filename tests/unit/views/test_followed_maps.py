"""Maps that follow a training: components that keep their places, ways that are gone once, and what has been reached is not thrown back."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from test_projection import _apart, _run
from torch import nn

import diorama
from diorama.core.picture import Draft, Picture, Progress
from diorama.core.registry import derivations, views
from diorama.core.selection import Selection
from diorama.derive.snapshot_chain import SnapshotChain
from diorama.methods.placement import laid_onto
from diorama.run import Run
from diorama.scene import Scene
from diorama.scene.source import RecordedSource
from diorama.views.relate.projection import ProjectionView
from diorama.views.relate.units import UnitsView

VARIANCES = [(1.015, 0.985), (1.005, 0.995), (0.995, 1.005), (0.985, 1.015), (0.94, 1.06), (0.8, 1.2)]
"""Of the second and of the third direction, at each of some steps; the first has 4, and 500 examples tell apart what differs by 6 %."""


def _crossing(path: Path) -> Run:
    """A run whose layer answers, after its first step, along six directions, of which the second and the third change places."""
    generator = np.random.default_rng(0)
    x = np.linalg.svd((rows := generator.normal(size=(500, 6))) - rows.mean(0), full_matrices=False)[0] * np.sqrt(499)
    turn = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    net = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 2))
    with diorama.watch(net, path, probe=(torch.tensor(x).float(), torch.arange(500) % 2), every=1, snapshots=1) as recorder:
        for second, third in VARIANCES:
            with torch.no_grad():
                net[0].weight.copy_(torch.tensor((np.diag(np.sqrt([4, second, third, 0.5, 0.3, 0.1])) @ turn).T))
            recorder.step(loss=torch.tensor(1.0))
    return diorama.open(path)


def test_components_that_are_nearly_equal_do_not_change_places(tmp_path: Path) -> None:
    """Where the second and the third component cross, points stay and the caption says so; where they part, the components themselves are shown."""
    run = _crossing(tmp_path / "run")
    moves, library = [], []
    for step, before in zip(run.scene().steps[1:], run.scene().steps, strict=False):
        derived = run.scene(step).derive("projection", layer="0")
        here, rows = np.asarray(derived.value), derived.derivation.rows(run.scene(step))
        there = np.asarray(run.scene(before).derive("projection", layer="0").value)
        plain = PCA(2, svd_solver="full").fit_transform(rows)
        moves.append(float(np.linalg.norm(here - there, axis=1).mean() / there.std()))
        library.append(float(np.linalg.norm(laid_onto(plain, there) - there, axis=1).mean() / there.std()))
        # A plane through the rows never shows more than there is, and loses no more than the examples can tell.
        assert (_apart(here) <= _apart(rows) + 1e-6).all()
        sizes = PCA(svd_solver="full").fit(rows).explained_variance_
        lost = plain.var(0, ddof=1).sum() - here.var(0, ddof=1).sum()
        assert -1e-6 < lost < np.sqrt(2 / len(rows)) * sizes[1]
        said = "instead of" in run.scene(step).view("projection", layer="0").caption
        assert said == (lost > 1e-5 * plain.var(0, ddof=1).sum())
        if sizes[1] - sizes[2] > np.sqrt(2 / len(rows)) * sizes[1]:
            np.testing.assert_allclose(_apart(here), _apart(plain), rtol=1e-4, atol=1e-4)
    assert max(library[1:4]) > 0.5
    assert max(moves[1:4]) < 0.05


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_map_of_components_is_the_librarys_where_they_are_told_apart(dimensions: int, tmp_path: Path) -> None:
    """Over a training maps of components have the distances of scikit-learn's, but where so few examples do not tell them apart."""
    run = _run(tmp_path / "run")
    for step in run.scene().steps:
        scene = run.scene(step)
        derived = scene.derive("projection", layer="2", dimensions=dimensions)
        rows, points = derived.derivation.rows(scene), np.asarray(derived.value)
        fitted = PCA(svd_solver="full").fit(rows)
        sizes, plain = fitted.explained_variance_, fitted.transform(rows)[:, :dimensions]
        known = np.sqrt(2 / len(rows)) * sizes[dimensions - 1]
        apart = sizes[dimensions - 1] - sizes[dimensions]
        lost = plain.var(0, ddof=1).sum() - points.var(0, ddof=1).sum()
        assert -1e-6 < lost <= known * dimensions
        if apart > known:
            np.testing.assert_allclose(_apart(points), _apart(plain), rtol=1e-4, atol=1e-5)


def test_a_way_that_was_gone_is_not_gone_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later snapshot starts from the last that is known, also in another process: of a way of short links some are written down."""
    run = _run(tmp_path / "run")
    monkeypatch.setattr("diorama.derive.work.time", SimpleNamespace(perf_counter=lambda: 0.0, sleep=time.sleep))  # short links, on any machine
    for view in (ProjectionView(layer="2"), UnitsView(layer="2")):
        list(view.pictures(run.scene(3), Selection()))
        notes = [one.note for one in view.pictures(run.scene(4), Selection()) if isinstance(one, Progress) and "on the way" in one.note]
        assert notes == ["placed at step 3, on the way to this step"]
    assert not list((tmp_path / "run" / "derived").glob("*"))
    ticks = itertools.count()
    monkeypatch.setattr("diorama.derive.work.time", SimpleNamespace(perf_counter=lambda: 0.3 * next(ticks), sleep=time.sleep))
    derived = diorama.open(tmp_path / "run").scene(4).derive("projection", layer="0")
    assert derived.ahead == derived.way
    assert derived.value is not None
    again = diorama.open(tmp_path / "run").scene(4).derive("projection", layer="0")
    assert not again.known
    assert 0 < len(again.ahead) < len(again.way)
    assert again.ahead[0].known


FOLLOWED = {"projection": ProjectionView, "units": UnitsView}
"""The views whose maps follow a training, by the derivation that places their points."""


def _shown(view: Any, scene: Scene, select: str = "") -> list[Picture]:
    """All pictures of a look, each draft made."""
    told = view.pictures(scene, Selection.parse(select))
    return [one.make() if isinstance(one, Draft) else one for one in told if not isinstance(one, Progress)]


def test_all_maps_that_follow_a_training_are_looked_at_here() -> None:
    """A new derivation that follows the snapshots, and a view with its name, is held to what is said of these."""
    assert {name for name in derivations if issubclass(derivations[name], SnapshotChain) and name in views} == set(FOLLOWED)


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_late_step_is_shown_before_its_way_is_made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look at a late step shows this step's units or examples after two maps, says that they are not joined yet, and ends as without."""
    run = _run(tmp_path / "run", 21)
    scene, made = run.scene(21), FOLLOWED[name](layer="2")
    links = len(scene.derive(name, layer="2").way)
    told = made.pictures(scene, Selection())
    before = list(itertools.takewhile(lambda one: not isinstance(one, Draft), told))
    assert links > 8
    assert not any("on the way" in one.note for one in before if isinstance(one, Progress))
    rest = list(told)
    drafts = [one.make() for one in rest if isinstance(one, Draft)]
    # Its first draft was taken above.
    assert all(one.places.step == 21 for one in drafts)
    last = rest[-1]
    again = _shown(FOLLOWED[name](layer="2"), _run(tmp_path / "other", 21).scene(21))
    straight = again[0]
    assert f"start right from step 0: the maps of {links - 1} snapshots between are being made" in straight.note.replace("These", "these")
    assert not straight.final
    marks = [one.body.children[0] if name == "projection" else one.body for one in (straight, again[-1], last)]
    assert np.isfinite(marks[0].points).all()
    np.testing.assert_allclose(marks[2].points, marks[1].points, atol=1e-6)
    # What is shown meanwhile is no step of a way, and is not written.
    monkeypatch.setattr("diorama.derive.work.SHORT", 0.0)
    derived = diorama.open(tmp_path / "run").scene(20).derive(name, layer="2")
    assert derived.straight is not None
    key = derived.straight.name
    assert derived.straight.value is not None
    assert not derived.store.has(key)
    assert derived.newest is None or derived.newest[0] < 20


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_a_map_has_reached_is_not_thrown_back(name: str, tmp_path: Path) -> None:
    """A look begins with the newest map that was made, also of a step that is not on the way, with what is chosen lit; none after it is older."""
    made, run = FOLLOWED[name](layer="2"), _run(tmp_path / "run", 23)
    first = [one.places for one in _shown(made, run.scene(21))]
    assert {one.step for one in first} == {21}
    (shown,) = _shown(made, run.scene(21))
    way = [one.scene.step for one in run.scene(23).derive(name, layer="2").way]
    assert 21 not in way
    answers = run.scene(23).derive("units", layer="2").derivation.answers(run.scene(23))
    lit = ((answers - answers.mean(0)) / answers.std(0) >= 0.5).sum(1)
    draft, *more = _shown(made, run.scene(23), f"example:{int(np.argmax((lit > 0) & (lit < 5)))}")
    assert draft.places == first[-1]
    assert "at step 21, on the way to step 23" in draft.note.replace("These", "these")
    assert not draft.final
    assert draft.places.of == more[-1].places.of
    marks = [one.body.children[0] if name == "projection" else one.body for one in (shown, draft, more[-1])]
    np.testing.assert_allclose(marks[1].points, marks[0].points)  # choosing needs no new map
    assert [one.step for one in (draft, more[-1])] == [23, 23]
    if name == "units":
        assert np.asarray(marks[1].faded).tolist() == np.asarray(marks[2].faded).tolist()
        assert 0 < np.asarray(marks[1].faded).sum() < 5
    reached = [one.places.step for one in more]
    assert reached == sorted(reached)
    assert 21 <= reached[0] <= reached[-1] == 23


def test_maps_of_something_else_are_no_newer_ones(tmp_path: Path) -> None:
    """Other knobs and other examples are another map; one of other units, and one of a later step, is passed over."""
    run = _run(tmp_path / "run")
    assert run.scene(2).derive("projection", layer="2").value is not None
    scene = run.scene(3)
    assert run.scene(1).derive("projection", layer="2").newest[0] == 1
    assert scene.derive("projection", layer="2").newest[0] == 2
    assert scene.derive("projection", layer="0").newest is None
    assert scene.derive("projection", layer="2", method="mds").newest is None
    assert scene.first(30).derive("projection", layer="2").newest is None
    assert scene.edit("unit:0/1", lesion=True).derive("projection", layer="2").newest is None
    derived = run.scene(3).derive("projection", layer="2", dimensions=3)
    assert derived.value is not None
    other = run.scene(3).derive("projection", layer="2", dimensions=2)
    run.scene(3).keep(f"{other.line}/noted")[3] = f"projection/{derived.key}"  # as of a network that has grown since
    assert other.newest[0] == 2
    assert other.newest[1].shape == (40, 2)


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_next_step_loads_no_network_of_those_before(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named and was looked at once is known; it has the names that it would have if it were not."""
    run = _run(tmp_path / "run")
    made = FOLLOWED[name](layer="2")
    list(made.pictures(run.scene(3), Selection()))
    loaded: list[int] = []
    load = RecordedSource.module

    def module(source: RecordedSource) -> nn.Module:
        if source._model is None:
            loaded.append(source.step)
        return load(source)

    monkeypatch.setattr(RecordedSource, "module", module)
    (*_, last) = made.pictures(run.scene(4), Selection())
    assert not set(loaded) & {0, 1, 2}
    assert 4 in loaded
    other = diorama.open(tmp_path / "run").scene(4)
    keys = [[one.key for one in scene.derive(name, layer="2").way] for scene in (run.scene(4), other)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 4
    assert last.checks == other.view(name, layer="2").checks
