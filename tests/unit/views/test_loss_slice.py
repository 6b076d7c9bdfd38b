"""The loss around the weights: against slow evaluations, planted bowls, and rescaled networks that answer alike."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Field, Number
from diorama.core.picture import Picture
from diorama.record import look_pace
from diorama.run import Run
from diorama.scene import Scene, weight_planes
from diorama.scene.weight_planes import drawn
from diorama.views.training._slice import FEW, MANY, GridPlaces, Walker, outline, walked


def _net(norm: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        middle = [nn.BatchNorm2d(3)] if norm else []
        return nn.Sequential(nn.Conv2d(1, 3, 3), *middle, nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(24) % 3


def _field(picture: Picture) -> Field:
    found = picture.body.children[0]  # type: ignore[union-attr]
    assert isinstance(found, Field)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six steps of a small network with a snapshot and a look at the probe set at each, however busy the machine is."""
    model, (x, y) = _net().train(), _data()
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.8)
    path = tmp_path_factory.mktemp("slice") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_pace, "SHARE", 1e9)
        with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
            for _ in range(6):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss.detach())
    return diorama.open(path)


def test_each_place_has_the_loss_of_the_moved_weights() -> None:
    """A slow copy with weights moved by hand answers with the loss that the picture shows, and the centre is the network."""
    model, (x, y) = _net(), _data()
    field = _field(Scene(model, x, y).view("loss_slice", places=5, seed=3, reach=0.5))
    first, second = drawn({name: p.detach() for name, p in model.named_parameters()}, 3)
    for row, column in ((0, 0), (2, 2), (1, 4)):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter += (-0.5 + 0.25 * column) * first[name] + (-0.5 + 0.25 * row) * second[name]
            wanted = nn.functional.cross_entropy(moved(x), y)
        assert field.values[row, column] == pytest.approx(float(wanted), rel=1e-4)


def test_of_many_examples_a_few_tell_the_whole_plane_first() -> None:
    """Where it is the loss of a few that is said, what is tried stands beside it, and in the end each place has the loss of all."""
    model, x = _net(), torch.rand(MANY, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    scene = Scene(model, x, torch.arange(MANY) % 3)
    pictures = list(scene.stream("loss_slice", places=3))
    covered = next(picture for picture in pictures if len(picture.body.children) > 1)  # type: ignore[union-attr]
    assert f"At 9 of 9 places it is so far the loss of {FEW} of {MANY} examples." in covered.note
    assert not covered.final
    chosen = np.linspace(0, MANY - 1, FEW).round().astype(int)
    assert _field(covered).values[1, 1] == pytest.approx(float(scene.losses()[chosen].mean()), rel=1e-4)
    assert _field(pictures[-1]).values[1, 1] == pytest.approx(float(scene.losses().mean()), rel=1e-4)
    assert pictures[-1].final
    assert "so far" not in pictures[-1].note


def test_who_comes_back_finds_the_places_that_were_known() -> None:
    """Work that was stopped, as by a cross that was dragged on, asks no place twice, and ends with the same numbers."""
    model, (x, y) = _net(), _data()
    scene = Scene(model, x, y)
    plane = weight_planes.plane(scene, "random")
    walker, places = Walker(scene, plane, anew=False), GridPlaces(plane.extent, 5)
    asked: list[tuple[float, float]] = []
    plain = walker.asked
    walker.asked = lambda x, y: (asked.append((x, y)), plain(x, y))[1]  # type: ignore[method-assign]
    work = walked(walker, places)
    while places.known.sum() < 7:
        next(work)
    work.close()
    assert not places.whole
    list(walked(walker, places))
    assert len(asked) == len(set(asked)) == 25
    np.testing.assert_allclose(places.losses, _field(scene.view("loss_slice", places=5)).values, rtol=1e-5)


def test_an_example_without_a_loss_is_left_out() -> None:
    """One whose answer is no number leaves the others their mean loss, here and at other weights, and it is said."""
    model, (x, y) = _net(), _data()
    x[3, 0, 2, 2] = torch.nan
    picture = Scene(model, x, y).view("loss_slice", places=3)
    rest = torch.arange(24) != 3
    assert _field(picture).values[1, 1] == pytest.approx(nn.functional.cross_entropy(model(x[rest]), y[rest]).item(), rel=1e-5)
    assert np.isfinite(_field(picture).values).all()
    assert picture.note.startswith("1 of 24 examples has a loss that is no finite number. The mean loss is that of the others.")


def test_random_directions_are_as_long_as_the_filters() -> None:
    """Filter normalisation of Li et al.: each filter of a direction has the norm of the network's own; biases stay."""
    weights = {name: p.detach() for name, p in _net().named_parameters()}
    for direction in drawn(weights, 0):
        for name, value in weights.items():
            norms = direction[name].flatten(1).norm(dim=1) if value.ndim > 1 else direction[name]
            wanted = value.flatten(1).norm(dim=1) if value.ndim > 1 else torch.zeros_like(value)
            torch.testing.assert_close(norms, wanted)


def test_rescaling_a_filter_and_its_partner_changes_nothing() -> None:
    """A network that answers alike has the same slice, whatever the scales of its filters."""
    model, (x, y) = _net(), _data()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight[1] *= 7
        scaled[0].bias[1] *= 7
        scaled[2].weight[:, 1] /= 7
        scaled[2].weight[2] *= 0.2
        scaled[2].bias[2] *= 0.2
        scaled[5].weight[:, 32:48] /= 0.2
    one, other = (_field(Scene(net, x, y).view("loss_slice", places=5)).values for net in (model, scaled))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    assert one.std() > 1e-3


def test_the_centre_is_the_recorded_loss_and_the_path_lies_where_it_went(run: Run) -> None:
    """The check of the centre is zero, snapshots lie at their projections, and their principal plane holds nearly all of the way."""
    scene = run.scene(4)
    picture = scene.view("loss_slice", places=5, directions="trajectory")
    checks = {check.name: check.value for check in picture.checks}
    assert checks["centre"] < 1e-5
    field = _field(picture)
    assert field.points is not None
    assert field.point_keys == tuple(f"step:{step}" for step in run.snapshots)
    np.testing.assert_allclose(field.points[run.snapshots.index(4)], 0, atol=1e-5)
    rows = np.stack([np.concatenate([value.numpy().ravel() for value in run.state(step).values()]) for step in run.snapshots])
    rows = rows.astype(np.float64) - rows[-1]
    axes = np.linalg.svd(rows, full_matrices=False)[2][:2]
    wanted = (rows - rows[run.snapshots.index(4)]) @ axes.T
    np.testing.assert_allclose(np.abs(field.points), np.abs(wanted), atol=1e-4)
    within = np.square(wanted).sum() / np.square(rows - rows[run.snapshots.index(4)]).sum()
    assert checks["path within the plane"] == pytest.approx(within, rel=1e-3)


def test_the_plane_stays_while_time_is_scrubbed(run: Run) -> None:
    """Extent and colours are those of the run, not of the step."""
    fields = [_field(run.scene(step).view("loss_slice", places=3, directions="trajectory")) for step in (0, 6)]
    assert fields[0].extent == pytest.approx(fields[1].extent, rel=1e-4)
    assert fields[0].limits is not None
    assert fields[1].limits is not None
    assert fields[0].limits.high == fields[1].limits.high


def test_a_way_between_steps_ends_at_the_other_network(run: Run) -> None:
    """At the place 1,0 the loss is that of the other step, and so are the answers."""
    scene = run.scene(1)
    picture = scene.view("loss_slice", places=5, directions="between", to=6, at="1,0")
    wanted = run.scene(6).losses().mean()
    field, tried = picture.body.children  # type: ignore[union-attr]
    assert field.values[2, 3] == pytest.approx(float(wanted), rel=1e-4)
    numbers = {child.label: child.value for child in tried.children if isinstance(child, Number)}
    assert numbers["loss at the cross"] == pytest.approx(float(wanted), rel=1e-4)
    changed = (run.scene(6).predictions() != scene.predictions()).sum()
    assert numbers["answers that change"] == int(changed)


def test_the_outline_is_the_border_of_the_region() -> None:
    """One good cell in the middle has four borders, and none stands at the edge of the plane."""
    good = np.zeros((3, 3), bool)
    good[1, 1] = True
    pieces = {tuple(piece) for piece in outline(good, (0, 3, 0, 3)).tolist()}
    assert pieces == {(1, 1, 1, 2), (2, 1, 2, 2), (1, 1, 2, 1), (1, 2, 2, 2)}
    assert not len(outline(np.ones((3, 3), bool), (0, 3, 0, 3)))


def test_batch_norm_says_which_statistics_it_has_and_the_network_stays() -> None:
    """Statistics at hand or anew give other slices with the same centre; the user's model is as it was."""
    model, (x, y) = _net(norm=True), _data()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scene = Scene(model, x, y)
    kept, anew = (scene.view("loss_slice", places=5, statistics=which) for which in ("snapshot", "anew"))
    assert "keeps the statistics" in kept.caption
    assert "statistics of its own" in anew.caption
    one, other = _field(kept).values, _field(anew).values
    assert one[2, 2] == pytest.approx(other[2, 2])
    assert np.abs(one - other).max() > 1e-3
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_what_cannot_be_drawn_says_why(run: Run, tmp_path: Path) -> None:
    """One sentence for a model without a training, for a place that is none, for weights that are no numbers."""
    model, (x, y) = _net(), _data()
    scene = Scene(model, x, y)
    with pytest.raises(NotApplicable, match="three snapshots"):
        scene.view("loss_slice", directions="trajectory")
    with pytest.raises(NotApplicable, match="second one"):
        scene.view("loss_slice", directions="between")
    with pytest.raises(UsageError, match="two numbers"):
        scene.view("loss_slice", at="here")
    with pytest.raises(NotApplicable, match="no labels"):
        Scene(model, x).view("loss_slice")
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    picture = Scene(model, x, y).view("loss_slice", places=3)
    assert "Some weights are not numbers here" in picture.caption
    assert np.isnan(_field(picture).values).all()


@pytest.mark.parametrize("directions", ["random", "trajectory", "between"])
def test_a_moved_scene_is_the_network_at_the_cross(run: Run, directions: str) -> None:
    """What the cross says of a place, the moved scene answers; its step, its record and the scene it came from stay."""
    scene = run.scene(3)
    before = scene.fingerprint
    moved = scene.edit("unit:0/1", scale=0.5).edit(f"plane:{directions}", at="0.3,-0.2", seed=2)
    assert [str(edit) for edit in moved.edits] == ["unit:0/1 times 0.5"]
    assert moved.view("answer").provenance.edits[-1] == "unit:0/1 times 0.5"
    assert "0.3, -0.2" in moved.view("answer").provenance.edits[0]
    moved = scene.edit(f"plane:{directions}", at="0.3,-0.2", seed=2)
    tried = scene.view("loss_slice", places=3, directions=directions, at="0.3,-0.2", seed=2).body.children[1].children[0]  # type: ignore[union-attr]
    assert float(moved.losses().mean()) == pytest.approx(tried.value, rel=1e-4)
    assert (moved.step, moved.run) == (3, run)
    assert moved.fingerprint != before == scene.fingerprint == moved.at(3).fingerprint
    assert not np.allclose(moved.parameters()["0.weight"], scene.parameters()["0.weight"])
    assert scene.edit(f"plane:{directions}", at="0,0").fingerprint == before
    # Moved again it starts from the network itself, and the slice is still one around that.
    assert moved.edit(f"plane:{directions}", at="0.3,-0.2", seed=2).fingerprint == moved.fingerprint
    shown, own = (_field(one.view("loss_slice", places=3, directions=directions)).values for one in (moved, scene))
    np.testing.assert_array_equal(shown, own)


def test_a_moved_network_may_estimate_its_batch_norm_anew() -> None:
    """With statistics anew the moved scene has the loss that the cross has, which is another than with the old ones."""
    model, (x, y) = _net(norm=True), _data()
    scene = Scene(model, x, y)
    losses = []
    for how in ("snapshot", "anew"):
        tried = scene.view("loss_slice", places=3, at="0.5,0.5", statistics=how).body.children[1].children[0]  # type: ignore[union-attr]
        losses.append(float(scene.edit("plane:random", at="0.5,0.5", statistics=how).losses().mean()))
        assert losses[-1] == pytest.approx(tried.value, rel=1e-4)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_what_is_no_place_among_weights_is_refused() -> None:
    """A plane, place, seed or part that is not there is one sentence, from Python as from the page."""
    scene = Scene(_net(), *_data())
    for key, change in (
        ("plane:", {}), ("plane:sideways", {}), ("plane:random", {"at": "here"}), ("plane:random", {"at": "1,nan"}),
        ("plane:random", {"seed": -1}), ("plane:random", {"lesion": True}), ("plane:random", {"statistics": "old"}),
        ("plane:between", {"to": "end"}),
    ):
        with pytest.raises(UsageError):
            scene.edit(key, **change)
    with pytest.raises(NotApplicable, match="second one"):
        scene.edit("plane:between", at="1,0")


def test_the_page_moves_every_other_view(run: Run) -> None:
    """The edit that the page sends makes each request look at the moved network, between two runs too."""
    from diorama.core.request import Request
    from diorama.live.scenes import Scenes

    scenes, sources = Scenes(), {"one": {"path": str(run.path), "trust": True}}
    plain = {"run": "one", "view": "confusion", "step": 3}
    edit = {"key": "plane:between", "at": "1,0", "to": None, "seed": 0, "statistics": "snapshot"}
    found = scenes.of(Request.parse({**plain, "edits": [edit], "other": {"run": "one", "step": 6}}), sources)
    assert found.scores().numpy() == pytest.approx(run.scene(6).scores().numpy(), abs=1e-5)
    assert found.step == 3
    assert scenes.of(Request.parse(plain), sources).scores().numpy() == pytest.approx(run.scene(3).scores().numpy())
