"""Morphing one input into another: flips, units, read-outs and ways, against slow computation on networks whose truth is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import images, letters
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Field, Group, Heatmap, Lines, Table, Tiles
from diorama.core.picture import Picture
from diorama.methods.method import Look
from diorama.methods.perturbation import morph
from diorama.methods.perturbation.morph_plane import DrawnWay, InputPlane, knots
from diorama.methods.readout import fit, pooled, split
from diorama.model.targets import Target
from diorama.scene import Scene
from diorama.views.why.morph.measured_way import carried


def _mark(picture: Picture, kind: type, which: int = 0) -> Any:
    return [mark for mark in picture.marks() if isinstance(mark, kind)][which]


def _look(model: nn.Module, x: Tensor) -> Look:
    return Look(model, x=x, task="classification")


def _bands() -> nn.Module:
    """Class 0 below 0.3 of the first number, class 1 up to 0.7345, class 2 above."""
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]]))
        model.bias.copy_(torch.tensor([0.0, -30.0, -30.0 - 73.45]))
    return model


def _deep() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()


def _inputs() -> tuple[Tensor, Tensor]:
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return x[:1], 3 * x[1:]


def test_flips_are_where_the_answer_changes() -> None:
    """Both flips of a network with planted bands are found to a thousandth, even when the places asked skip the middle."""
    start, end = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    way = morph.InputWay(_look(_bands(), start), start, end)
    for places in ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0]):
        decisions = morph.decided(way.look, way.run(places).scores)
        found = morph.flips(way, places, decisions)
        assert [round(flip.place, 3) for flip in found] == pytest.approx([0.3, 0.7345], abs=1e-3)
        assert [(int(flip.before), int(flip.after)) for flip in found] == [(0, 1), (1, 2)]


def test_a_layers_way_carries_mixed_codes_on() -> None:
    """The scores on a way through a layer are those of the rest of the network on the mixed activations."""
    model, (start, end) = _deep(), _inputs()
    way = morph.LayerWay(_look(model, start), start, end, "2")
    with torch.no_grad():
        first, last = (model[:3](x) for x in (start, end))
        for place in (0.0, 0.3, 1.0):
            wanted = model[3:](first + place * (last - first))
            assert torch.allclose(way.run([place]).scores, wanted)


def test_a_layer_that_is_skipped_is_no_way() -> None:
    """A layer that part of the answer goes round is refused, and one behind the sum is found instead."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.join, self.out = nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.relu(self.join(x + self.inner(x))))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Skip(), torch.randn(6, 4)
    with pytest.raises(NotApplicable, match="goes round inner"):
        morph.LayerWay(_look(model, x[:1]), x[:1], x[1:2], "inner")
    picture = Scene(model, x, torch.arange(6) % 2).view("morph", start=0, end=1)
    assert "way through join" in picture.caption


def test_texts_of_two_lengths_are_why_no_layer_carries_the_answer() -> None:
    """A mask of padding that the network makes of its input stays that of the start; between texts of one length the same layers are ways."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner, self.middle, self.out = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            there = (x != 0).unsqueeze(-1).float()
            return self.out((self.middle(self.inner(self.embed(x)).tanh()).tanh() * there).sum(1) * (1 + x.ne(0).float().sum(1, keepdim=True)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Padded(), torch.randint(1, 9, (3, 6))
    x[2, 3:] = 0
    look = _look(model, x)
    assert carried(look, x[:1], x[1:2], None, list(look.layers)).layer.name in ("inner", "middle")
    with pytest.raises(NotApplicable, match="between these two inputs .* of one length there may be one"):
        carried(look, x[:1], x[2:], None, list(look.layers))


def test_inputs_behind_mixed_codes_have_those_codes() -> None:
    """The search ends at inputs whose activations are the mixed ones, where such inputs exist, inside the valid range."""
    model, (start, end) = _deep(), _inputs()
    way = morph.LayerWay(_look(model, start), start, end, "0")
    found = way.found([0.25, 0.5], steps=200)
    assert found is not None
    with torch.no_grad():
        codes = model[0](found[0])
    off = (codes - way.code([0.25, 0.5])).norm(dim=1) / (way.codes[1] - way.codes[0]).norm()
    assert torch.allclose(off, found[1], atol=1e-6)
    assert float(off.max()) < 0.01


def test_units_account_for_the_change() -> None:
    """What units did equals a fine sum of slope times change, and a layer's units sum to the change of the target."""
    model, (start, end) = _deep(), _inputs()
    look = _look(model, start)
    way, target = morph.InputWay(look, start, end), Target.of((1, 0), look.classes)
    layers = [look.layers["0"], look.layers["2"]]
    done = morph.effects(way, layers, target, 0.2, 0.6, steps=2000)
    with torch.no_grad():
        low, high = (model(start + t * (end - start)) for t in (0.2, 0.6))
    change = float((high - low)[0, 1] - (high - low)[0, 0])
    for name in ("0", "2"):
        assert float(done[name].sum()) == pytest.approx(change, abs=2e-3)
    slow = torch.zeros(5, dtype=torch.float64)
    previous = model[:3](start + 0.2 * (end - start)).detach()
    for k in range(2000):
        middle = model[:3](start + (0.2 + 0.4 * (k + 0.5) / 2000) * (end - start)).detach().requires_grad_()
        scores = model[3:](middle)
        slope = torch.autograd.grad(scores[0, 1] - scores[0, 0], middle)[0]
        here = model[:3](start + (0.2 + 0.4 * (k + 1) / 2000) * (end - start)).detach()
        slow += (slope * (here - previous))[0]
        previous = here
    assert torch.allclose(done["2"], slow, atol=1e-6)


def test_a_unit_set_back_is_alone() -> None:
    """The target with one unit set back is that of the rest of the network with this one number exchanged."""
    model, (start, end) = _deep(), _inputs()
    look = _look(model, start)
    way, target = morph.InputWay(look, start, end), Target.of(2, look.classes)
    with torch.no_grad():
        early, late = (model[:3](start + t * (end - start)) for t in (0.1, 0.8))
        for unit in range(5):
            mixed = late.clone()
            mixed[0, unit] = early[0, unit]
            wanted = float(model[3:](mixed)[0, 2])
            assert morph.put_back(way, look.layers["2"], unit, 0.1, 0.8, target) == pytest.approx(wanted)


def test_tokens_are_mixed_by_their_embeddings() -> None:
    """Half-way between two texts the network reads the mean of their embeddings."""
    scene = letters()
    look = Look(scene.model, x=scene.examples.batch([0]), kind=scene.kind, reading=scene.reading)
    way = morph.InputWay(look, scene.examples.batch([0]), scene.examples.batch([1]))
    model = scene.model
    with torch.no_grad():
        mixed = (model.embed(scene.examples.x[:1]) + model.embed(scene.examples.x[1:2])) / 2
        assert torch.allclose(way.run([0.5]).scores, model.out(model.rnn(mixed)[0]))
    with pytest.raises(NotApplicable, match="one shape"):
        morph.InputWay(look, scene.examples.batch([0]), scene.examples.batch([1])[:, :5])


def test_the_plane_is_spanned_as_it_says() -> None:
    """A third input lies on the plane where it is marked; without one, aside is the first component of what is left."""
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x[:, 2] *= 9
    look = _look(_deep(), x[:1])
    plane = InputPlane(look, x[:1], x[1:2], third=x[2:3])
    assert plane.third is not None
    for place, wanted in (((0.0, 0.0), x[0]), ((1.0, 0.0), x[1]), (plane.third, x[2])):
        assert torch.allclose(plane.points(np.array([place]))[0][0], wanted)
    plane = InputPlane(look, x[:1], x[1:2], others=x)
    along, aside = plane.along[0][0], plane.aside[0][0]
    assert float(along @ aside) == pytest.approx(0, abs=1e-8)
    assert float(aside.norm()) == pytest.approx(float(along.norm()))
    unit = along / along.norm()
    rest = (x - x.mean(0)) - ((x - x.mean(0)) @ unit)[:, None] * unit
    wanted = torch.linalg.svd(rest).Vh[0]
    assert abs(float(wanted @ aside / aside.norm())) == pytest.approx(1)
    assert plane.spread == pytest.approx(float(torch.linalg.svdvals(rest)[0] ** 2 / rest.square().sum()))
    with pytest.raises(NotApplicable, match="same input"):
        InputPlane(look, x[:1], x[:1], others=x)


def test_a_drawn_way_goes_through_its_places_in_even_pace() -> None:
    """A drawn way starts at the start, ends at the end, and its middle is the middle of its length."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plane = InputPlane(_look(_deep(), x[:1]), x[:1], x[1:2], third=x[2:3])
    way = DrawnWay(plane, morph.parsed("0,1; 1,1"))
    assert way.places([0.0, 1 / 6, 1 / 3, 0.5, 1.0]).tolist() == pytest.approx(
        np.array([[0, 0], [0, 0.5], [0, 1], [0.5, 1], [1, 0]])
    )
    assert torch.allclose(way.points([0.5])[0], plane.points(np.array([[0.5, 1.0]]))[0])
    assert knots([(0.0, 0.0), (1.0, 0.0)]).tolist() == [[0, 0], [1, 0]]
    for wrong in ("1", "a,b", "nan,1", ";".join(["0,1"] * 65)):
        with pytest.raises(UsageError):
            morph.parsed(wrong)


def test_a_read_out_is_a_logistic_regression() -> None:
    """A read-out's probabilities are those of scikit-learn's logistic regression with the same strength."""
    from sklearn.linear_model import LogisticRegression

    generator = torch.Generator().manual_seed(3)
    y = torch.arange(200) % 3
    rows = torch.randn(200, 7, generator=generator, dtype=torch.float64) + 1.5 * torch.eye(7, dtype=torch.float64)[y]
    read = fit(rows, y, 3)
    assert read is not None
    chosen, held = split(y)
    scale = float((rows[chosen] - rows[chosen].mean(0)).square().sum(1).mean().sqrt())
    z = ((rows - rows[chosen].mean(0)) / scale).numpy()
    same = LogisticRegression(C=1 / (read.strength * len(chosen)), tol=1e-8, max_iter=5000)
    same.fit(z[chosen], y[chosen])
    assert read(rows).numpy() == pytest.approx(same.predict_proba(z), abs=2e-3)
    assert read.held_out == pytest.approx(same.score(z[held], y[held]), abs=1e-6)
    assert (read.fitted, read.measured) == (150, 50)


def test_a_read_out_is_measured_on_what_it_has_not_seen() -> None:
    """Noise is not read, however well it could be learned by heart, and a left out example takes no part."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(200) % 2
    noise = fit(torch.randn(200, 300, generator=generator), y, 2)
    assert noise is not None
    assert 0.3 < noise.held_out < 0.7
    rows = torch.randn(200, 3, generator=generator)
    number = rows @ torch.tensor([1.0, 2.0, 0.0]) + 5
    spoiled = rows.clone()
    spoiled[7] = 1e6
    leave = torch.zeros(200, dtype=torch.bool)
    leave[7] = True
    read = fit(spoiled, number, 0, leave)
    assert read is not None
    assert read.held_out > 0.999
    assert read(rows)[:, 0].numpy() == pytest.approx(number.numpy(), abs=0.05)
    assert read.fitted + read.measured == 199
    assert fit(torch.full((200, 3), torch.nan), y, 2) is None


def test_maps_are_pooled_onto_a_grid() -> None:
    """Maps become means over a coarse grid, sequences means over stretches; small ones stay as they are."""
    maps = torch.rand(2, 128, 8, 8)
    assert torch.allclose(pooled(maps)[1, :4], maps[1, 0].reshape(2, 4, 2, 4).mean((1, 3)).flatten())
    assert pooled(torch.rand(2, 4, 3, 3)).shape == (2, 36)
    assert pooled(torch.rand(2, 100, 50)).shape == (2, 500)


def test_the_picture_shows_the_flip_and_both_ways() -> None:
    """The curves carry the planted flips as events, the slider stands where it is set, and the plane takes a drawn way."""
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    x[0], x[1] = torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.5])
    scene = Scene(_bands(), x, _bands()(x).argmax(1), classes=("low", "middle", "high"))
    picture = scene.view("morph", start=0, end=1, at=0.4, path="0.2,0.3;0.8,0.3")
    straight, drawn = _mark(picture, Lines), _mark(picture, Lines, 1)
    assert [event.label for event in straight.events] == ["low → middle", "middle → high"]
    assert [event.x for event in straight.events] == pytest.approx([0.3, 0.7345], abs=1e-3)
    assert [event.kind for event in straight.events] == ["flip", "flip"]
    assert straight.cursor == 0.4
    assert (straight.handle.kind, straight.handle.knob) == ("slide", "at")
    assert "drawn way" in drawn.title
    field = _mark(picture, Field)
    assert (field.handle.kind, field.handle.knob, field.handle.value) == ("path", "path", "0.2,0.3;0.8,0.3")
    middle = field.values.shape[0] // 2
    xs = np.linspace(*field.extent[:2], field.values.shape[1])
    assert (field.values[middle].argmax(-1) == (xs > 0.3).astype(int) + (xs > 0.7345)).all()


def test_the_slider_moves_without_new_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving the slider asks the network at the new place alone; all else is kept, and the last picture is the same."""
    scene = images()
    whole = scene.view("morph", way="straight", at=0.5)
    asked: list[int] = []
    real = morph.InputWay.run

    def counted(self: morph.InputWay, places: Any, *args: Any, **options: Any) -> Any:
        asked.append(len(places))
        return real(self, places, *args, **options)

    monkeypatch.setattr(morph.InputWay, "run", counted)
    again = scene.view("morph", way="straight", at=0.75)
    assert asked == [1]
    assert again.caption == whole.caption
    assert _mark(again, Lines).cursor == 0.75
    assert (_mark(again, Tiles).images == _mark(whole, Tiles).images).all()


def test_each_draft_has_its_parts_where_the_last_picture_has_them() -> None:
    """The page lays drafts over the last whole picture part by part: each part of a draft has one of its mark in that one, groups in groups."""

    def names(node: Any) -> list[str]:
        first = node.children[0] if isinstance(node, Group) and not node.title else node
        return [type(node).__name__, type(first).__name__, first.title]

    *drafts, last = images().stream("morph", start=0, end=4, resolution=6)
    assert not any(draft.final for draft in drafts)
    assert len(drafts) > 3
    whole = [names(child) for child in last.body.children]
    for draft in drafts:
        assert all(names(child) in whole for child in draft.body.children)


def test_depth_and_units_are_read_where_they_are() -> None:
    """Read-outs name their accuracy, the units' table names keys that exist, and the answer's row is the network's own."""
    scene = images()
    picture = scene.view("morph", way="straight", start=0, end=4)
    depth = next(mark for mark in picture.marks() if isinstance(mark, Heatmap) and "knows" in mark.title)
    assert depth.row_labels[-1] == "the network's answer"
    assert all("%" in label for label in depth.row_labels[:-1])
    table = _mark(picture, Table)
    for key in table.row_keys:
        assert diorama.core.selection.Key.parse(key).name in scene.layers.names
    effects = np.abs(next(column for column in table.columns if column.name == "did").numbers)
    assert (np.diff(effects) <= 1e-12).all()


def test_examples_of_both_sets_are_the_ends() -> None:
    """The example of set A is the start, that of set B the end; a drawn input is the start of its own."""
    scene = images()
    picture = scene.view("morph", select=diorama.Selection.of("example:3", against=["example:7"]), show="answer")
    assert "from example 3 to example 7" in picture.caption
    drawn = scene.view("morph", input=torch.rand(1, 8, 8), example=7, show="answer")
    assert "from your input to example 7" in drawn.caption


def test_a_segmentation_is_told_by_shares_of_its_places() -> None:
    """The curves are each class's share of the places and how many changed, by plain counting; nothing speaks of flat numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, x = nn.Conv2d(1, 3, 3, padding=1), torch.randn(4, 1, 6, 5)
    scene = Scene(model, x, torch.zeros(4, 6, 5, dtype=torch.long), classes=("ground", "disc", "square"))
    picture = scene.view("morph", start=0, end=1, places=5, resolution=6, way="straight")
    with torch.no_grad():
        given = torch.stack([model(x[:1] + place * (x[1:2] - x[:1]))[0].argmax(0) for place in (0, 0.25, 0.5, 0.75, 1)])
    shares = {name: (given == k).double().mean((1, 2)).numpy() for k, name in enumerate(scene.classes)}
    changed = (given != given[:1]).double().mean((1, 2)).numpy()
    lines = _mark(picture, Lines)
    assert lines.y_title == "share of the places"
    assert lines.y_range == (0.0, 1.0)
    told = {one.name: one.y for one in lines.series}
    assert set(told) == {*shares, "another class than at the start"}
    assert all(told[name] == pytest.approx(shares[name]) for name in shares)
    assert told["another class than at the start"] == pytest.approx(changed)
    assert "come to another class" in picture.caption
    assert "never flips" not in picture.caption
    assert "output" not in picture.caption + "".join(str(mark.title) for mark in picture.marks())
