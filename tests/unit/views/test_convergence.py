"""Which layer settled when: against weights and answers that were planted, and slow formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Lines, Table
from diorama.export.axes import Axis
from diorama.run import Run
from diorama.scene import Scene
from diorama.scene.weight_planes import sampled
from diorama.views.training._end_distance import answered, moves, settled
from diorama.views.training.convergence import _moment


def _recorded(path: Path, plan: list[float], **told: Any) -> Run:
    """A run whose layer "early" is at the end after the first step, whose layer "late" goes as planned, whose "still" stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential()
        for name, layer in {"early": nn.Linear(4, 6), "act": nn.ReLU(), "late": nn.Linear(6, 6), "still": nn.Linear(6, 3)}.items():
            model.add_module(name, layer)
        x = torch.randn(30, 4)
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    way = {name: torch.randn(value.shape, generator=torch.Generator().manual_seed(1)) for name, value in begun.items()}
    with diorama.watch(model, path, probe=(x, torch.arange(30) % 3), every=1, snapshots=1, **told) as recorder:
        for place in plan:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if not name.startswith("still"):
                        parameter.copy_(begun[name] + (1.0 if name.startswith("early") else place) * way[name])
            recorder.step(loss=torch.tensor(1.0))
    return diorama.open(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four steps after the first weights."""
    return _recorded(tmp_path_factory.mktemp("convergence") / "run", [0.5, 0.75, 0.95, 1.0])


def _find(picture: Any, kind: type) -> list[Any]:
    return [child for child in picture.body.children if isinstance(child, kind)]


def test_layers_are_ranked_by_when_they_settled(run: Run) -> None:
    """The planted order, moments and shares come out, and a layer that never moved is said to."""
    picture = run.scene(run.snapshots[-1]).view("convergence")
    table, heat = _find(picture, Table)[0], _find(picture, Heatmap)[0]
    assert run.snapshots == [0, 1, 2, 3, 4]
    found = dict(zip(table.columns[0].texts, table.columns[1].numbers.tolist(), strict=True))
    assert found == {"early": 1, "late": 3, "still": 0}
    rows = dict(zip(heat.row_labels, heat.values, strict=True))
    np.testing.assert_allclose(rows["late"], [1, 0.5, 0.25, 0.05, 0], atol=1e-6)
    np.testing.assert_allclose(rows["early"], [1, 0, 0, 0, 0], atol=1e-6)
    assert "still never moved." in picture.caption
    assert "early settled first, at step 1. late settled last of those that did, at step 3." in picture.caption


def test_distances_are_of_all_weights_of_a_layer(run: Run) -> None:
    """Weight and bias together, as the slow sum gives."""
    found = moves(run.scene(4), (0, 1, 2, 3, 4))
    one, last = run.state(0), run.state(4)
    wanted = sum(float(((one[n] - last[n]) ** 2).sum()) for n in ("late.weight", "late.bias")) ** 0.5
    assert found.distance[found.layers.index("late"), 0] == pytest.approx(wanted)
    assert found.straight[found.layers.index("late")] == pytest.approx(1)


def test_representations_are_compared_by_cka(run: Run) -> None:
    """The heat map's numbers are those of the derivation between two steps of the run."""
    scene = run.scene(2)
    heat = _find(scene.view("convergence", measure="representation"), Heatmap)[0]
    derived = scene.derive("similarity", other=run.scene(4), layers="late", others="late").value
    assert heat.values[heat.row_labels.index("late"), 2] == pytest.approx(derived[0, 0], abs=1e-6)
    heat = _find(scene.view("convergence", measure="neighbours"), Heatmap)[0]
    derived = scene.derive("similarity", other=run.scene(1), layers="late", others="late").value
    assert heat.values[heat.row_labels.index("late"), 2] == pytest.approx(derived[0, 0], abs=1e-6)


def test_each_snapshot_is_run_once_and_stopped_work_goes_on_where_it_was(run: Run) -> None:
    """One pass tells what layers and network answer; who comes back gets the same numbers from the snapshots that are left and two more."""
    steps, passes = tuple(run.snapshots), [0]
    scene = run.scene(steps[-1])
    whole = list(answered(scene, steps))
    scene = run.scene(steps[-1])
    assert scene.task == "classification"
    assert all(layer.each for layer in scene.layers.leaves)  # what is known of the network is there before passes are counted
    with torch.nn.modules.module.register_module_forward_hook(lambda module, args, output: _count(passes, module, args)):
        work = answered(scene, steps)
        for _ in range(3):
            begun = next(work)
        work.close()
        assert passes[0] == 3
        rest = list(answered(scene, steps, begun))
    assert (begun.down_to, len(rest), passes[0]) == (2, 2, 3 + 2 + 2)
    for name in ("to_end", "to_next", "frozen"):
        np.testing.assert_allclose(getattr(rest[-1], name), getattr(whole[-1], name), atol=1e-9)


def _count(passes: list[int], module: nn.Module, args: Any) -> None:
    passes[0] += isinstance(module, nn.Sequential) and len(args[0]) == 30


def test_frozen_answers_never_change_again(run: Run) -> None:
    """The share at each step is that of examples whose answers from then on are all the same."""
    frozen = _find(run.scene(4).view("convergence"), Lines)[-1].series[0].y
    given = np.stack([run.scene(step).predictions().numpy() for step in run.snapshots])
    wanted = [(given[k:] == given[-1]).all(0).mean() for k in range(5)]
    np.testing.assert_allclose(frozen, wanted)
    assert wanted[0] < 1


def test_lines_of_layers_have_their_rank_and_no_number_that_says_another(run: Run) -> None:
    """The first that settled stands at the top, of the map and of the lines; the axis beside the lines has no ticks, on paper neither."""
    picture = run.scene(4).view("convergence")
    lines = next(line for line in _find(picture, Lines) if line.y_title == "layers")
    assert not lines.y_ticks
    assert [series.name.partition(" ")[0] for series in lines.series] == [f"{k}." for k in range(1, len(lines.series) + 1)]
    assert [series.y[0] for series in lines.series] == sorted((series.y[0] for series in lines.series), reverse=True)
    assert not Axis(0.0, 20.0, 0.0, 400.0, bare=True).ticks(5)
    assert Axis(0.0, 20.0, 0.0, 400.0).ticks(5)


def test_weights_alone_are_shown_where_the_model_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's run says how its weights settled, and why its answers are not known."""
    scene = diorama.open(run.path).scene(4)
    monkeypatch.setattr(Scene, "missing", property(lambda self: "its model is not trusted"))
    picture = scene.view("convergence")
    assert not [line for line in _find(picture, Lines) if line.y_title.startswith("frozen")]
    assert "only weights" in picture.note
    with pytest.raises(NotApplicable, match="not trusted"):
        scene.view("convergence", measure="representation")


def test_numbers_that_are_none_are_told(tmp_path: Path) -> None:
    """NaN weights have not settled, and are not said to have."""
    picture = _recorded(tmp_path / "run", [0.5, float("nan")]).scene(2).view("convergence")
    assert "cannot be followed" in picture.caption
    assert "settled first" not in picture.caption.partition("cannot")[2]


def test_a_step_counts_as_settled_only_when_all_later_ones_are() -> None:
    """A layer that leaves again has not settled before it comes back for good; the last snapshot alone says nothing."""
    rows = np.array([[1, 0.05, 0.3, 0.02, 0], [1, 0.8, 0.5, 0.3, 0], [0, 0, 0, 0, 0]])
    assert settled(rows, (0, 10, 20, 30, 40), 0.1) == [30, None, 0]
    unknown = np.array([[np.nan, np.nan, 1, 1, 1], [np.nan, 0.5, 1, 1, 1]])
    assert settled(unknown, (0, 10, 20, 30, 40), 0.9, below=False) == [None, 20]
    steps = (0, 5, 180, 190, 199, 200)
    even, slowing = [1, 0.975, 0.1, 0.05, 0.005, 0], [1, 0.9, 0.04, 0.04, 0.04, 0]
    late, unseen = [1, 1, 1, 0.09, 0.001, 0], [1, 0.9, 0.09, 0.1, 0.02, 0]
    assert settled(np.array([even, slowing, late, unseen]), steps, 0.1, paced=True) == [None, 180, 199, None]
    assert [_moment(steps, step) for step in (199, 180)] == ["between steps 190 and 199", "between steps 5 and 180"]


def test_snapshots_are_sampled_evenly_in_steps() -> None:
    """The first and the last are among them."""
    steps = sampled([*range(100), 1000], 5)
    assert steps[0] == 0
    assert steps[-1] == 1000
    assert len(sampled(list(range(200)), 24)) == 24


def test_a_layer_that_has_not_settled_is_told_in_words(tmp_path: Path) -> None:
    """Of a layer that goes on evenly to the end the table says that it has not settled, and of others when they did; the scale's words fit."""
    picture = _recorded(tmp_path / "run", [0.25, 0.5, 0.75, 1.0]).scene(4).view("convergence")
    table, heat = _find(picture, Table)[0], _find(picture, Heatmap)[0]
    assert dict(zip(table.columns[0].texts, table.columns[1].texts, strict=True)) == {"early": "1", "late": "not yet", "still": "0"}
    assert len(heat.column_title) < 30


def test_a_layer_moved_by_all_that_it_learns(tmp_path: Path) -> None:
    """Biases count for how far it moved, and what it merely keeps does not: a layer of buffers alone has no line."""
    model = nn.Sequential()
    model.add_module("dense", nn.Linear(4, 3))
    model.dense.register_buffer("seen", torch.zeros(3))
    model.add_module("kept", nn.Identity())
    model.kept.register_buffer("plane", torch.zeros(2, 2))
    with torch.no_grad(), diorama.watch(model, tmp_path / "run", probe=(torch.randn(9, 4), torch.arange(9) % 3), every=1, snapshots=1) as recorder:
        model.dense.weight += 2.0
        model.dense.bias += 1.0
        model.dense.seen += 50.0
        model.kept.plane += 50.0
        recorder.step(loss=torch.tensor(1.0))
    found = moves(diorama.open(tmp_path / "run").scene(), [0, 1])
    assert found.layers == ("dense",)
    assert found.distance[0, 0] == pytest.approx(np.sqrt(12 * 2.0**2 + 3), rel=1e-5)
