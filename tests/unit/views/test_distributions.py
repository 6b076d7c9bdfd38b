"""Distributions over steps, as ridges and as bands."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_runs import recorded

from diorama.core.errors import NotApplicable, NotFound
from diorama.core.marks import Lines, Ridges
from diorama.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training."""
    return recorded(tmp_path_factory.mktemp("runs") / "short", 60)


@pytest.mark.parametrize("of", ["weights", "gradients", "updates", "activations"])
def test_every_tensor_both_ways(run: Run, of: str) -> None:
    """Weights, gradients, updates and activations are shown as ridges and as bands, on the same scale."""
    scene = run.scene()
    ridges = scene.view("distributions", of=of).body
    bands = scene.view("distributions", of=of, form="bands").body
    assert isinstance(ridges, Ridges)
    assert isinstance(bands, Lines)
    assert ridges.x_range == bands.y_range
    assert ridges.cursor == scene.step
    assert len(ridges.sets[0].steps) <= 24


def test_a_ridge_is_a_density(run: Run) -> None:
    """The area of each ridge is the share of values within the scale: all of them, where nothing lies outside."""
    picture = run.scene().view("distributions", of="weights")
    assert isinstance(picture.body, Ridges)
    one = picture.body.sets[0]
    areas = one.density @ np.diff(one.edges)
    np.testing.assert_allclose(areas, 1, atol=0.03)
    state = run.state(run.snapshots[-1])["first.weight"]
    assert one.edges[0] <= float(state.min())
    assert one.edges[-1] >= float(state.max())


def test_bands_hold_what_they_say(run: Run) -> None:
    """The widest band reaches from the exact lowest to the exact highest weight, the line is their median."""
    picture = run.scene().view("distributions", form="bands", layer="first")
    assert isinstance(picture.body, Lines)
    widest, *_, median = picture.body.series
    weights = run.state(60)["first.weight"]
    assert widest.band
    assert widest.low is not None
    assert widest.high is not None
    assert widest.low[-1] == pytest.approx(float(weights.min()), rel=1e-5)
    assert widest.high[-1] == pytest.approx(float(weights.max()), rel=1e-5)
    assert median.y[-1] == pytest.approx(float(torch.quantile(weights, 0.5)), abs=0.1)


def test_the_training_batch_and_the_probe_set(run: Run) -> None:
    """Activations come from both, from one or from the other."""
    for on, names in (("both", ["training batch", "probe set"]), ("training", [""]), ("probe", [""])):
        body = run.scene().view("distributions", of="activations", on=on).body
        assert isinstance(body, Ridges)
        assert [one.name for one in body.sets] == names
    assert len({one.colour for one in run.scene().view("distributions", of="activations").body.sets}) == 2  # type: ignore[union-attr]


def test_the_selected_layer_is_shown(run: Run) -> None:
    """A selected layer or unit chooses the tensor; a layer without weights of its own is said to have none."""
    scene = run.scene()
    assert "last.weight" in scene.view("distributions", select=["layer:last"]).title
    assert "last.weight" in scene.view("distributions", select=["unit:last/1"]).title
    picture = scene.view("distributions", select=["layer:relu"])
    assert "first.weight" in picture.title
    assert "relu has no weights" in picture.note
    with pytest.raises(NotApplicable, match="first, last"):
        scene.view("distributions", layer="relu")
    assert scene.view("distributions", tensor="weights/last.bias").title == "Weights of last.bias"
    with pytest.raises(NotFound):
        scene.view("distributions", tensor="weights/las.bias")


def test_two_runs_share_one_axis(tmp_path: Path) -> None:
    """The distributions of two runs lie on one scale, each in its own colour, on steps that both have."""
    first, second = recorded(tmp_path / "a", 40), recorded(tmp_path / "b", 40, seed=3)
    body = first.scene().view("distributions", other=second.scene()).body
    assert isinstance(body, Ridges)
    assert [one.name for one in body.sets] == ["a", "b"]
    assert body.sets[0].colour != body.sets[1].colour
    np.testing.assert_array_equal(body.sets[0].edges, body.sets[1].edges)
    np.testing.assert_array_equal(body.sets[0].steps, body.sets[1].steps)
    bands = first.scene().view("distributions", runs="b", form="bands").body
    assert isinstance(bands, Lines)
    assert {series.name for series in bands.series} == {"a", "b"}


def test_values_outside_a_chosen_range_are_counted(run: Run) -> None:
    """A range leaves values out, and the picture says how many at most."""
    picture = run.scene().view("distributions", range="-0.05:0.05")
    assert isinstance(picture.body, Ridges)
    assert picture.body.x_range == (-0.05, 0.05)
    assert "%" in picture.note


def test_a_run_that_turned_nan_is_shown(tmp_path: Path) -> None:
    """A training whose weights turned NaN is drawn as far as it goes, and says from which step on they are."""
    run = recorded(tmp_path / "nan", 30, rate=math.nan)
    for form in ("ridges", "bands"):
        picture = run.scene().view("distributions", form=form)
        assert "NaN" in picture.note
        assert "step 2 " in picture.note
