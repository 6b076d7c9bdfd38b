"""The card of a unit and the live scan, on networks in which the truth is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from planted_nets import BOTH, DEAD, HORIZONTAL, VERTICAL, edges
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Image, Number, Ridges, Table, Tiles
from diorama.core.picture import Picture
from diorama.model.layers import by_unit
from diorama.scene import Scene
from diorama.views.unit._facts import distance, selectivity


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The network that sees edges."""
    return edges()


def _of(picture: Picture, kind: type, start: str) -> Any:
    return next(mark for mark in picture.marks() if isinstance(mark, kind) and mark.title.startswith(start))


def _numbers(picture: Picture) -> dict[str, Number]:
    return {mark.label: mark for mark in picture.marks() if isinstance(mark, Number)}


def test_the_card_shows_an_edge_detector_for_what_it_is(scene: Scene) -> None:
    """A unit wired to upright edges: nine of them drive it most, its crops hold the edge, lying ones suppress nothing."""
    picture = scene.view("card", unit=f"0/{VERTICAL}")
    top = _of(picture, Tiles, "Fires most")
    assert set(top.labels) == {"vertical"}
    assert list(map(float, top.notes)) == sorted(map(float, top.notes), reverse=True)
    assert all((box.width, box.height) == (3, 3) for box in top.boxes)
    crops = _of(picture, Tiles, "what it sees").images.astype(float)
    assert crops.shape[1:] == (3, 3)
    assert (crops[:, :, 2].mean(1) - crops[:, :, 0].mean(1) > 150).all()
    for title in ("what excites it there: deconvnet", "what excites it there: guided"):
        back = _of(picture, Tiles, title).images
        np.testing.assert_allclose(back, np.tile([[-1, 0, 1]] * 3, (9, 1, 1)), atol=1e-6)
    profile = _of(picture, Bars, "By class")
    assert profile.labels[int(np.argmax(profile.values))] == "vertical"
    assert _numbers(picture)["selectivity"].value == pytest.approx(1, abs=0.1)
    assert _numbers(picture)["off"].value == pytest.approx(0, abs=40)
    feeds = _of(picture, Bars, "Feeds most")
    assert feeds.keys[0] == f"unit:2/{BOTH}"


def test_the_card_says_that_a_dead_unit_is_dead(scene: Scene) -> None:
    """A unit that never turns on is called dead, and the examples shown are those nearest to turning it on."""
    picture = scene.view("card", unit=f"0/{DEAD}")
    off = _numbers(picture)["off"]
    assert off.value == 100
    assert off.tone == "bad"
    assert "dead" in off.note
    assert all(float(note.replace("−", "-")) < 0 for note in _of(picture, Tiles, "Fires most").notes)


def test_the_card_shows_both_facets_of_a_unit(scene: Scene) -> None:
    """A unit that two detectors feed is driven by both kinds of edges, and is not selective."""
    picture = scene.view("card", unit=f"2/{BOTH}")
    assert set(_of(picture, Tiles, "Fires most").labels) == {"vertical", "horizontal"}
    assert _numbers(picture)["selectivity"].value < 0.5
    fed = _of(picture, Bars, "Fed most")
    assert set(fed.keys[:2]) == {f"unit:0/{VERTICAL}", f"unit:0/{HORIZONTAL}"}


def test_what_suppresses_a_unit_is_the_opposite(scene: Scene) -> None:
    """The lowest values before the ReLU come first, with the crops in which the edge goes the other way or is missing."""
    picture = scene.view("card", unit=f"0/{DEAD}")
    low = _of(picture, Tiles, "Suppressed most")
    values = [float(note.replace("−", "-")) for note in low.notes]
    assert values == sorted(values)
    with torch.no_grad():
        raw = scene.model[0](scene.examples.x)[:, DEAD].flatten(1).amin(1)  # type: ignore[index,operator]
    np.testing.assert_allclose(values, raw.sort().values[:9], rtol=0.01)


def test_a_chosen_place_is_sent_back_as_the_method_does(scene: Scene) -> None:
    """With a place of the map chosen, box, crop and deconvnet are those of that place."""
    picture = scene.view("card", select=[f"unit:2/{BOTH}@4,5", "example:0"])
    (box,) = _of(picture, Image, "input").boxes
    assert (box.y, box.x, box.height, box.width) == (4, 5, 3, 3)
    crop = _of(picture, Image, "what it sees there")
    np.testing.assert_array_equal(crop.pixels, scene.examples.shown([0])[0][4:7, 5:8])
    wanted = diorama.attribute(
        scene.model, scene.examples.x[:1], f"unit:2/{BOTH}@4,5", method="deconvnet"
    ).values[0, 0, 4:7, 5:8].numpy()
    got = _of(picture, Image, "deconvnet").pixels
    np.testing.assert_allclose(got, wanted / np.abs(wanted).max(), atol=1e-6)


def test_the_card_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """First the map and the wires, then the examples, then what was sent back; only the last is final."""
    monkeypatch.setattr("diorama.scene.stream.PACE", 0.0)
    monkeypatch.setattr("diorama.scene.stream.SHARE", 0.0)
    pictures = list(edges().stream("card", unit=f"0/{VERTICAL}", synthesize=False))
    assert [picture.final for picture in pictures] == [False, False, True]
    counts = [sum(isinstance(mark, Tiles) for mark in picture.marks()) for picture in pictures]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2]
    assert list(edges().stream("card", unit=f"0/{VERTICAL}", back="none"))[-1].final


def test_parts_that_follow_soon_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that another follows at once is not sent: the second that comes holds all but what is to form."""
    monkeypatch.setattr("diorama.scene.stream.PACE", 60.0)
    quick = list(edges().stream("card", unit=f"0/{VERTICAL}", synthesize=False))
    assert [picture.final for picture in quick] == [False, True]
    forming = list(edges().stream("card", unit=f"0/{VERTICAL}"))[1]
    tiles = [sum(isinstance(mark, Tiles) for mark in picture.marks()) for picture in (quick[1], forming)]
    assert tiles[0] == tiles[1] > 0
    assert "response" in _of(forming, Image, "what it asks for").caption


def test_the_card_is_of_all_examples_where_a_scan_is_there() -> None:
    """After a scan the strongest examples are those of the scan, and the card says of how many."""
    scene = edges()
    diorama.scan(scene, scene.examples.x[:12], scene.examples.y[:12])
    top = _of(scene.view("card", unit=f"0/{VERTICAL}"), Tiles, "Fires most")
    assert "12 examples" in top.title
    assert all(not key for key in top.keys)


def test_a_histogram_holds_the_units_values(scene: Scene) -> None:
    """The distribution on the card has the mean of the unit's own values."""
    (ridge,) = _of(scene.view("card", unit=f"0/{VERTICAL}"), Ridges, "Its values").sets
    middles = (ridge.edges[1:] + ridge.edges[:-1]) / 2
    share = ridge.density[0] * np.diff(ridge.edges)
    assert share.sum() == pytest.approx(1, abs=0.01)
    with torch.no_grad():
        mean = float(scene.model[0](scene.examples.x)[:, VERTICAL].mean())  # type: ignore[index,operator]
    assert (share * middles).sum() == pytest.approx(mean, abs=0.1)


def test_selectivity_is_the_papers() -> None:
    """The best class against the mean of the others, over their sum; undefined for a unit that is always off."""
    assert selectivity(np.array([3.0, 1.0, 1.0])) == (0.5, 0)
    assert selectivity(np.array([0.0, 2.0, 0.0])) == (1.0, 1)
    assert np.isnan(selectivity(np.zeros(3))[0])
    assert selectivity(np.array([np.nan, 2.0, 2.0]))[0] == 0


def test_selectivity_of_signed_activations_is_in_standard_deviations() -> None:
    """A unit of either sign is not given a share of a sum: the best class is told by its distance, as by hand."""
    assert np.isnan(selectivity(np.array([3.0, 2.0, -1.0]))[0])
    value, best = distance(np.array([-1.0, 2.0, -2.0, np.nan]), 0.5)
    assert (value, best) == ((2.0 - -1.5) / 0.5, 1)
    model = nn.Sequential(nn.Linear(2, 3))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = torch.tensor([0.6, -0.4]), 0.2
    x, y = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    scene = Scene(model, x, y, classes=("a", "b", "c"), task="classification")
    values = model(x).detach()[:, 1].double().numpy()
    means = np.array([values[y.numpy() == k].mean() for k in range(3)])
    rest = np.delete(means, means.argmax()).mean()
    told = _numbers(scene.view("card", unit="0/1"))["selectivity"]
    assert told.value == pytest.approx((means.max() - rest) / values.std(ddof=1), rel=1e-4)
    assert told.unit == "σ"
    assert f"for {'abc'[means.argmax()]}" in told.note
    shut = Scene(nn.Sequential(*model, nn.ReLU()), x, y, classes=("a", "b", "c"), task="classification")
    values = shut.model(x).detach()[:, 1].double().numpy()
    means = np.array([values[y.numpy() == k].mean() for k in range(3)])
    rest = np.delete(means, means.argmax()).mean()
    told = _numbers(shut.view("card", unit="0/1"))["selectivity"]
    assert told.value == pytest.approx((means.max() - rest) / (means.max() + rest), rel=1e-4)


def test_every_number_of_the_card_is_of_one_measure() -> None:
    """What the unit asks for is measured as the examples are: at the place where it responds most, on the shown picture."""
    scene = edges()
    for unit in (f"0/{VERTICAL}", f"2/{BOTH}"):
        picture = scene.view("card", unit=unit)
        best = float(_of(picture, Tiles, "Fires most").notes[0].replace("−", "-"))
        asked = _of(picture, Image, "what it asks for").caption
        assert float(asked.removeprefix("response ").split(";")[0].replace("−", "-")) >= best
    made = scene.derive("preferred", layer="2").value
    inputs = torch.from_numpy(made["inputs"].copy())
    values = scene.activations("2", inputs)["2"]
    own = values[torch.arange(len(values)), torch.arange(len(values))]
    middle = own[:, own.shape[1] // 2, own.shape[2] // 2].numpy()
    np.testing.assert_allclose(made["values"], middle, rtol=1e-4, atol=1e-5)


def test_saturated_units_are_called_so() -> None:
    """A unit in front of a tanh that is always at its end is saturated, one in the middle is not."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight[0], model[0].weight[1] = 100, 0.1
        model[0].bias.zero_()
    scene = Scene(model, torch.rand(40, 2) + 0.5, torch.arange(40) % 2)
    assert _numbers(scene.view("card", unit="0/0"))["saturated"].value == 100
    assert _numbers(scene.view("card", unit="0/1"))["saturated"].value == 0


def test_the_scan_shows_every_map_in_its_own_order(scene: Scene) -> None:
    """Maps stand in their places, or by response, before the picture; those off here are faded; the chosen one is shown large."""
    grid = _of(scene.view("scan", layer="0", example=0), Tiles, "")
    with torch.no_grad():
        maps = torch.relu(scene.model[0](scene.examples.x[:1]))[0]  # type: ignore[index,operator]
    np.testing.assert_allclose(grid.images, maps, rtol=1e-5)
    assert grid.labels == ("0", "1", "2", "3")
    np.testing.assert_array_equal(grid.faded, maps.amax((1, 2)) == 0)
    order = [type(mark) for mark in scene.view("scan", layer="0", example=0).marks() if isinstance(mark, Tiles | Image)]
    assert order == [Tiles, Image]
    ordered = _of(scene.view("scan", layer="0", example=0, sort="response"), Tiles, "")
    assert ordered.labels[0] == str(int(maps.amax((1, 2)).argmax()))
    large = [mark for mark in scene.view("scan", unit=f"0/{VERTICAL}", example=0).marks() if isinstance(mark, Image)]
    assert [image.title for image in large] == ["example 0", f"Layer 0/{VERTICAL}", "its map over the picture"]


def test_the_scan_follows_an_object(scene: Scene) -> None:
    """When the edge in the picture moves, the brightest column of the edge detector's map moves with it."""
    for at in (4, 7):
        x = torch.zeros(1, 12, 12)
        x[:, :, at:] = 1
        grid = _of(scene.with_input(x).view("scan", layer="0"), Tiles, "")
        assert int(grid.images[VERTICAL].sum(0).argmax()) in (at - 2, at - 1)


def test_the_scan_shows_strongest_examples_and_signals_sent_back(scene: Scene) -> None:
    """Top shows three by three crops of each unit; deconvnet what excites it here, as the method gives it."""
    top = _of(scene.view("scan", layer="0", show="top"), Tiles, "")
    assert top.images.shape == (4, 11, 11)
    crops = _of(scene.view("card", unit=f"0/{VERTICAL}"), Tiles, "what it sees").images
    np.testing.assert_array_equal(top.images[VERTICAL][:3, :3], crops[0])
    np.testing.assert_array_equal(top.images[VERTICAL][4:7, 8:], crops[5])
    back = _of(scene.view("scan", layer="2", show="deconvnet", example=0), Tiles, "")
    values = scene.activations("2", scene.examples.x[:1])["2"][0, BOTH]
    place = np.unravel_index(int(values.argmax()), values.shape)
    wanted = diorama.attribute(
        scene.model, scene.examples.x[:1], f"unit:2/{BOTH}@{place[0]},{place[1]}", method="deconvnet"
    ).values[0, 0, place[0] : place[0] + 3, place[1] : place[1] + 3].numpy()
    np.testing.assert_allclose(back.images[BOTH], wanted / np.abs(wanted).max(), atol=1e-6)


def test_the_scan_wants_pictures() -> None:
    """A model of rows is refused with a way out."""
    scene = Scene(nn.Linear(3, 2), torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(NotApplicable, match="activations"):
        scene.view("scan")


def test_a_network_without_relus_shows_the_gradient() -> None:
    """Where no ReLU runs, the card sends the plain gradient back and says so."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
    x = torch.rand(12, 1, 8, 8)
    model(x)
    picture = Scene(model, x, torch.arange(12) % 2).view("card", unit="0/1")
    assert "gradient" in picture.note
    assert _of(picture, Image, "gradient").pixels.shape == (3, 3)


def test_units_of_any_axis_have_a_card() -> None:
    """The card of a unit counted on the last axis shows that unit's own values."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    x = torch.randint(0, 5, (10, 6))
    scene = Scene(model, x, inputs=diorama.Tokens(vocabulary=tuple("abcde")))
    picture = scene.view("card", unit="1/2")
    values = by_unit(scene.layers["1"], model(x).detach())[:, 2].amax(1)
    best = [mark for mark in picture.marks() if mark.title.startswith("Fires most")][0]
    assert best.row_keys[0] == f"example:{int(values.argmax())}"


class _Second(nn.Module):
    """A network that thinks twice of inputs with a large first number alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Once or twice."""
        out: torch.Tensor = self.first(x)
        return self.second(out) if x[0, 0] > 0 else out


def test_an_example_for_which_the_layer_runs_stands_in() -> None:
    """Where a unit takes no part in the answer to the current example, its card is of the first example in which it does."""
    x = torch.tensor([[-1.0, 0, 1], [-2, 1, 0], [3, 1, 1], [2, 2, 0]])
    model = _Second()
    picture = Scene(model, x).view("card", unit="second/1", synthesize=False)
    own = model.second(model.first(x[2]))[1].item()
    assert picture.caption.replace("−", "-").startswith(f"Unit 1 of 4 in second: {own:.3g} on example 2")
    assert "does not run second for example 0, so example 2 stands in for it" in picture.note


def test_the_card_shows_what_the_unit_asks_for() -> None:
    """Last comes a picture made from noise, to which the unit responds as to the edges of its own kind alone."""
    scene = edges()
    pictures = list(scene.stream("card", unit=f"0/{VERTICAL}"))
    first, last = (_of(picture, Image, "what it asks for") for picture in (pictures[0], pictures[-1]))
    assert first.caption == "forming"
    assert [picture.final for picture in pictures] == [False] * (len(pictures) - 1) + [True]
    assert last.pixels.shape == (3, 3)
    with torch.no_grad():
        made = scene.model[0](torch.from_numpy(last.pixels.astype(np.float32) / 255)[None, None])[0, :, 0, 0]  # type: ignore[index,operator]
    assert float(made[VERTICAL]) > 2
    assert float(made[VERTICAL]) > 5 * abs(float(made[HORIZONTAL]))
    assert float(last.caption.removeprefix("response ").replace("−", "-")) == pytest.approx(float(made[VERTICAL]), abs=0.1)
    # The next input, as a camera sends it, has the whole card at once: nothing falls back to forming.
    again = next(iter(scene.stream("card", unit=f"0/{VERTICAL}", example=5)))
    assert _of(again, Image, "what it asks for").caption == last.caption
    assert any(mark.title.startswith("Fires most") for mark in again.marks())
    for title in ("deconvnet", "guided backprop"):
        whole = list(edges().stream("card", unit=f"0/{VERTICAL}", example=5))[-1]
        if any(mark.title == title for mark in whole.marks()):
            assert _of(again, Image, title).pixels == pytest.approx(_of(whole, Image, title).pixels, abs=1e-5)
    assert not any(mark.title == "what it asks for" for mark in scene.view("card", unit="0/0", synthesize=False).marks())


def test_the_card_of_a_row_asks_for_a_row() -> None:
    """For a model of tables what the unit asks for is a row within the columns' ranges."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = torch.tensor([1.0, -1.5, 2.0]), 0
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, torch.arange(40) % 2, inputs=diorama.Table(columns=("a", "b", "c")))
    bars = _of(scene.view("card", unit="0/1"), Bars, "what it asks for")
    assert bars.labels == ("a", "b", "c")
    wanted = np.array([float(x[:, 0].max()), float(x[:, 1].min()), float(x[:, 2].max())])
    np.testing.assert_allclose(list(map(float, bars.notes)), wanted, atol=0.05)
    np.testing.assert_allclose(bars.values, (wanted - x.mean(0).numpy()) / x.std(0, correction=0).numpy(), atol=0.2)


def test_the_card_of_a_text_shows_where_the_unit_responds() -> None:
    """Its strongest texts are shown about the token at which it responds, which is marked."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    x = torch.randint(0, 5, (10, 6), generator=torch.Generator().manual_seed(0))
    scene = Scene(model, x, inputs=diorama.Tokens(vocabulary=tuple("abcde")))
    table = _of(scene.view("card", unit="1/2", synthesize=False), Table, "Fires most")
    best = "abcde"[int(model[1](model[0].weight)[:, 2].argmax())]
    texts = dict(zip(table.row_keys, table.columns[0].texts, strict=True))
    for key, text in texts.items():
        row = "".join("abcde"[k] for k in x[int(key.partition(":")[2])])
        assert text.replace("‹", "").replace("›", "") == row
    (first, *_) = texts.values()
    assert f"‹{best}›" in first


def test_a_dense_layer_is_fed_by_the_maps_that_were_put_in_a_row() -> None:
    """Behind flattened maps, a unit is fed by the channels, and a channel feeds it, by the length of the weights between."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 2))
    with torch.no_grad():
        model[4].weight.zero_()
        model[4].weight[1, 9:18] = 2.0
    scene = Scene(model, torch.rand(12, 1, 8, 8), torch.arange(12) % 2)
    fed = _of(scene.view("card", unit="4/1", synthesize=False), Bars, "Fed most")
    assert fed.keys[0] == "unit:0/1"
    assert fed.values[0] == pytest.approx(6)
    feeds = _of(scene.view("card", unit="0/1", synthesize=False), Bars, "Feeds most")
    assert feeds.keys[0] == "unit:4/1"


def test_the_scan_shows_what_every_unit_asks_for(scene: Scene) -> None:
    """The pictures form together and are kept: another input shows the same at once, in the order of its responses."""
    formed = list(scene.stream("scan", layer="0", show="synthesized", example=0))
    last = _of(formed[-1], Tiles, "")
    assert last.images.shape == (4, 3, 3)
    with torch.no_grad():
        raw = scene.model[0](torch.from_numpy(last.images.astype(np.float32) / 255)[:, None])  # type: ignore[index,operator]
    for unit, other in ((VERTICAL, HORIZONTAL), (HORIZONTAL, VERTICAL)):
        assert float(raw[unit, unit, 0, 0]) > 2
        assert float(raw[unit, unit, 0, 0]) > 5 * abs(float(raw[unit, other, 0, 0]))
    (again,) = scene.stream("scan", layer="0", show="synthesized", example=1, sort="response")
    tiles = _of(again, Tiles, "")
    for label, image in zip(tiles.labels, tiles.images, strict=True):
        np.testing.assert_array_equal(image, last.images[int(label)])


def test_what_was_left_forming_is_gone_on_with() -> None:
    """A stream that is closed half-way leaves its work behind, and the next one goes on from there."""
    fresh = edges()
    stream = fresh.stream("scan", layer="2", show="synthesized", example=0)
    first = next(stream)
    stream.close()
    second = next(iter(fresh.stream("scan", layer="2", show="synthesized", example=0)))
    assert not first.final
    one, two = (_of(picture, Tiles, "").images.astype(float) for picture in (first, second))
    blank = np.full_like(one, 128)
    assert np.abs(two - blank).mean() > 0
    whole = _of(list(fresh.stream("scan", layer="2", show="synthesized", example=0))[-1], Tiles, "").images
    straight = _of(list(edges().stream("scan", layer="2", show="synthesized", example=0))[-1], Tiles, "").images
    np.testing.assert_array_equal(whole, straight)


def test_the_scan_puts_what_is_unusual_first(scene: Scene) -> None:
    """Of units whose responses differ in size, the one that is farthest above its own usual response leads."""
    for example, unit in ((0, VERTICAL), (1, HORIZONTAL)):
        grid = _of(scene.view("scan", layer="0", example=example, sort="unusual"), Tiles, "")
        assert grid.labels[0] == str(unit)
        assert grid.labels[-1] == str(DEAD)


class _Bytes(nn.Module):
    """Takes pixels of 0 to 255 as whole numbers, and divides them itself; ``strict`` takes nothing else."""

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.strict, self.conv, self.out = strict, nn.Conv2d(1, 3, 3), nn.Linear(108, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.strict and x.dtype != torch.uint8:
            raise TypeError("bytes are wanted")
        return self.out(torch.relu(self.conv(x.float() / 255)).flatten(1))


def test_pictures_of_whole_numbers_have_a_card_and_gradients() -> None:
    """Where the model takes the same values as numbers, all that needs a slope works as on numbers; else the card says what does not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, strict = _Bytes(), _Bytes(strict=True)
    x = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(12) % 3
    scene = Scene(model, x, y)
    picture = scene.view("card", unit="conv/1")
    assert "response" in _of(picture, Image, "what it asks for").caption
    for method in ("gradient", "integrated_gradients", "lrp", "guided_backprop"):
        found = diorama.attribute(model, x[:2], 1, method=method, inputs=scene.kind).values
        wanted = diorama.attribute(model, x[:2].float(), 1, method=method, inputs=scene.kind).values
        torch.testing.assert_close(found, wanted)
    scene.view("flip", example=0)
    stiff = Scene(strict, x, y)
    picture = stiff.view("card", unit="conv/1")
    assert "Nothing is sent back to the pixels" in picture.note
    assert "whole numbers alone" in picture.note
    assert _of(picture, Tiles, "Fires most")
    with pytest.raises(NotApplicable, match="whole numbers alone"):
        stiff.view("synthesis", unit="conv/1")


def test_a_filter_of_one_place_is_a_strip_of_its_channels() -> None:
    """The mean over the channels would be one number in one colour."""
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    card = Scene(model, torch.rand(8, 1, 6, 6), torch.arange(8) % 4).view("card", unit="2/3")
    weights = _of(card, Image, "weights")
    np.testing.assert_allclose(weights.pixels, model[2].weight[3].detach().reshape(1, 6), rtol=1e-6)
    assert weights.caption == "one for each of 6 input channels"


class _Said(nn.Module):
    """A unit that says the number of the token at each place: padding, the last of the vocabulary, most of all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.embed.weight[:, 0] = torch.arange(5.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.embed(x)).mean(1)


def test_what_fills_a_text_up_is_no_place_of_it() -> None:
    """The card's number of a text is the unit's largest among its own tokens, though padding comes to more; so is it with padding on the left."""
    for filled in ([1, 3, 2, 4, 4, 4], [4, 4, 4, 1, 3, 2]):
        x = torch.tensor([filled, [1, 2, 1, 2, 1, 3]])
        scene = Scene(_Said().eval(), x, torch.tensor([0, 1]), inputs=diorama.Tokens(vocabulary=("a", "b", "c", "d", "<pad>")))
        picture = scene.view("card", unit="embed/0", synthesize=False)
        assert ": 3 on example 0, at the place where it responds most (numbers of examples are taken at theirs)" in picture.caption


def test_a_card_behind_a_norm_says_so_in_its_heading() -> None:
    """Where the next layer gets a unit through a norm, the card's numbers are the norm's, and its title and that of their spread name it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        normed = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2)).eval()
        x = torch.rand(6, 1, 8, 8)
    normed[1].running_mean.fill_(-5)  # so that what leaves the norm is another number than what leaves the convolution
    scene = Scene(normed, x, torch.arange(6) % 2)
    picture = scene.view("card", unit="0/1", synthesize=False)
    assert picture.title == "Layer 0/1, after layer 1"
    assert _of(picture, Ridges, "Its values").title == "Its values after layer 1, before the ReLU"
    told = float(picture.caption.split("ReLU: ")[1].split(" on ")[0])
    with torch.no_grad():
        assert told == pytest.approx(float(normed[:3](x[:1])[0, 1].max()), rel=1e-2)
    assert scene.view("inspector", select="unit:0/1").title.startswith("Layer 0/1, after layer 1")
    assert scene.view("card", unit="4/1", synthesize=False).title.startswith("Layer 4/1")
