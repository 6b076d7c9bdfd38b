"""Views of many units at once, on networks in which the truth is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from planted_nets import DEAD, HORIZONTAL, VERTICAL, edges, marked
from torch import nn

from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Image, Lines, Number, Table, Tiles
from diorama.core.picture import Picture, Progress
from diorama.core.selection import Selection
from diorama.scene import Scene
from diorama.views.sets import two_sets


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The network that sees edges."""
    return edges()


def _of(picture: Picture, kind: type, start: str = "") -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, kind) and mark.title.startswith(start))


def _column(table: Table, name: str) -> Any:
    return next(column for column in table.columns if column.name == name)


def test_a_unit_of_one_class_is_blue_and_of_the_other_red(scene: Scene) -> None:
    """Upright against lying edges: their detectors are at the two ends, the dead one is grey, and they never mix."""
    picture = scene.view("selectivity", select=["class:0", "class:1"])
    tiles = _of(picture, Tiles, "Layer 0")
    assert tiles.labels[0] == str(VERTICAL)
    colours = {int(label): image[0, 0].astype(int) for label, image in zip(tiles.labels, tiles.images, strict=True)}
    assert colours[VERTICAL][2] > colours[VERTICAL][0] + 50
    assert colours[HORIZONTAL][0] > colours[HORIZONTAL][2] + 50
    assert tiles.faded[tiles.labels.index(str(DEAD))]
    assert tiles.labels.index(str(VERTICAL)) < tiles.labels.index(str(HORIZONTAL)) < tiles.labels.index(str(DEAD))
    table = _of(picture, Table)
    assert set(table.row_keys[:2]) <= {f"unit:0/{VERTICAL}", f"unit:0/{HORIZONTAL}", "unit:2/1", "unit:5/0"}
    shares = dict(zip(table.row_keys, _column(table, "part of A").numbers, strict=True))
    apart = dict(zip(table.row_keys, _column(table, "apart").numbers, strict=True))
    assert shares[f"unit:0/{VERTICAL}"] > 0.95
    assert shares[f"unit:0/{HORIZONTAL}"] < 0.05
    assert apart[f"unit:0/{VERTICAL}"] == 1
    assert apart[f"unit:0/{HORIZONTAL}"] == 0
    assert f"unit:0/{DEAD}" not in table.row_keys[:4]


def test_apart_is_the_chance_to_be_higher(scene: Scene) -> None:
    """The column equals the share of pairs in which the example of A drives the unit higher, ties counting half."""
    table = _of(scene.view("selectivity", select=["class:0", "class:2"], layer="0"), Table)
    with torch.no_grad():
        values = torch.relu(scene.model[0](scene.examples.x)).mean((2, 3)).double().numpy()  # type: ignore[index,operator]
    y = scene.examples.y.numpy()
    for key, value in zip(table.row_keys, _column(table, "apart").numbers, strict=True):
        unit = int(key.rpartition("/")[2])
        a, b = values[y == 0, unit][:, None], values[y == 2, unit]
        assert value == pytest.approx(((a > b) + 0.5 * (a == b)).mean(), abs=1e-6)


def test_two_sets_are_what_was_chosen(scene: Scene) -> None:
    """Examples, classes, one class against the rest; by itself two classes, or small losses and large; never one twice."""
    sets = two_sets(scene, Selection.parse("example:0-3|example:2-9"))
    assert sets.a.tolist() == [0, 1, 2, 3]
    assert sets.b.tolist() == [4, 5, 6, 7, 8, 9]
    sets = two_sets(scene, Selection.parse("class:1"))
    assert set(scene.examples.y[sets.a].tolist()) == {1}
    assert set(scene.examples.y[sets.b].tolist()) == {0, 2}
    assert sets.names == ("horizontal", "the others")
    assert two_sets(scene, Selection.parse("example:4+unit:0/1")).names == ("vertical", "horizontal")
    rows, truth = torch.rand(6, 2), torch.rand(6)
    sets = two_sets(easy := Scene(nn.Linear(2, 1), rows, truth), Selection())
    assert easy.losses()[sets.a].max() <= easy.losses()[sets.b].min()
    assert sorted([*sets.a, *sets.b]) == list(range(6))
    with pytest.raises(NotApplicable, match="set A and set B"):
        two_sets(Scene(nn.Linear(2, 1), rows), Selection())


def test_the_units_that_are_on_are_counted(scene: Scene) -> None:
    """The shares in curve and table are those of the units above zero, for both inputs and both together."""
    picture = scene.view("active", example=0, against=1)
    with torch.no_grad():
        on = (torch.relu(scene.model[0](scene.examples.x[:2])).amax((2, 3)) > 0).numpy()  # type: ignore[index,operator]
    table = _of(picture, Table)
    assert _column(table, "example 0").numbers[0] == on[0].mean()
    assert _column(table, "example 1").numbers[0] == on[1].mean()
    assert _column(table, "both").numbers[0] == (on[0] & on[1]).mean()
    lines = _of(picture, Lines)
    assert [series.name for series in lines.series] == ["the probe set", "example 0", "example 1"]
    assert lines.series[1].y[0] == 100 * on[0].mean()
    assert (lines.series[0].low <= lines.series[0].high).all()


def test_units_of_a_text_are_counted_at_each_step() -> None:
    """For sequences the share of units that are on is also drawn step by step."""
    import diorama

    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5))
    x = torch.randint(0, 5, (10, 6), generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, inputs=diorama.Tokens(vocabulary=tuple("abcde")))
    lines = _of(scene.view("active", example=2, against=3), Lines, "1")
    with torch.no_grad():
        wanted = (model[1](model[0](x[2:4])) > 0).float().mean(2)
    np.testing.assert_allclose(lines.series[0].y, 100 * wanted[0], rtol=1e-6)
    np.testing.assert_allclose(lines.series[1].y, 100 * wanted[1], rtol=1e-6)


def test_the_data_as_features_lies_by_class(scene: Scene) -> None:
    """Rows come class by class, columns by the class they speak for, and each cell is its example's and its unit's."""
    picture = scene.view("features", layer="0", scale="layer")
    heat = _of(picture, Heatmap)
    y = [int(scene.examples.y[int(key.partition(":")[2])]) for key in heat.row_keys]
    assert y == sorted(y)
    order = [key.rpartition("/")[2] for key in heat.column_keys]
    assert order.index(str(VERTICAL)) < order.index(str(HORIZONTAL))
    assert order[-1] == str(DEAD)
    with torch.no_grad():
        values = torch.relu(scene.model[0](scene.examples.x)).amax((2, 3))  # type: ignore[index,operator]
    row, column = 5, 1
    example, unit = int(heat.row_keys[row].partition(":")[2]), int(order[column])
    assert heat.values[row, column] == pytest.approx(float(values[example, unit]))
    check = picture.checks[0]
    assert check.name == "neighbours"
    assert check.value > 80
    assert _of(scene.view("features", layer="0"), Heatmap).values.max() == pytest.approx(1)


def test_features_that_are_no_numbers_are_told(scene: Scene) -> None:
    """An example that is answered with no number is said to be one, and is nobody's neighbour."""
    x = torch.cat([scene.examples.x, torch.full_like(scene.examples.x[:1], torch.nan)])
    y = torch.cat([scene.examples.y, scene.examples.y[:1]])
    broken, whole = Scene(scene.model, x, y).view("features", layer="0"), scene.view("features", layer="0")
    assert broken.checks[0].value == pytest.approx(whole.checks[0].value)
    assert f"1 of {len(x)} examples has responses that are no finite numbers" in broken.note


def test_the_neighbours_of_noise_are_of_any_class() -> None:
    """Features that know nothing of the classes have neighbours of the same class as often as chance has."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    picture = Scene(model, x, torch.arange(200) % 2).view("features", layer="0")
    assert picture.checks[0].value == pytest.approx(50, abs=15)


def test_a_unit_that_sees_an_unnamed_mark_is_the_first_surprise() -> None:
    """Of eight units the one wired to a mark that lies across the classes ranks first, with marked pictures as evidence."""
    scene = marked()
    picture = scene.view("surprises", layer="see")
    table = _of(picture, Table)
    assert table.row_keys[0] == "unit:see/2"
    score = _column(table, "score").numbers
    assert score[0] > 2 * score[1]
    best = _of(picture, Tiles, "see/2")
    marks = [bool(scene.examples.x[int(key.partition(":")[2]), 0, 0, 0] > 0.9) for key in best.keys]
    assert all(marks)
    assert set(best.labels) == {"left", "right"}
    unlabelled = dict(zip(table.row_keys, _column(table, "unlabelled").numbers, strict=True))
    assert unlabelled["unit:see/0"] == 0


def test_a_unit_that_the_answer_hangs_on_is_dear_and_the_others_are_free() -> None:
    """Silencing a detector costs what it costs to run the network without it; units that nothing reads cost nothing."""
    scene = marked()
    picture = scene.view("lesions", layer="see", examples=120)
    table = _of(picture, Table, "What silencing")
    cost = dict(zip(table.row_keys, _column(table, "cost").numbers, strict=True))
    assert set(table.row_keys[:2]) == {"unit:see/0", "unit:see/1"}
    assert all(abs(cost[f"unit:see/{unit}"]) < 1e-6 for unit in range(2, 8))
    silent = scene.edit("unit:see/0", lesion=True)
    wanted = float(silent.losses().mean() - scene.losses().mean())
    assert cost["unit:see/0"] == pytest.approx(wanted, rel=1e-3)
    curve = _of(picture, Lines).series[0]
    assert curve.y[0] == 0
    assert curve.y[np.searchsorted(curve.x, 60)] == pytest.approx(0)
    assert curve.y[-1] < -20
    assert "6 of them can each be lost" in picture.caption
    assert picture.checks[0].value == pytest.approx(0, abs=1e-6)


def test_what_lesions_cost_is_said_first() -> None:
    """Before anything is silenced the number of units and the expected time are told."""
    told: list[Progress] = []
    stream = marked().stream("lesions", layer="see", progress=told.append)
    next(iter(stream))
    assert "8 units silenced one by one" in told[0].note
    assert told[0].done == 0
    assert told[0].seconds is not None


def test_a_unit_may_be_held_at_its_mean() -> None:
    """With its mean in place of zero, a unit that always says the same costs nothing."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0, 4
        model[2].weight[:, 1] = torch.tensor([1.0, -1.0])
    scene = Scene(model, torch.rand(40, 2), torch.arange(40) % 2)
    costs = {}
    for by in ("zero", "mean"):
        table = _of(scene.view("lesions", layer="0", by=by), Table)
        costs[by] = dict(zip(table.row_keys, _column(table, "cost").numbers, strict=True))["unit:0/1"]
    assert abs(costs["zero"]) > 0.01
    assert costs["mean"] == pytest.approx(0, abs=1e-6)


def test_no_unit_is_called_a_surprise_without_a_score() -> None:
    """Where the highest score is next to nothing, the picture says that no unit stands out, and shows no gallery."""
    scene = marked()
    scene = scene.edit("unit:see/2", lesion=True)
    picture = scene.view("surprises", layer="see")
    assert _column(_of(picture, Table), "score").numbers.max() < 0.1
    assert not [mark for mark in picture.marks() if isinstance(mark, Tiles)]
    assert any("stands out" in mark.label for mark in picture.marks() if isinstance(mark, Number))


def test_two_sets_are_said_in_one_text(scene: Scene) -> None:
    """Set A and set B of examples, said as the error says it, are those of a selection."""
    said = scene.view("selectivity", select="example:0-3|example:4-9")
    chosen = scene.view("selectivity", select=Selection.of("example:0-3", against=["example:4-9"]))
    assert said.title == chosen.title
    assert "4 examples" in said.caption


def test_of_volumes_it_is_said_what_is_shown() -> None:
    """Maps and filters of three axes are drawn as the mean over their slices, and say so; a slice can be chosen instead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    x = torch.rand(6, 1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, torch.arange(6) % 3)
    values = model[:2](x[:1])[0].detach()
    (mean,) = [mark for mark in scene.view("activations", layer="0", sort="index").marks() if isinstance(mark, Tiles)]
    assert "the mean over 5 slices" in mean.caption
    np.testing.assert_allclose(mean.images, values.mean(1), rtol=1e-5)
    (one,) = [mark for mark in scene.view("activations", layer="0", sort="index", slice=3).marks() if isinstance(mark, Tiles)]
    assert "slice 3 (of 0 to 4)" in one.caption
    np.testing.assert_allclose(one.images, values[:, 3], rtol=1e-5)
    (card,) = [mark for mark in scene.view("card", unit="0/1").marks() if isinstance(mark, Image) and "example" in mark.title]
    assert card.caption == "the mean over 5 slices"
    assert "3 × 3 × 3 filter" in scene.view("weights", layer="0").caption
    assert "averaged over its 3 slices" in scene.view("weights", layer="0").caption
    weights = next(mark for mark in scene.view("card", unit="0/1").marks() if mark.title == "weights")
    assert weights.caption == "averaged over its 3 slices"
    flat = Scene(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 2)), torch.rand(4, 2, 6, 6), torch.arange(4) % 2)
    weights = next(mark for mark in flat.view("card", unit="0/1").marks() if mark.title == "weights")
    assert weights.caption == "the mean over 2 input channels"


def test_of_cheap_units_those_that_are_dead_are_said() -> None:
    """Of five units that cost nothing two never pass the ReLU, and one would where none stands behind; the heading names what is lost."""
    model = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:4, 0] = torch.tensor([1.0, -1.0, 1.0, 1.0])
        model[0].bias.copy_(torch.tensor([0.0, 1.0, 0.5, 0.5, -1.0, -2.0]))
        model[2].weight.zero_()
        model[2].weight[1, 0], model[2].weight[0, 4] = 9.0, 1.0
        model[2].bias.copy_(torch.tensor([4.0, 0.0]))
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    picture = Scene(model, x, (x[:, 0] > 4 / 9).long()).view("lesions", layer="0")
    assert picture.title == "Which units can be lost"
    assert "2 of the cheap ones are dead: never above zero behind the ReLU, on any of 40 examples." in picture.caption
    plain = nn.Sequential(model[0], nn.Tanh(), model[2])
    assert "dead" not in Scene(plain, x, (x[:, 0] > 4 / 9).long()).view("lesions", layer="0").caption
