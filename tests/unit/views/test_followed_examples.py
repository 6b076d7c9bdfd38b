"""The view of examples over a training: histories, the map of the data, the likely mislabelled; each word is checked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_runs import recorded
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Field, Group, Heatmap, Lines, Table
from diorama.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training whose probe set has six labels turned round."""
    g = torch.Generator().manual_seed(3)
    y = torch.arange(120) % 4
    x = 2 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[y] + 0.6 * torch.randn(120, 3, generator=g)
    y[:6] = (y[:6] + 1) % 4
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.copy_(torch.randn(4, 3, generator=g))
        model.bias.zero_()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    path = tmp_path_factory.mktemp("followed") / "run"
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=5, snapshots=20) as recorder:
        for _ in range(100):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return diorama.open(path)


def test_the_likely_mislabelled_come_first(run: Run) -> None:
    """The planted labels stand first, with the answer that was given instead, and are counted by class."""
    scene = run.scene()
    picture = scene.view("examples", show="mislabelled", limit=10)
    assert set(picture.idle) == {"measure", "since", "layout"}
    assert isinstance(picture.body, Group)
    bars, table = picture.body.children
    assert isinstance(table, Table)
    assert isinstance(bars, Bars)
    first = [int(key.split(":")[1]) for key in table.row_keys]
    assert len(set(first[:8]) & set(range(6))) == 6
    doubt = scene.derive("margins").value["doubt"]
    assert first == np.argsort(-doubt, kind="stable")[:10].tolist()
    columns = {column.name: column for column in table.columns}
    planted = [row for row, k in enumerate(first) if k < 6]
    y = run.examples.y.numpy()
    assert all((columns["answered instead"].numbers[row] + 1) % 4 == y[first[row]] for row in planted)
    assert bars.values.sum() == (doubt > 0).sum()
    assert f"{(doubt > 0).sum()} have a doubt above 0" in picture.caption
    assert table.boxes
    assert re.search(rf"About [4-8] of the {(doubt > 0).sum()} are likely wrong", picture.caption)  # six are
    # Earlier it is of the looks until then.
    early = run.scene(40)
    told = early.view("examples", show="mislabelled", limit=120)
    then = next(mark for mark in told.marks() if isinstance(mark, Table))
    value = early.derive("margins").value
    seen = (value["steps"] > 0) & (value["steps"] <= 40)
    apart = value["likelihood"][:, seen] * np.expm1(-value["margin"][:, seen])
    rows = [int(key.split(":")[1]) for key in then.row_keys]
    by = {column.name: column.numbers for column in then.columns}
    np.testing.assert_allclose(by["doubt"], apart.mean(1)[rows], atol=1e-6)
    np.testing.assert_allclose(by["area under the margin"], value["margin"][:, seen].mean(1)[rows], atol=1e-6)


def test_all_examples_of_a_large_probe_set_are_looked_at_when_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first examples, at which the training looked, the others come by a look at each snapshot; the note says which are left out."""
    monkeypatch.setattr("diorama.scene.scene.LIVE", 60)
    scene = run.scene()
    assert "the first 60 of 120 examples are looked at; among=all" in scene.view("examples", show="mislabelled").note
    assert "are looked at;" not in scene.view("examples", show="mislabelled", among="all").note
    found, y = scene.derive("margins", whole=True).value, run.examples.y
    assert found["steps"].tolist() == run.snapshots
    for look, step in enumerate(run.snapshots):
        scores = run.scene(step).model(run.examples.x).detach().double()
        label = scores.gather(1, y[:, None])[:, 0]
        other = scores.scatter(1, y[:, None], -torch.inf).amax(1)
        np.testing.assert_allclose(found["margin"][:, look], (label - other).numpy(), atol=1e-5)


def test_a_history_says_what_became_of_each(run: Run) -> None:
    """Learnt, forgotten and never learnt add up to all, as the last column of the lines does; a class leaves its own."""
    scene, value = run.scene(40), run.scene(40).derive("margins").value
    picture = scene.view("examples", show="history", measure="margin", class_=2, limit=500)
    lines, heat = picture.body.children
    assert isinstance(lines, Lines)
    assert isinstance(heat, Heatmap)
    assert lines.cursor == 40
    group = value["group"]
    for number, series in zip((3, 2, 1), lines.series, strict=True):
        assert series.y[-1] == pytest.approx((group == number).mean())
        assert f"{(group == number).sum()} {series.name}" in picture.caption
    shown = [int(key.split(":")[1]) for key in heat.row_keys]
    assert sorted(shown) == np.flatnonzero(run.examples.y.numpy() == 2).tolist()
    np.testing.assert_array_equal(heat.values, value["margin"][shown])
    assert heat.limits == run.scene(100).view("examples", show="history", measure="margin", class_=2).body.children[1].limits


def test_the_map_of_the_data_shows_every_example(run: Run) -> None:
    """A point stands at the spread and the mean of its label's probability; what is wrong is crossed out."""
    value = run.scene().derive("margins").value
    field = run.scene().view("examples", show="map", sort="index").body
    assert isinstance(field, Field)
    np.testing.assert_allclose(field.points, np.stack([value["spread"], value["confidence"]], 1))
    np.testing.assert_array_equal(field.wrong, value["group"] < 3)


def test_what_has_no_history_says_so(run: Run, tmp_path: Path) -> None:
    """Without a run, without labels, or with numbers for answers, one sentence says why and what to use instead."""
    scene = run.scene()
    with pytest.raises(NotApplicable, match="not opened from a run.*show=answers"):
        diorama.Scene(scene.model, scene.examples.x, scene.examples.y).view("examples", show="map")
    with pytest.raises(NotApplicable, match="doubt"):
        scene.view("examples", sort="doubt")
    model, x = nn.Linear(3, 1), torch.randn(20, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for name, probe in (("numbers", (x, x[:, :1])), ("bare", x)):
        with diorama.watch(model, tmp_path / name, probe=probe, optimizer=optimizer, every=1) as recorder:
            for _ in range(4):
                loss = (model(x) - x[:, :1]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss.detach())
    numbers = diorama.open(tmp_path / "numbers").scene()
    heat = numbers.view("examples", show="history", limit=20).body
    assert isinstance(heat, Heatmap)
    assert heat.values.shape[0] == 20
    with pytest.raises(NotApplicable, match="show=history"):
        numbers.view("examples", show="mislabelled")
    with pytest.raises(NotApplicable, match="the task|not known|task="):
        diorama.open(tmp_path / "bare").scene().view("examples", show="history")


def test_a_training_of_weights_that_are_no_numbers_is_told(tmp_path: Path) -> None:
    """After weights became NaN nothing is right, nothing is learnt by chance, and every picture is drawn."""
    run = recorded(tmp_path / "run", steps=30, rate=float("nan"))
    value = run.scene().derive("margins").value
    assert value["known"].all()
    assert set(value["group"].tolist()) == {1}
    for show in ("history", "map", "mislabelled"):
        assert run.scene().view("examples", show=show).caption
