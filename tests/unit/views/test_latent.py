"""The view of codes on networks wired by hand, of which one knows what each number of the code draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Bars, Field, Heatmap, Image, Lines, Tiles
from diorama.core.picture import Picture
from diorama.scene import Scene
from diorama.views.unit._live_codes import LiveCodes

SIDE = 8


class Squeezed(nn.Module):
    """A linear autoencoder of pictures: the code reads some directions, and the decoder draws them again."""

    def __init__(self, drawn: Tensor, way_round: float = 0.0) -> None:
        super().__init__()
        numbers, pixels = drawn.shape
        self.down, self.up = nn.Linear(pixels, numbers, bias=False), nn.Linear(numbers, pixels, bias=False)
        self.wide, self.way_round = nn.Identity(), way_round
        with torch.no_grad():
            self.down.weight.copy_(drawn)
            self.up.weight.copy_(drawn.T)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.wide(x.flatten(1))
        return (self.up(self.down(flat)) + self.way_round * flat).reshape(x.shape)


def _columns(count: int) -> Tensor:
    """Directions that stand on one another: halves, quarters, stripes of a picture, each of length 1."""
    places = torch.arange(SIDE)
    waves = [((places // (SIDE // 2**k)) % 2 * 2.0 - 1) for k in range(1, 4)]
    planes = [wave[None].repeat(SIDE, 1) for wave in waves] + [wave[:, None].repeat(1, SIDE) for wave in waves]
    return torch.stack(planes[:count]).flatten(1) / SIDE


def _squeezed(count: int = 2, way_round: float = 0.0, **told: Any) -> tuple[Scene, Tensor]:
    drawn = _columns(count)
    generator = torch.Generator().manual_seed(3)
    codes = torch.randn(40, count, generator=generator) * torch.linspace(2.0, 0.5, count)
    x = (codes @ drawn).reshape(-1, 1, SIDE, SIDE)
    y = (codes[:, 0] > 0).long()
    model = Squeezed(drawn, way_round)
    return Scene(model, x, y, classes=("left", "right"), inputs=diorama.Image(range=(-1.0, 1.0)), **told), drawn


class Painter(nn.Module):
    """Draws a picture from two numbers: how bright its left and its right half are."""

    def forward(self, x: Tensor) -> Tensor:
        halves = torch.zeros(2, 1, 6, 6)
        halves[0, :, :, :3], halves[1, :, :, 3:] = 1, 1
        return torch.einsum("nk,kchw->nchw", x, halves).sigmoid()


def _marks(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def test_the_code_is_found_and_its_moves_draw_the_decoders_columns() -> None:
    """The narrowest layer is the code; a step of one number adds exactly its own column, times its spread."""
    scene, drawn = _squeezed(3)
    code = LiveCodes.of(scene, None)
    assert code.layer is not None
    assert code.layer.name == "down"
    assert code.gap < 1e-5
    torch.testing.assert_close(code.codes, scene.examples.x.flatten(1) @ drawn.T)  # type: ignore[union-attr]
    mean, spread = code.spread()
    for number in range(3):
        steps = torch.tensor([-3.0, 0.0, 2.0])
        found = code.traversal(number, steps, mean).flatten(1)
        wanted = (mean @ drawn)[None] + steps[:, None] * spread[number] * drawn[number][None]
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_board_lies_over_the_plane() -> None:
    """Each picture of the board is drawn from the middle of its own cell of the plane, the highest row on top."""
    scene, drawn = _squeezed(2)
    picture = scene.view("latent", board=5, example=3)
    plane, board = _marks(picture, Field)[0], next(mark for mark in _marks(picture, Image) if "each place" in mark.title)
    low_x, high_x, low_y, high_y = plane.extent
    cell = np.asarray(board.pixels)[:SIDE, 4 * SIDE :]
    code = torch.tensor([low_x + 0.9 * (high_x - low_x), low_y + 0.9 * (high_y - low_y)])
    order = [int(mark.split("/")[1]) for mark in (plane.x_title, plane.y_title)]
    wanted = sum(code[k] * drawn[order[k]] for k in range(2)).reshape(1, 1, SIDE, SIDE)
    np.testing.assert_array_equal(cell, diorama.Image(range=(-1.0, 1.0)).decode(wanted)[0])
    np.testing.assert_allclose(plane.points, LiveCodes.of(scene, None).codes[:, order], rtol=1e-5)
    assert plane.point_keys[3] == "example:3"
    assert set(np.unique(plane.point_values)) == {0, 1}
    at = [float(part) for part in plane.handle.value.split(",")]
    np.testing.assert_allclose(at, plane.points[3], rtol=1e-4)
    assert (board.boxes[0].x // SIDE, board.boxes[0].y // SIDE) == (
        np.floor((at[0] - low_x) / (high_x - low_x) * 5), np.floor((high_y - at[1]) / (high_y - low_y) * 5),
    )


def test_a_place_that_was_put_is_drawn_from() -> None:
    """The picture of a place is the sum of the columns there; the other numbers stay at their mean or the example's."""
    scene, drawn = _squeezed(3)
    means = LiveCodes.of(scene, None).spread()[0]
    kind = diorama.Image(range=(-1.0, 1.0))
    own = (scene.examples.x[5].flatten() @ drawn.T)[2]  # type: ignore[union-attr, index]
    for others, third in (("mean", float(means[2])), ("example", float(own))):
        picture = scene.view("latent", at="1.5,-0.25", x=0, y=1, others=others, example=5)
        there = next(mark for mark in _marks(picture, Image) if mark.title.startswith("from"))
        wanted = (1.5 * drawn[0] - 0.25 * drawn[1] + third * drawn[2]).reshape(1, 1, SIDE, SIDE)
        off = np.asarray(there.pixels).astype(int) - kind.decode(wanted)[0]
        assert abs(off).max() <= 1


def test_what_comes_back_is_measured() -> None:
    """Everything comes back through a code that is wide enough; half does where half of the variance is left out."""
    whole, _ = _squeezed(2)
    checks = {check.name: check for check in whole.view("latent").checks}
    assert checks["comes back"].value == pytest.approx(100, abs=0.01)
    drawn = _columns(2)
    codes = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    half = Scene(Squeezed(drawn[:1]), (codes @ drawn).reshape(-1, 1, SIDE, SIDE), inputs=diorama.Image(range=(-1.0, 1.0)))
    assert {check.name: check.value for check in half.view("latent").checks}["comes back"] == pytest.approx(50, abs=6)
    assert half.task == "reconstruction"


def test_numbers_that_draw_nothing_are_named() -> None:
    """A number of the code that the decoder does not read is faded and named."""
    scene, _ = _squeezed(3)
    with torch.no_grad():
        scene.model.up.weight[:, 1] = 0  # type: ignore[index, union-attr]
    picture = scene.view("latent")
    assert "down/1" in picture.note
    assert "down/0" not in picture.note
    assert [bool(tiles.faded.any()) for tiles in _marks(picture, Tiles)] == [False, True, False]
    assert _marks(picture, Tiles)[0].keys[0] == "unit:down/0"


def test_what_goes_round_the_code_is_refused_or_stated() -> None:
    """With a skip from input to output no layer holds the whole answer; a named layer is shown with what goes round it."""
    scene, _ = _squeezed(2, way_round=0.5)
    with pytest.raises(NotApplicable, match="goes round"):
        scene.view("latent")
    picture = scene.view("latent", layer="down")
    gap = {check.name: check for check in picture.checks}["goes round"]
    assert 5 < gap.value < 100
    assert gap.good is False


def test_a_generators_input_is_its_code() -> None:
    """A network that draws pictures from rows has no other code: the plane is its input, the board what it draws."""
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])
    scene = Scene(Painter(), x, inputs=diorama.Table(columns=("left", "right")))
    picture = scene.view("latent", example=2)
    plane = _marks(picture, Field)[0]
    assert {plane.x_title, plane.y_title} == {"left", "right"}
    assert np.asarray(plane.values).max() > 0
    moved = _marks(picture, Tiles)[0]
    bright = np.asarray(moved.images).astype(float)
    assert (np.diff(bright[:, :, :3].mean((1, 2))) > 0).all(), "moving the left number brightens the left half"
    assert np.ptp(bright[:, :, 3:].mean((1, 2))) == 0
    answer = scene.view("answer", example=2)
    np.testing.assert_array_equal(
        _marks(answer, Image)[0].pixels, np.rint(scene.scores(x[2:3])[0, 0].numpy() * 255).astype(np.uint8)
    )


def test_rows_and_series_are_moved_too() -> None:
    """An autoencoder of table rows shows its answers as numbers in the columns' own units."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(25, 1, generator=generator) @ torch.tensor([[1.0, -2.0, 0.5]])
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]) / 5.25)
        model[1].weight.copy_(torch.tensor([[1.0], [-2.0], [0.5]]))
    kind = diorama.Table(columns=("a", "b", "c"), mean=(10.0, 0.0, 0.0), std=(2.0, 1.0, 1.0))
    scene = Scene(model, x, inputs=kind, task="reconstruction")
    picture = scene.view("latent", at="1,1")
    moved = _marks(picture, Heatmap)[0]
    code = LiveCodes.of(scene, None)
    mean, spread = (float(part[0]) for part in code.spread())
    wanted = np.outer([2.0, -2.0, 0.5], mean + spread * np.arange(-3, 4)) + np.array([[10.0], [0], [0]])
    np.testing.assert_allclose(moved.values, wanted, rtol=1e-4, atol=1e-4)
    assert moved.row_labels == ("a", "b", "c")
    there = next(mark for mark in _marks(picture, Bars) if mark.title.startswith("from"))
    np.testing.assert_allclose(there.values, [12.0, -2.0, 0.5], rtol=1e-4)


def test_series_are_drawn_as_lines_and_what_most_goes_through_is_taken() -> None:
    """A code of a series is moved as lines; of a layer that nearly all goes through, the rest is stated."""
    scene, _ = _squeezed(2, way_round=0.1)
    assert 1 < {check.name: check.value for check in scene.view("latent").checks}["goes round"] < 25
    model = nn.Sequential(nn.Conv1d(2, 1, 4, 4), nn.ConvTranspose1d(1, 2, 4, 4))
    x = torch.randn(12, 2, 16, generator=torch.Generator().manual_seed(0))
    picture = Scene(model, x, inputs=diorama.Series(rate=1.0)).view("latent", board=3, example=1)
    moved = [mark for mark in _marks(picture, Lines) if ": " in mark.title]
    assert len(moved) == 4
    assert [line.name for line in moved[0].series] == ["−3", "−2", "−1", "0", "+1", "+2", "+3"]
    again = next(mark for mark in _marks(picture, Lines) if mark.title == "drawn again")
    np.testing.assert_allclose(again.series[1].y, model(x[1:2])[0, 1].detach(), rtol=1e-5)


def test_a_network_that_broke_says_so() -> None:
    """Where answers are no numbers the wreck is shown, and a sentence says so; one example alone is looked at too."""
    scene, _ = _squeezed(2)
    one = Scene(scene.model, scene.examples.take([3]), task="reconstruction")
    assert one.view("latent", board=3).checks == ()
    with torch.no_grad():
        scene.model.up.weight[0, 0] = float("nan")  # type: ignore[index, union-attr]
    wreck = scene.view("latent", board=3)
    assert "no numbers" in wreck.note
    assert "goes round" not in {check.name for check in wreck.checks}


def test_codes_with_places_are_named_by_unit_and_place() -> None:
    """A code of maps counts every place of every unit, and its keys say which."""
    model = nn.Sequential(nn.Conv2d(1, 2, 4, 4, bias=False), nn.ConvTranspose2d(2, 1, 4, 4, bias=False))
    x = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    code = LiveCodes.of(Scene(model, x, torch.arange(10) % 2, classes=("a", "b")), "0")
    assert code.count == 8
    assert code.key(6) == "unit:0/1@1,0"
    assert code.name(6) == "layer 0/1 at 1, 0"


def test_drawn_inputs_and_edits_are_looked_at() -> None:
    """An input of one's own stands at its own code, and an edit of the decoder changes what is drawn."""
    scene, drawn = _squeezed(2)
    mine = (0.5 * drawn[0] + 0.25 * drawn[1]).reshape(1, 1, SIDE, SIDE)
    plane = _marks(scene.view("latent", input=mine, x=0, y=1), Field)[0]
    np.testing.assert_allclose([float(part) for part in plane.handle.value.split(",")], [0.5, 0.25], atol=1e-4)
    dark = scene.edit("layer:up", lesion=True).view("latent")
    assert np.ptp(_marks(dark, Tiles)[0].images) == 0


@pytest.mark.parametrize(("knobs", "words"), [
    ({"at": "here"}, "x,y"), ({"at": "nan,1"}, "x,y"), ({"x": 7}, "0 to 1"), ({"layer": "wide"}, ""),
])
def test_wrong_places_and_wide_layers(knobs: dict[str, Any], words: str) -> None:
    """A place that is none and a number that the code lacks are refused in words; a wide layer may be looked into."""
    scene, _ = _squeezed(2)
    if words:
        with pytest.raises(UsageError, match=words):
            scene.view("latent", **knobs)
    else:
        assert "64 numbers" in scene.view("latent", board=3, **knobs).caption


@pytest.mark.parametrize("task", ["classifier", "tokens", "regression"])
def test_other_networks_are_refused_in_a_sentence(task: str) -> None:
    """Classifiers, texts and networks that answer with something else than their input have no code to show."""
    x = torch.rand(12, 1, 8, 8)
    if task == "classifier":
        scene = Scene(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), x, torch.arange(12) % 3)
    elif task == "tokens":
        words = diorama.Tokens(vocabulary=tuple("abcd"))
        scene = Scene(nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4)), torch.randint(0, 4, (6, 5)), inputs=words)
    else:
        scene = Scene(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), x, torch.rand(12, 1))
    with pytest.raises(NotApplicable, match="autoencoders and generators|single tensor"):
        scene.view("latent")


class Halved(nn.Module):
    """A variational autoencoder whose one layer gives means and log-variances; the latter are needed in training alone."""

    def __init__(self, parted: bool, deep: bool = False) -> None:
        super().__init__()
        self.both: nn.Module = nn.Linear(SIDE * SIDE, 6)
        if deep:
            self.both = nn.Sequential(nn.Linear(SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, 6))
        self.up, self.parted = nn.Linear(3, SIDE * SIDE), parted

    def forward(self, x: Tensor) -> Tensor:
        mean, wide = self.both(x.flatten(1)).chunk(2, 1)
        drawn = mean + torch.randn_like(mean) * (wide / 2).exp() if self.training and self.parted else mean
        return self.up(drawn).reshape(x.shape)


@pytest.mark.parametrize(("parted", "deep"), [(True, False), (False, False), (True, True)])
def test_log_variances_beside_the_means_are_not_called_unused(parted: bool, deep: bool) -> None:
    """Where one layer gives both, or a container of layers, that is told; half of a layer that nothing draws with is not used indeed."""
    torch.manual_seed(0)
    picture = Scene(Halved(parted, deep).eval(), torch.rand(20, 1, SIDE, SIDE)).view("latent")
    assert picture.title == "The code in both"
    assert ("does not use" in picture.note or "next to nothing" in picture.note) != parted
    assert ("means and log-variances together" in picture.note) == parted


class Drawing(nn.Module):
    """A variational autoencoder that draws its code whenever it answers, in one of the ways in which people write it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.mean, self.wide, self.up, self.how = nn.Linear(SIDE * SIDE, 2), nn.Linear(SIDE * SIDE, 2), nn.Linear(2, SIDE * SIDE, bias=False), how

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.mean(x.flatten(1)), (self.wide(x.flatten(1)) / 2).exp()
        if self.how == "rsample":
            return self.up(torch.distributions.Normal(mean, spread).rsample()).reshape(x.shape)
        noise = torch.empty_like(spread).normal_() if self.how == "normal_" else torch.randn(spread.shape)
        return self.up(mean + noise * spread).reshape(x.shape)


@pytest.mark.parametrize("how", ["randn", "normal_", "rsample"])
def test_codes_of_a_network_that_always_draws_are_drawn_without_noise(how: str) -> None:
    """What a code draws is the decoder's picture of it, no more and no less, and the picture says so; nothing goes round the means."""
    torch.manual_seed(0)
    scene = Scene(Drawing(how).eval(), torch.rand(20, 1, SIDE, SIDE))
    code = LiveCodes.of(scene, None)
    assert code.layer is not None
    assert code.layer.name == "mean"
    assert code.gap < 1e-5
    some = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    torch.testing.assert_close(code.decode(some).flatten(1), some @ scene.model.up.weight.T)
    picture = scene.view("latent", board=3)
    assert "adds noise to its code" in picture.note
    assert all(check.name != "goes round" for check in picture.checks)
    assert "adds noise" not in Scene(Halved(True).eval(), torch.rand(20, 1, SIDE, SIDE)).view("latent", board=3).note
