"""Views of answers: examples, confusion, the answer to one input, the decision boundary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import images
from torch import nn

import diorama
from diorama.core.colour import class_colour, rgb
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Field, Heatmap, Image, Table, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene
from diorama.views.view import rooms


def _mark(picture: Picture, kind: type) -> object:
    return next(mark for mark in picture.marks() if isinstance(mark, kind))


def _column(table: Table, name: str) -> np.ndarray:
    found = next(column for column in table.columns if column.name == name)
    assert found.numbers is not None
    return found.numbers


def test_examples_come_worst_first() -> None:
    """Rows are sorted by loss, carry their examples' keys, and wrong ones are flagged."""
    scene = images()
    table = _mark(scene.view("examples", limit=30), Table)
    losses = scene.losses().numpy()
    assert table.row_keys == tuple(f"example:{k}" for k in np.argsort(-losses, kind="stable"))
    assert np.allclose(_column(table, "loss"), np.sort(losses)[::-1])
    wrong = _column(table, "answer") != _column(table, "truth")
    assert np.array_equal(table.flagged, wrong)


def test_examples_of_a_class_can_be_chosen() -> None:
    """A chosen class leaves its own examples."""
    table = _mark(images().view("examples", class_=2), Table)
    assert set(_column(table, "truth")) == {2}


def test_of_numbers_none_is_wrong() -> None:
    """Answers that are numbers are neither right nor wrong, which is said; where all classes are right, none is shown."""
    torch.manual_seed(0)
    net, x = nn.Linear(4, 3), torch.randn(6, 4)
    with pytest.raises(NotApplicable, match="neither right nor wrong"):
        Scene(net, x, torch.randn(6, 3)).view("examples", only="wrong")
    assert Scene(net, x, net(x).argmax(1)).view("examples", only="wrong").note == "none is wrong"


def test_examples_say_what_changed_between_two_scenes() -> None:
    """Against another model, examples whose answer differs are flagged, and the caption counts them."""
    scene, other = images(), images(dead=0)
    picture = scene.view("examples", other=other, limit=30, sort="index")
    table = _mark(picture, Table)
    changed = scene.predictions() != other.predictions()
    assert np.array_equal(table.flagged, changed.numpy())
    assert f"{int(changed.sum())} answers differ" in picture.caption
    assert np.allclose(_column(table, "change"), (scene.losses() - other.losses()).numpy(), atol=1e-6)


def test_of_several_labels_more_or_less_is_right() -> None:
    """An answer of several labels is rarely right as a whole: against another network it is told of how many more, and of how many less is right."""
    torch.manual_seed(0)
    x, net, other = torch.randn(20, 4), nn.Linear(4, 5), nn.Linear(4, 5)
    y = (torch.rand(20, 5) > 0.5).float()
    scene = Scene(net, x, y, task="multi_label")
    mine, theirs = ((one(x) > 0) == y.bool() for one in (net, other))
    more, less = (int((sign * (mine.sum(1) - theirs.sum(1)) > 0).sum()) for sign in (1, -1))
    assert f"more of {more} is right here, less of {less}." in scene.view("examples", other=Scene(other, x, y, task="multi_label")).caption
    assert more
    assert less


def test_examples_become_a_strip() -> None:
    """The strip for the tray has one picture an example."""
    tiles = _mark(images().view("examples", layout="strip", sort="index", limit=7), Tiles)
    assert tiles.images.shape == (7, 8, 8)
    assert tiles.keys[3] == "example:3"


def test_confusion_counts_every_example_once() -> None:
    """Rows add up to the examples of each class, the diagonal to the right answers."""
    scene = images()
    heat = _mark(scene.view("confusion", share=False), Heatmap)
    assert heat.values.sum(1).tolist() == [10, 10, 10]
    assert np.trace(heat.values) == float(scene.answers().right.sum())
    assert heat.row_labels == ("zero", "one", "two")


def test_the_answer_is_the_models_own() -> None:
    """Bars are the softmax of the bare model's scores, with a tick at the truth."""
    scene = images()
    bars = _mark(scene.view("answer", example=4), Bars)
    with torch.no_grad():
        wanted = scene.model(scene.examples.x[4:5]).softmax(1)[0]
    assert np.allclose(bars.values, wanted, atol=1e-6)
    assert bars.reference.tolist() == [0, 1, 0]
    assert bars.strong == int(wanted.argmax())


def test_a_drawn_input_is_answered() -> None:
    """A tensor that is not in the probe set is looked at instead of an example, without a truth."""
    picture = images().view("answer", input=torch.zeros(1, 8, 8))
    assert "your input" in picture.caption
    assert _mark(picture, Bars).reference is None


def _plane(weights: list[list[float]], task: str | None = None) -> Scene:
    model = nn.Linear(2, len(weights))
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
        model.bias.zero_()
    x = torch.tensor([[-1.0, -2.0], [1.0, 2.0], [1.0, -2.0], [-1.0, 2.0]])
    y = torch.tensor([0, 1, 1, 0]) if task is None else x[:, 1].clone()
    return Scene(model, x, y, inputs=diorama.Table(columns=("across", "up")))


def test_the_boundary_lies_where_the_classes_meet() -> None:
    """Class 1 rules the right half for a model that looks at the first input alone."""
    field = _mark(_plane([[-3.0, 0.0], [3.0, 0.0]]).view("boundary", resolution=40), Field)
    assert (field.values[:, :20, 0] > 0.5).all()
    assert (field.values[:, 20:, 1] > 0.5).all()
    assert (field.x_title, field.y_title) == ("across", "up")
    assert not field.wrong.any()


def test_the_plane_of_a_regression_rises_upwards() -> None:
    """Row 0 is the lowest y, and values follow the model."""
    field = _mark(_plane([[0.0, 1.0]], "regression").view("boundary", resolution=30), Field)
    assert field.values[0].max() < field.values[-1].min()
    assert field.extent[2] == pytest.approx(-2 - 0.6, abs=1e-5)
    assert np.allclose(field.values[:, 0], np.linspace(field.extent[2], field.extent[3], 30), atol=1e-4)


def test_answers_in_half_precision_are_numbers_that_numpy_knows() -> None:
    """What a network in bfloat16 answers is handed on in single precision."""
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1).bfloat16(), torch.randn(4, 3).bfloat16()
    answers = Scene(model, x, task="regression").answers()
    assert np.array_equal(answers.predictions.numpy().reshape(-1), model(x).detach().float().numpy().reshape(-1))


def test_a_plane_of_chosen_columns_is_a_slice() -> None:
    """With more inputs than two, the others are held at those of the chosen example."""
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
    x = torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, -7.0]])
    scene = Scene(model, x, torch.zeros(2), task="regression")
    field = _mark(scene.view("boundary", resolution=9, example=1), Field)
    assert np.allclose(field.values, -7)
    with pytest.raises(LookupError, match="x3"):
        scene.view("boundary", x="x4")


def test_a_film_keeps_its_scale(tmp_path: Path) -> None:
    """The frames of the weights' film are one a snapshot, in order, on one scale that holds them all."""
    model = nn.Sequential(nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), 5.0)
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, snapshots=1) as recorder:
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step()
    picture = diorama.open(tmp_path / "run").scene().view("weights")
    assert picture.frames is not None
    frames = list(picture.frames())
    steps = [frame.step for frame in frames]
    assert steps == diorama.open(tmp_path / "run").snapshots  # a busy writer leaves some out: a training never waits
    assert (steps[0], steps[-1]) == (0, 4)
    heats = [_mark(frame, Heatmap) for frame in frames]
    assert len({heat.limits.high for heat in heats}) == 1
    assert all(heat.limits.clipped == 0 for heat in heats)


def test_rooms_come_in_order_with_views_that_exist() -> None:
    """Every place of a room names a view, fits the grid, and starts with knobs that the view has."""
    found = rooms()
    assert [room.order for room in found] == sorted(room.order for room in found)
    for room in found:
        opened = [place for opening in room.openings for place in (*opening.training, *opening.input)]
        for place in (*room.training, *room.input, *opened):
            assert place.view in diorama.views
            assert 1 <= place.columns <= 12
            diorama.views[place.view](**place.knobs)


def test_a_segmentation_answers_with_a_picture_of_its_classes() -> None:
    """Each place has the colour of its class, beside the truth, whose ignored places are empty; the legend has the same
    colours and the shares of the answer."""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1)
    x, y = torch.rand(2, 1, 6, 5), torch.randint(0, 3, (2, 6, 5))
    y[0, 0] = -100
    scene = Scene(model, x, y, task="segmentation", classes=["sky", "road", "a red car"])
    picture = scene.view("answer", select="example:0")
    given = model(x[:1]).argmax(1)[0].numpy()
    answer, truth = (mark for mark in picture.marks() if isinstance(mark, Image) and mark.title in ("answer", "truth"))
    for shown, told in ((answer, given), (truth, y[0].numpy())):
        for k in range(3):
            assert (shown.pixels[told == k] == [*(round(255 * c) for c in rgb(class_colour(k))), 255]).all()
        assert not shown.pixels[told < 0].any()
    legend = _mark(picture, Bars)
    assert isinstance(legend, Bars)
    assert legend.labels == ("sky", "road", "a red car")
    assert legend.colours == (0, 1, 2)
    np.testing.assert_allclose(legend.values, np.bincount(given.reshape(-1), minlength=3) / 30)
    assert not legend.notes, "a share is told once"
    assert "colours are the class" in picture.caption


@pytest.mark.parametrize("shape", [(6, 5), (130, 70)])
def test_a_place_of_a_segmentation_chooses_its_class(shape: tuple[int, int]) -> None:
    """A click on a place of the answer or the truth chooses its class, of a large picture that in the middle of a patch; an ignored one none."""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1)
    x, y = torch.rand(1, 1, *shape), torch.randint(0, 3, (1, *shape))
    y[0, : shape[0] // 2] = -100
    picture = Scene(model, x, y, task="segmentation").view("answer")
    answer, truth = (mark for mark in picture.marks() if isinstance(mark, Image) and mark.title in ("answer", "truth"))
    for shown, told in ((answer, model(x).argmax(1)[0]), (truth, y[0])):
        assert shown.patches is not None
        rows, columns = shown.patches
        assert max(rows, columns) <= 64
        for k, key in enumerate(shown.patch_keys):
            middle = told[int((k // columns + 0.5) * shape[0] / rows), int((k % columns + 0.5) * shape[1] / columns)]
            assert key == (f"class:{middle}" if middle >= 0 else "")


def test_a_place_of_a_segmentation_is_named() -> None:
    """Each pixel of the answer and the truth says its class, by name or number; an ignored one none."""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1)
    x, y = torch.rand(1, 1, 6, 5), torch.randint(0, 3, (1, 6, 5))
    y[0, 0] = -100
    for names in (("sky", "road", "a red car"), ("sky",)):
        picture = Scene(model, x, y, task="segmentation", classes=names).view("answer")
        answer, truth = (mark for mark in picture.marks() if isinstance(mark, Image) and mark.title in ("answer", "truth"))
        for shown, told in ((answer, model(x).argmax(1)[0]), (truth, y[0])):
            assert shown.names == (*names, *map(str, range(len(names), 3)))
            assert shown.meant is not None
            assert np.array_equal(shown.meant, told.numpy())


@pytest.mark.parametrize(("classes", "named"), [(["yield", "drift"], ["yield", "drift"]), (None, ["0", "1"])])
def test_numbers_that_have_names_are_called_by_them_everywhere(classes: list[str] | None, named: list[str]) -> None:
    """The table of examples and the answer to one input head a column and a bar as the boundary and the residuals call that number."""
    torch.manual_seed(0)
    x = torch.randn(20, 3)
    scene = Scene(nn.Linear(3, 2), x, x[:, :2], classes=classes, task="regression")
    columns = [column.name for column in _mark(scene.view("examples"), Table).columns]
    assert [name for name in columns if name.startswith(("answer", "truth"))] == [f"{what} {one}" for what in ("answer", "truth") for one in named]
    bars = [mark for mark in scene.view("answer").marks() if isinstance(mark, Bars)]
    assert bars[-1].labels == tuple(named if classes else ["output 0", "output 1"])
