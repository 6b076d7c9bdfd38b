"""The view of examples as points: placed as scikit-learn places them, after an earlier step, and told how far to be trusted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, NotFound
from diorama.core.marks import Scatter, Table
from diorama.core.picture import Draft, Picture, Progress
from diorama.core.selection import Key, Selection
from diorama.derive.snapshot_chain import earlier
from diorama.export.marks.scatter import draw
from diorama.export.sheet import TextLine
from diorama.export.style import Style
from diorama.methods import neighbours
from diorama.methods.neighbours import nearest, trust, trust_of
from diorama.run import Run
from diorama.scene import Scene
from diorama.views.inputs import curves
from diorama.views.planes import contours, square
from diorama.views.relate.projection import ProjectionView


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def _run(path: Path, steps: int = 4) -> Run:
    """A run with a snapshot at each of its steps, from 0 to 4."""
    net, x = _net(), torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    y = torch.arange(40) % 3
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    with diorama.watch(net, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(steps):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(path)


class _Weighs(nn.Module):
    """Sums up words by a score of each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.score, self.out = nn.Embedding(9, 6), nn.Linear(6, 1), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        return self.out((self.score(h).softmax(1) * h).sum(1))


def _maps(picture: Picture) -> list[Scatter]:
    return [one for one in picture.body.children if isinstance(one, Scatter)]


def _points(picture: Picture) -> np.ndarray:
    (found,) = _maps(picture)
    return np.asarray(found.points)


def _nearest(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = NearestNeighbors(n_neighbors=10).fit(rows).kneighbors(return_distance=False)
    return found


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(one, other, strict=True)]))


def _apart(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_two_layers_lie_as_their_principal_components() -> None:
    """Distances are those of scikit-learn's components of both layers, each scaled to a variance of one; the check is its own."""
    net, x = _net(), torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    picture = Scene(net, x, torch.arange(40) % 3).view("projection", layer="0+2")
    with torch.no_grad():
        parts = [net[:1](x).double().numpy(), net[:3](x).double().numpy()]
    rows = np.concatenate([part / np.sqrt(part.var(0).sum()) for part in parts], 1)
    wanted = PCA(2, svd_solver="full").fit_transform(rows)
    np.testing.assert_allclose(_apart(_points(picture)), _apart(wanted), rtol=1e-4, atol=1e-5)
    told = {check.name: check.value for check in picture.checks}
    assert told["trustworthiness"] == pytest.approx(trustworthiness(rows, wanted, n_neighbors=10), abs=1e-3)
    assert told["continuity"] == pytest.approx(trustworthiness(wanted, rows, n_neighbors=10), abs=1e-3)
    assert told["recall"] == pytest.approx(_shared(_nearest(rows), _nearest(wanted)), abs=1e-2)
    assert "layers 0 and 2" in picture.caption


def test_a_step_starts_from_an_earlier_one(tmp_path: Path) -> None:
    """Points of a step are laid onto those it starts from: no turning, mirroring or shift brings them nearer."""
    run = _run(tmp_path / "run")
    told = ProjectionView(layer="0+2").pictures(run.scene(3), Selection())
    *way, last = (one.make() if isinstance(one, Draft) else one for one in told if not isinstance(one, Progress))
    # Until they are there, the places on the way are seen, and said to be that.
    assert [found[1] if (found := re.search(r"at step (\d), on the way", picture.note)) else "" for picture in way][:4] == ["0", "1", "2", ""]
    assert "on the way" not in last.note
    before, after = (_points(run.scene(step).view("projection", layer="0+2")) for step in (2, 3))
    np.testing.assert_array_equal(_points(way[2]), before)
    np.testing.assert_array_equal(_points(last), after)
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-9)
    a, b = after - after.mean(0), before - before.mean(0)
    assert np.sum(a * b) == pytest.approx(np.linalg.svd(a.T @ b, compute_uv=False).sum(), rel=1e-6)
    assert "at step 2" in run.scene(3).view("projection", layer="0+2").caption


def test_the_way_to_a_step_is_short_and_stays() -> None:
    """The first snapshots follow one another, later ones start close behind; more snapshots change no way that was there."""
    steps = tuple(range(0, 7000, 10))
    ways = {step: earlier(steps, step) for step in steps}
    assert ways[0] == []
    assert all(ways[step] == list(steps[:number]) for number, step in enumerate(steps[:16]))
    for number, step in enumerate(steps[1:], 1):
        way = ways[step]
        assert way[0] == 0
        assert len(way) <= 16 + 8 * max(0, number.bit_length() - 4)
        assert number - way[-1] // 10 <= max(1, number / 8)
        assert way[:-1] == ways[way[-1]]
    assert all(earlier(steps[:40], step) == ways[step] for step in steps[:40])
    assert earlier(steps, 15) == ways[20]
    assert earlier((), None) == []


def test_the_trust_of_points_is_scikit_learns_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of what each point is to be trusted is scikit-learn's trustworthiness; a point put elsewhere is trusted least."""
    rng = np.random.default_rng(0)
    rows, points = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    assert trust(rows, points, 8).mean() == pytest.approx(trustworthiness(rows, points, n_neighbors=8))
    plane = np.vstack([rng.normal(0, 1, (30, 2)), rng.normal(20, 1, (30, 2))])
    moved = plane.copy()
    moved[3] = moved[40]
    assert trust(plane, moved, 8).argmin() == 3
    assert (trust(np.repeat(rows[:5], 4, 0), np.repeat(points[:5], 4, 0), 3) == 1).all()
    # The same a few rows at a time, as many points want it; also for some of them alone.
    monkeypatch.setattr(neighbours, "AT_ONCE", 60 * 7)
    some = np.array([0, 3, 8, 59])
    np.testing.assert_allclose(trust_of(rows, points, 8, np.arange(60)), trust(rows, points, 8))
    np.testing.assert_allclose(trust_of(rows, points, 8, some), trust(rows, points, 8)[some])
    twice = np.repeat(rows[:30], 2, 0)
    assert (nearest(rows, 4, some) == nearest(rows, 4)[some]).all()
    assert (nearest(twice, 1, some)[:, 0] != some).all()
    assert (nearest(twice, 1, some)[:, 0] // 2 == some // 2).all()


def test_what_the_layer_itself_kept_is_said(tmp_path: Path) -> None:
    """Beside the picture's neighbours stand the layer's own since the step before, counted by hand."""
    run = _run(tmp_path / "run")
    caption = run.scene(3).view("projection", layer="2").caption
    rows = [run.scene(step).activations("2")["2"].double().numpy() for step in (2, 3)]
    points = [_points(run.scene(step).view("projection", layer="2")) for step in (2, 3)]
    layer, picture = (_shared(_nearest(before), _nearest(after)) for before, after in (rows, points))
    told = re.search(r"Since step 2 the layer itself kept (\d+) % of each example's 10 neighbours, the picture (\d+) %", caption)
    assert told is not None, caption
    assert [int(part) for part in told.groups()] == pytest.approx([100 * layer, 100 * picture], abs=1.01)


def test_three_numbers_are_a_space() -> None:
    """Three dimensions are one space, without contours, which says so; more than a layer has are refused with the way out."""
    net, x = _net(), torch.randn(12, 6)
    scene = Scene(net, x, torch.arange(12) % 3)
    picture = scene.view("projection", layer="2", dimensions=3, drawn="density")
    assert _points(picture).shape == (12, 3)
    assert _maps(picture)[0].borders is None
    assert "two dimensions" in picture.note
    with pytest.raises(NotApplicable, match="choose a layer of more units"):
        Scene(nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 3)), x).view("projection", layer="0")


def test_trails_lead_through_earlier_places(tmp_path: Path) -> None:
    """A point's trail are its places at the snapshots before, the oldest first."""
    run = _run(tmp_path / "run")
    (found,) = _maps(run.scene(4).view("projection", layer="2", trails=2))
    assert found.trails is not None
    for place, step in enumerate((2, 3)):
        np.testing.assert_allclose(found.trails[:, place], _points(run.scene(step).view("projection", layer="2")), atol=1e-5)


def test_maps_stand_side_by_side(tmp_path: Path) -> None:
    """Perplexities, seeds, layers, steps and another scene stand side by side, each laid onto the first and with its own numbers."""
    run = _run(tmp_path / "run")
    scene = run.scene(4)
    told = {"layer": "2", "method": "tsne"}
    assert [one.title for one in _maps(scene.view("projection", beside="perplexity", **told))] == [
        "perplexity 5", "perplexity 13",
    ]
    maps = _maps(scene.view("projection", beside="steps", layer="2"))
    assert [one.title for one in maps] == ["step 0", "step 4"]
    first, last = (np.asarray(one.points) for one in maps)
    np.testing.assert_allclose(first, _points(run.scene(0).view("projection", layer="2")), atol=1e-9)
    np.testing.assert_allclose(last.mean(0), first.mean(0), atol=1e-9)
    assert all(one.caption.startswith("Trustworthiness") for one in maps)
    assert [one.title for one in _maps(scene.view("projection", beside="layers", layer="2"))] == ["0", "2"]
    beside = scene.view("projection", layer="2", other=run.scene(0))
    assert [one.title for one in _maps(beside)] == ["step 4", "step 0"]
    alike = scene.view("projection", beside="seed", layer="2")
    assert len(_maps(alike)) == 3
    assert "by chance" in alike.note


def test_contours_hold_their_class() -> None:
    """Each class's contours close round where its points lie densest, and round no other's; too few points have none."""
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(-3, 0.5, (40, 2)), rng.normal(3, 0.5, (40, 2)), [[0, 0]]])
    groups = np.repeat([0, 1, 2, -1], [40, 39, 1, 1])
    found = contours(points, groups, (-5, 5, -5, 5))
    assert set(found[:, 4]) == {0, 1}
    for number, middle in ((0, -3), (1, 3)):
        ends = found[found[:, 4] == number, :4].reshape(-1, 2)
        assert np.abs(ends - middle).max() < 2.5
        np.testing.assert_allclose(ends.mean(0), middle, atol=0.5)
    assert contours(np.zeros((5, 2)), np.zeros(5, np.int64), (-1, 1, -1, 1)).shape[1] == 5


@pytest.mark.parametrize("colour", ["class", "prediction", "loss", "confidence"])
def test_colours_tell_what_is_said(colour: str) -> None:
    """Colours are the true class, the answer, the loss or the confidence of each example; a wrong answer has a dark edge."""
    net, x, y = _net(), torch.randn(40, 6, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3
    picture = Scene(net, x, y).view("projection", layer="2", colour=colour)
    (found,) = _maps(picture)
    scores = net(x).detach()
    wanted = {
        "class": y, "prediction": scores.argmax(1), "loss": nn.functional.cross_entropy(scores, y, reduction="none"),
        "confidence": scores.softmax(1).amax(1),
    }[colour]
    np.testing.assert_allclose(np.asarray(found.values), wanted.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(found.wrong), (scores.argmax(1) != y).numpy())
    assert {"class": "true class", "prediction": "answer"}.get(colour, colour) in picture.caption


def test_what_has_no_classes_is_coloured_by_its_loss() -> None:
    """Of a reconstruction nothing names a class: the loss of each example colours, and that is said."""
    torch.manual_seed(0)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    net = nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 6))
    picture = Scene(net, x, x, task="reconstruction").view("projection", layer="0")
    (found,) = _maps(picture)
    np.testing.assert_allclose(np.asarray(found.values), ((net(x) - x) ** 2).mean(1).detach().numpy(), rtol=1e-5)
    assert "Colours tell the loss, as the examples have no classes." in picture.caption


def test_numbers_and_columns_colour_too() -> None:
    """Without classes the true value colours; a column of the table does where it is asked for, and an unknown one names the others."""
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(1))
    scene = Scene(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), x, x.sum(1), inputs=diorama.Table(columns=("a", "b", "c")))
    column = Scene(scene.model, x, x.sum(1, keepdim=True), inputs=diorama.Table(columns=("a", "b", "c")))
    for one in (scene, column):
        (found,) = _maps(one.view("projection"))
        np.testing.assert_allclose(np.asarray(found.values), x.sum(1).numpy(), rtol=1e-6)
    assert len(found.labels) == 30
    assert "a" in found.labels[0]
    (found,) = _maps(scene.view("projection", column="b"))
    np.testing.assert_allclose(np.asarray(found.values), x[:, 1].numpy(), rtol=1e-6)
    with pytest.raises(NotFound, match="nearest"):
        scene.view("projection", column="bb")


def test_a_map_of_a_part_of_the_examples_says_of_how_many() -> None:
    """Where a probe set has more examples than views look at, the caption tells both numbers."""
    few, many = (Scene(_net(), torch.randn(count, 6, generator=torch.Generator().manual_seed(1))).view("projection") for count in (30, 600))
    assert few.caption.startswith("30 examples, near")
    assert many.caption.startswith("The first 512 of 600 examples, near")


def test_a_map_of_all_examples_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many points as ``examples`` says, at this step and on the way to it, told as they are looked at; many are measured as few are."""
    monkeypatch.setattr("diorama.scene.scene.LIVE", 24)
    run, told = _run(tmp_path / "run"), list[Progress]()
    few = run.scene().view("projection", layer="2", examples=24)
    assert few.caption.startswith("The first 24 of 40 examples, near")
    scene = run.scene()
    found = scene.view("projection", layer="2", examples=40, progress=told.append)
    assert found.caption.startswith("40 examples, near")
    looks = [one for one in told if one.note in ("looks at 40 examples", "draws what 40 examples say")]
    assert [one.done / one.total for one in looks] == pytest.approx([1 / 3, 2 / 3, 2 / 3])  # two passes, and what comes of them is not done
    rows = run.scene().model[:3](run.examples.x).detach().double().numpy()
    np.testing.assert_allclose(_apart(_points(found)), _apart(PCA(2, svd_solver="full").fit_transform(rows)), rtol=1e-4, atol=1e-5)
    assert found.checks[0].value == pytest.approx(trustworthiness(rows, _points(found), n_neighbors=10))
    assert len(scene.live) == 24
    assert scene.derive("projection", layer="2").key != scene.first(40).derive("projection", layer="2").key
    monkeypatch.setattr("diorama.views.relate._map_quality.MOST", 30)
    again = run.scene().view("projection", layer="2", examples=40)
    assert [check.value for check in again.checks] == pytest.approx([check.value for check in found.checks])


def test_no_point_lies_outside_its_plane() -> None:
    """The square about any points holds them all, whatever their size and place."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        points = generator.normal(generator.normal(0, 10, 2), 10 ** generator.uniform(-3, 3), (20, 2))
        left, right, low, high = square(points)
        assert ([left, low] <= points.min(0)).all(), points
        assert (points.max(0) <= [right, high]).all(), points
        assert right - left == pytest.approx(high - low)


def test_points_that_move_where_the_network_did_are_told(tmp_path: Path) -> None:
    """What is kept over time is the correlation of NumPy, turned so that more is better as of the checks beside it, example by example over the
    snapshots, and its mark goes by it; the neighbourhood hit is that of scikit-learn's neighbours."""
    scene = _run(tmp_path).scene()
    checks = scene.view("projection", layer="2").checks
    told = {check.name: check.value for check in checks}
    (kept_over_time,) = (check for check in checks if check.name == "temporal preservation")
    assert kept_over_time.good is (True if kept_over_time.value >= 0.5 else None if kept_over_time.value > 0 else False)
    tables, points = [], []
    for step in scene.steps:
        there = scene.at(step)
        tables.append(_nearest(there.activations("2")["2"].double().numpy()))
        points.append(np.asarray(there.derive("projection", layer="2").value))
    found = []
    for k in range(40):
        kept = [len(set(a[k]) & set(b[k])) for a, b in zip(tables, tables[1:], strict=False)]
        moved = [np.linalg.norm(b[k] - a[k]) for a, b in zip(points, points[1:], strict=False)]
        if np.ptp(kept) > 0 and np.ptp(moved) > 0:
            found.append(np.corrcoef(kept, moved)[0, 1])
    assert told["temporal preservation"] == pytest.approx(-np.mean(found), abs=1e-4)
    y = np.arange(40) % 3
    assert told["neighbourhood hit"] == pytest.approx((y[_nearest(points[-1])] == y[:, None]).mean(), abs=0.01)
    few = {check.name for check in scene.at(scene.steps[1]).view("projection", layer="2").checks}
    assert "temporal preservation" not in few


def test_arrows_lead_to_where_units_answer_more() -> None:
    """Of a map of components an arrow lies along the unit's loadings, and R² is the share of its variance that both axes hold."""
    scene = Scene(_net(), torch.randn(60, 6, generator=torch.Generator().manual_seed(5)))
    (mark,) = _maps(scene.view("projection", layer="2", arrows=3))
    rows = scene.activations("2")["2"].double().numpy()
    points = np.asarray(mark.points)
    standard = (rows - rows.mean(0)) / rows.std(0)
    held = np.array([np.corrcoef(points[:, 0], column)[0, 1] ** 2 + np.corrcoef(points[:, 1], column)[0, 1] ** 2 for column in rows.T])
    order = np.argsort(-held)[:3]
    assert mark.arrow_labels == tuple(f"unit {k}" for k in order)
    for end, k in zip(mark.arrows - np.array(mark.middle), order, strict=True):
        loading = points.T @ standard[:, k] / (points**2).sum(0)
        assert end @ loading / np.linalg.norm(end) / np.linalg.norm(loading) == pytest.approx(1, abs=1e-5)
        along = points @ end
        assert np.corrcoef(along, rows[:, k])[0, 1] > 0
    lengths = np.linalg.norm(mark.arrows - np.array(mark.middle), axis=1)
    assert lengths[0] / lengths[2] == pytest.approx(np.sqrt(held[order[0]] / held[order[2]]), rel=1e-4)


def test_colours_tell_a_unit_or_a_property() -> None:
    """Points are coloured by what the chosen unit answers, or by a property of pictures; without a chosen unit by class, which is said."""
    x = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3))
    scene = Scene(net, x, torch.arange(30) % 3, inputs=diorama.Image(range=(0, 1)))
    picture = scene.view("projection", layer="2", colour="unit", unit="1/3")
    np.testing.assert_allclose(_maps(picture)[0].values, scene.activations("1")["1"][:, 3].numpy(), atol=1e-6)
    assert "what unit 3 of layer 1 answers" in picture.caption
    assert "No unit is chosen" in scene.view("projection", layer="2", colour="unit").note
    (mark,) = _maps(scene.view("projection", layer="2", column="brightness"))
    np.testing.assert_allclose(mark.values, 255 * x.mean((1, 2, 3)).numpy(), atol=1)
    with pytest.raises(NotFound, match="brightness"):
        scene.view("projection", layer="2", column="brightnes")


def test_phrases_stand_at_their_places() -> None:
    """Texts are drawn as their words on a grid, in the page and on paper; and a layer of one unit a place is no map's choice."""
    x = torch.randint(1, 9, (30, 6), generator=torch.Generator().manual_seed(1))
    words = ("<pad>", "the", "film", "was", "very", "good", "not", "bad", "and")
    scene = Scene(_Weighs(), x, torch.arange(30) % 2, classes=("dull", "praise"), inputs=diorama.Tokens(words, separator=" "))
    picture = scene.view("projection", drawn="thumbnails")
    (found,) = _maps(picture)
    assert (found.drawn, found.pictures) == ("thumbnails", None)
    assert found.labels[0] == " ".join(words[k] for k in x[0])
    assert "as layer embed sees them" in picture.title
    said = [one.text for one, _, _ in draw(found, Style()).items if isinstance(one, TextLine)]
    count = next(int(told.group(1)) for line in said if (told := re.match(r"(\d+) of 30 texts: one for each place", line)))
    # Of each that is shown the words, whole or cut in the middle.
    assert 5 < sum(any(line.split("…")[0] in label for label in found.labels) for line in said) == count


def test_series_are_drawn_small() -> None:
    """The curve of each stands at its height in each column, on one scale, whatever the number of moments; what is no number stays empty."""
    x = torch.zeros(3, 1, 400)
    x[0] = torch.linspace(0, 1, 400)
    x[1, 0, 213] = 1  # a click of one moment
    x[2, 0, :200] = float("nan")
    scene = diorama.Scene(nn.Sequential(nn.Flatten(), nn.Linear(400, 2)), x, torch.arange(3) % 2, inputs=diorama.Series())
    drawn = curves(scene, scene.live)
    assert drawn is not None
    ink = drawn < 255
    height, width = ink.shape[1:]
    middles = (ink[0] * np.arange(height)[:, None]).sum(0) / ink[0].sum(0)
    np.testing.assert_allclose(middles, np.linspace(height - 1, 0, width), atol=1.01)
    assert np.flatnonzero(ink[1].all(0)).tolist() == [int(213 / 399 * width)]
    assert not ink[2, :, : width // 2 - 1].any()
    assert ink[2, -1, width // 2 + 1 :].all()
    assert curves(diorama.Scene(nn.Linear(4, 2), torch.rand(3, 4)), scene.live) is None
    # Lists show series so too: each row its own curve, all rows on one scale.
    listed = next(mark for mark in scene.view("examples").marks() if isinstance(mark, Table))
    (small,) = (column for column in listed.columns if column.name == "example")
    order = [Key.parse(key).number for key in listed.row_keys]
    np.testing.assert_array_equal(small.images, curves(scene, scene.examples.take(order)))
    short = diorama.Scene(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), torch.linspace(0, 1, 5).expand(2, 1, 5), inputs=diorama.Series())
    line = curves(short, short.live)
    assert line is not None
    ink = line[0] < 255
    np.testing.assert_allclose((ink * np.arange(height)[:, None]).sum(0) / ink.sum(0), np.linspace(height - 1, 0, width), atol=1.01)
