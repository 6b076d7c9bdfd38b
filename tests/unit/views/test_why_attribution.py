"""Why this answer: what is explained, by which methods, and how far each map is to be believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from nets import images, letters
from torch import nn

import diorama
from diorama.core import registry
from diorama.core.errors import Cancelled, NotApplicable, NotFound, UsageError
from diorama.core.marks import Bars, Group, Image, Lines, Table, Text
from diorama.core.picture import Draft, Picture, Progress
from diorama.core.selection import Selection
from diorama.methods.method import Attribution, Look, Method
from diorama.scene import Scene


def _of(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _linear() -> tuple[Scene, torch.Tensor]:
    """A linear classifier of 4 × 4 images: its gradient is its weights, whatever the input."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model[1].weight.copy_(weights)
        model[1].bias.zero_()
    x = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    return Scene(model, x, torch.arange(9) % 3, classes=("a", "b", "c")), weights.reshape(3, 4, 4)


def test_what_was_chosen_last_is_explained() -> None:
    """A class, one class rather than that of set B, and nothing chosen give the gradients of just these scores."""
    scene, weights = _linear()
    answer = int(scene.scores(scene.examples.x[:1]).argmax())
    asked = {
        "": (weights[answer], scene.classes[answer]), "class:2": (weights[2], "c"),
        "class:2|class:1": (weights[2] - weights[1], "c rather than b"),
    }
    for selection, (wanted, name) in asked.items():
        picture = scene.view("attribution", method="gradient", select=Selection.parse(selection))
        assert np.allclose(_of(picture, Image)[0].heat, wanted.numpy(), atol=1e-6)
        assert f"speaks for {name}," in picture.caption


def test_units_places_and_layers_are_explained() -> None:
    """A unit, one place of its map and a whole layer are targets, told in words."""
    scene = images()
    x = scene.examples.x[:1].clone().requires_grad_()
    hidden = scene.model[0](x)
    wanted = {
        "unit:0/3": (hidden[0, 3].mean(), "unit 3 of layer 0,"), "unit:0/3@2,5": (hidden[0, 3, 2, 5], "unit 3 of layer 0 at place 2, 5"),
        "layer:0": (hidden.mean(), "layer 0 (the mean of all its units)"),
    }
    for key, (value, told) in wanted.items():
        picture = scene.view("attribution", method="gradient", select=key)
        slope = torch.autograd.grad(value, x, retain_graph=True)[0][0, 0]
        assert np.allclose(_of(picture, Image)[0].heat, slope.numpy(), atol=1e-6)
        assert told in picture.caption


def test_a_grid_of_methods_and_inputs() -> None:
    """Several chosen examples make rows of the same methods, each titled with its answer; the count fills them up."""
    scene = images()
    picture = scene.view("attribution", select=["example:4", "example:7"], group="gradient")
    rows = [mark for mark in picture.body.children if isinstance(mark, Group)]
    titles = [[child.title for child in row.children] for row in rows]
    assert len(rows) == 2
    assert titles[0] == titles[1]
    assert {"the input", "Gradient", "Guided backprop", "SmoothGrad"} < set(titles[0])
    assert rows[1].title.startswith("example 7: ")
    *early, last = diorama.views["attribution"](method="gradient, input_x_gradient").pictures(scene, Selection())
    drafts = [one.make().caption.partition(".")[0] for one in early if isinstance(one, Draft)]
    assert drafts
    assert not any(" method" in said for said in drafts)  # older maps may still stand beside these
    assert "by 2 methods." in last.caption
    more = scene.view("attribution", example=28, inputs=3, method="gradient")
    assert [row.title.split(":")[0] for row in more.body.children] == ["example 28", "example 29", "example 0"]


def test_methods_are_named_with_their_knobs() -> None:
    """Relevance by several rules stands side by side, each with how far its sum misses the score."""
    scene = images()
    picture = scene.view("attribution", method="lrp(rule=epsilon), lrp(rule=alpha_beta, bias=left out)")
    assert [mark.title for mark in _of(picture, Image)] == ["LRP (epsilon)", "LRP (alpha beta, bias left out)"]
    assert all(mark.caption.startswith("sum ") and mark.caption.endswith("off") for mark in _of(picture, Image))
    with pytest.raises(NotFound, match="rul"):
        scene.view("attribution", method="lrp(rul=epsilon)")
    with pytest.raises(NotFound, match="gradientt"):
        scene.view("attribution", method="gradientt")
    with pytest.raises(UsageError, match="named as in"):
        scene.view("attribution", method="lrp(rule=epsilon")


def test_every_group_shows_what_fits_and_says_what_does_not() -> None:
    """Each group gives maps on a CNN or says why none fits; what is left out is told apart."""
    scene = images()
    for group in ("quick", "gradient", "relevance", "class activation", "black box"):
        picture = scene.view("attribution", group=group)
        assert _of(picture, Image), group
    with pytest.raises(NotApplicable, match="attention"):
        scene.view("attribution", group="transformers")
    # Other inputs to compare with come from the probe set.
    assert "Expected gradients" in {mark.title for mark in _of(scene.view("attribution", group="gradient"), Image)}


def test_scales_and_signs() -> None:
    """One scale over all inputs of a method, one over all signed maps, or each its own; positive parts alone."""
    scene = images()
    ask = {"method": "gradient, input_x_gradient, smooth_grad", "inputs": 2}

    def ends(**knobs: Any) -> dict[str, set[float]]:
        found: dict[str, set[float]] = {}
        for mark in _of(scene.view("attribution", **ask, **knobs), Image):
            if mark.heat is not None:
                found.setdefault(mark.title, set()).add(round(mark.heat_limits.high, 9))
        return found

    assert len(ends()["Gradient"]) == 2
    assert {len(values) for values in ends(scale="method").values()} == {1}
    assert len(set.union(*ends(scale="all").values())) == 1
    positive = [mark.heat for mark in _of(scene.view("attribution", method="gradient", sign="positive"), Image)]
    whole = [mark.heat for mark in _of(scene.view("attribution", method="gradient"), Image)]
    assert np.array_equal(positive[0], whole[0].clip(0))
    assert _of(scene.view("attribution", method="gradient", contour=0.5), Image)[0].contour == 0.5


def test_deletion_is_a_plain_loop() -> None:
    """The area told of a map is that of covering its places one share after the other, by hand."""
    scene, weights = _linear()
    picture = scene.view("attribution", method="gradient", checks="deletion and insertion", fill="constant", class_=1)
    x, heat = scene.examples.x[0].clone(), weights[1].reshape(-1)
    order = sorted(range(16), key=lambda k: -float(heat[k]))
    values = []
    for step in range(21):
        covered = x.reshape(-1).clone()
        covered[order[: round(step / 20 * 16)]] = 0
        values.append(float(scene.model(covered.reshape(1, 1, 4, 4)).softmax(1)[0, 1].detach()))
    area = sum((a + b) / 2 / 20 for a, b in zip(values, values[1:], strict=False))
    lines = _of(picture, Lines)[0]
    assert np.allclose(lines.series[0].y, values, atol=1e-6)
    table = {column.name: column.numbers for column in _of(picture, Table)[0].columns}
    assert table["probability, covered"][0] == pytest.approx(area, abs=1e-6)
    assert table["probability, shown"][0] > table["probability, covered"][0]


class _Ink(Method):
    """The input itself, whatever the network."""

    def attribute(self, look: Look, x: Any, target: Any) -> Iterator[Attribution]:
        yield self.found(look, x, target, x.clone(), look.target(x, target))


def test_a_map_that_ignores_the_network_is_called_insensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that shows the input alone is named insensitive and marked in the table; the gradient is not."""
    monkeypatch.setitem(registry.methods._loaded, "ink", _Ink)
    monkeypatch.setattr(_Ink, "name", "ink")
    scene = images()
    picture = scene.view("attribution", method="ink, gradient", checks="randomization")
    assert list(_of(picture, Table)[0].flagged) == [True, False]
    doubles = [mark for mark in _of(picture, Image) if "randomized" in mark.title]
    assert doubles[0].caption.startswith("insensitive")
    assert doubles[0].title == "top 2 of 3 layers randomized"
    assert np.array_equal(doubles[0].heat, scene.examples.x[0, 0].numpy())
    assert not doubles[1].caption.startswith("insensitive")


def test_long_work_says_its_passes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it begins, the number of passes is told, and progress ends at its total."""
    monkeypatch.setattr("diorama.views.why.attribution.LONG", 0.0)
    scene = images()
    told: list[Progress] = []
    scene.view("attribution", method="gradient, occlusion", checks="all", progress=told.append)
    assert "forward" in told[0].note
    assert "backward passes" in told[0].note
    assert told[0].seconds is not None
    assert told[-1].done == told[-1].total


def test_rows_and_texts_are_explained_too() -> None:
    """A table's row gives bars and a text coloured words, with their checks."""
    x = torch.rand(12, 4, generator=torch.Generator().manual_seed(1))
    scene = Scene(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), x, torch.arange(12) % 2)
    picture = scene.view("attribution", method="gradient, occlusion", checks="all")
    assert len(_of(picture, Bars)) == 4
    assert len(_of(picture, Lines)) == 2
    texts = letters()
    picture = texts.view("attribution", method="gradient, input_x_gradient")
    told = picture.caption.partition(" speaks for ")[2].partition(",")[0]
    assert f"answers {told} next" in picture.caption
    untold = Scene(scene.model, x).view("attribution", method="gradient")
    assert "speaks for output " in untold.caption


def test_one_method_that_does_not_fit_says_so() -> None:
    """Asked for alone, a method that cannot be used is refused with what to use instead."""
    with pytest.raises(NotApplicable, match="attention"):
        images().view("attribution", method="attention_rollout")


@pytest.mark.parametrize("where", ["fits", "cost", "attribute"])
def test_one_method_that_does_not_fit_never_takes_the_others_with_it(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a method finds that it does not apply, the others are shown, and the note says why it is not."""
    scene, _ = _linear()

    def refuse(*args: Any, **knobs: Any) -> Any:
        raise NotApplicable("not this one")

    for name in ("gradient", "occlusion", "lrp"):
        with monkeypatch.context() as patched:
            patched.setattr(registry.methods[name], where, refuse)
            for group in ("few", "quick"):
                picture = scene.view("attribution", group=group)
                assert "not this one" in picture.note or group == "quick"
                assert len(_of(picture, Image)) > 2


def test_a_volume_is_explained_slice_by_slice() -> None:
    """Volumes and clips are drawn as their slices side by side, by every method that fits, and no taller than a screen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3))

    class Clip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x.transpose(1, 2))

    volumes = torch.rand(3, 3, 6, 8, 8)
    for network, x in ((model, volumes), (Clip(), volumes.transpose(1, 2).contiguous())):
        scene = Scene(network, x, torch.arange(3))
        maps = _of(scene.view("attribution"), Image)
        assert len(maps) > 5
        assert all(mark.pixels.shape == (24, 16) for mark in maps)
        drawn = _of(scene.view("answer"), Image)[0]
        assert np.allclose(drawn.pixels[8:16, :8], volumes[0, :, 2].mean(0))
        assert "6 slices" in drawn.caption
        assert "6 slices" in scene.guessed[0]
    wide = Scene(nn.Linear(300, 3), torch.randn(4, 300), torch.arange(4) % 3)
    assert not _of(wide.view("answer"), Bars)[1:]
    assert _of(wide.view("answer"), Lines)


@pytest.mark.parametrize(("part", "error", "told"), [
    ("fits", RuntimeError("a kernel is missing"), "a kernel is missing"), ("attribute", MemoryError(), "more memory than there is"),
    ("cost", NotApplicable("it has no way in"), "it has no way in"), ("attribute", ValueError("a shape is wrong"), "a shape is wrong"),
])
def test_a_method_that_fails_takes_no_other_with_it(part: str, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one method of a group raises, and wherever, the others are drawn, and a sentence says of it why not."""
    scene, _ = _linear()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    before = scene.view("attribution", checks="none")
    monkeypatch.setattr(registry.methods["input_x_gradient"], part, fail)
    picture = scene.view("attribution", checks="none")
    title = registry.methods["input_x_gradient"].title
    assert f"{title}:" not in before.note
    assert len(_of(picture, Image)) == len(_of(before, Image)) - 1 > 1
    assert f"{title}:" in picture.note
    assert told in picture.note


def test_nobody_waits_for_a_method_that_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish to stop is no failure of one method: the picture ends."""

    def fail(*_: Any, **__: Any) -> Any:
        raise Cancelled("no longer wanted")

    monkeypatch.setattr(registry.methods["input_x_gradient"], "attribute", fail)
    with pytest.raises(Cancelled):
        _linear()[0].view("attribution", checks="none")


def test_a_map_of_one_part_lies_over_it() -> None:
    """Of a picture with a text beside it each method shows the text first, then heat over the picture's own pixels; scales are shared where asked."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(3, 2)

        def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            return self.embed(text).sum(1) + image.flatten(1).unflatten(1, (2, -1)).sum(2)

    image = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kinds = {"image": diorama.Image(range=(0, 1)), "text": diorama.Tokens(vocabulary=("a", "b", "c"), separator=" ")}
    scene = Scene(Two(), {"image": image, "text": torch.tensor([[0, 1, 2]]).repeat(4, 1)}, torch.tensor([0, 1, 0, 1]), inputs=kinds)
    picture = scene.view("attribution", method="gradient, input_x_gradient", scale="all", class_=0)
    assert [type(mark) for mark in picture.marks() if isinstance(mark, Image | Text)] == [Text, Image, Text, Image]
    first, second = _of(picture, Image)
    shown = image[0].permute(1, 2, 0).numpy()
    assert first.pixels == pytest.approx(255 * shown, abs=1)
    assert second.heat == pytest.approx((image[0].flatten() * (torch.arange(48) < 24)).reshape(3, 4, 4).sum(0).numpy(), abs=1e-5)
    assert first.heat_limits.high == second.heat_limits.high


def test_a_token_that_is_a_digit_has_its_own_name() -> None:
    """The answer "3" is called so, and not what stands at number 3 of the vocabulary, behind padding as without."""
    words = ("<pad>", " ", *"0123456789")

    class Next(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(12, 12)
            with torch.no_grad():
                self.embed.weight.copy_(torch.eye(12).roll(1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.embed(x)

    for row in ([3, 5, 4], [3, 4, 0]):
        x = torch.tensor([row, row])
        scene = Scene(Next(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=words), classes=words, task="next_token")
        assert "speaks for 3, by" in scene.view("attribution", method="input_x_gradient").caption


@pytest.mark.parametrize("alone", [True, False])
def test_a_place_that_is_covered_counts_once(alone: bool) -> None:
    """What covering a pixel of three channels costs is its number in the picture, not three times that; slopes are added up over channels."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    costs = (x[0] * model[1].weight[0].detach().reshape(3, 4, 4)).sum(0).numpy()
    if alone:
        for method, knobs in (("input_x_gradient", {}), ("occlusion", {"size": 1})):
            found = diorama.attribute(model, x[:1], target=0, method=method, inputs=diorama.Image(range=(0, 1)), **knobs)
            assert _of(found.picture(), Image)[0].pixels == pytest.approx(costs, abs=1e-5)
        return
    scene = Scene(model, x, torch.tensor([0, 1]), inputs=diorama.Image(range=(0, 1)))
    for mark in _of(scene.view("attribution", method="input_x_gradient, occlusion(size=1)", class_=0), Image):
        assert mark.heat == pytest.approx(costs, abs=1e-5)

@pytest.mark.parametrize(("bias", "pale"), [(0.0, False), (40.0, True)])
def test_a_map_that_misses_its_sum_by_more_than_half_is_pale(bias: float, pale: bool) -> None:
    """Input × gradient leaves a bias out: where that is most of the score the map is pale, and the caption says what that means."""
    scene, _ = _linear()
    with torch.no_grad():
        scene.model[1].bias.fill_(bias)
    picture = scene.view("attribution", method="input_x_gradient", select="class:0")
    assert [mark.doubted for mark in _of(picture, Image)] == [pale]
    assert ("A map that is off by more than half is pale." in picture.caption) == pale
    heat = diorama.attribute(scene.model, scene.examples.x[:1], target=0, method="input_x_gradient")
    assert heat.picture().body.doubted == pale
    assert [check.good for check in heat.picture().checks if check.name == "completeness"] == [False if pale else None]
