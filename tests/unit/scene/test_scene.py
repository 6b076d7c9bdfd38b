"""A scene: what it knows, what it guesses, what it refuses, and that it leaves the model alone."""

from __future__ import annotations

import base64
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import Cancelled, NotApplicable, NotFound, UsageError
from diorama.core.selection import Selection
from diorama.data.nesting import first
from diorama.derive.scans import known, seen
from diorama.model.changes import state_now
from diorama.model.points import points
from diorama.scene import Scene
from diorama.scene.memory import Memory


def _net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))


def _scene(model: nn.Module | None = None) -> Scene:
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    return Scene(model or _net(), x, torch.arange(20) % 3)


def test_guesses_are_stated_everywhere() -> None:
    """What was guessed about inputs and outputs stands in the scene and in the provenance of a picture."""
    scene = _scene()
    assert scene.task == "classification"
    assert scene.classes == ("0", "1", "2")
    assert any("grey images" in sentence for sentence in scene.guessed)
    made = scene.view("answer").provenance
    assert made is not None
    assert made.guessed == scene.guessed


def test_an_unnamed_class_has_its_number() -> None:
    """Classes beyond the given names are called by their numbers."""
    scene = Scene(_net(), torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long), classes=("only",))
    assert scene.classes == ("only", "1", "2")


def test_activations_equal_the_plain_computation() -> None:
    """The activations of the probe set and of a single input are those of the bare layer."""
    model = _net()
    scene = _scene(model)
    wanted = model[0](scene.examples.x)
    assert torch.equal(scene.activations("0")["0"], wanted)
    assert torch.allclose(scene.activations("0", scene.examples.x[3:4])["0"], wanted[3:4], atol=1e-6)


def test_responses_sum_up_the_activations() -> None:
    """The summaries are the highest, lowest and mean value of each unit's map, and of what a ReLU lets through."""
    scene = _scene()
    raw = scene.activations("0")["0"].flatten(2)
    found = scene.responses(["0"])["0"]
    assert torch.equal(found.high, raw.amax(2))
    assert torch.equal(found.low, raw.amin(2))
    assert torch.allclose(found.mean, raw.mean(2))
    assert torch.allclose(found.positive, raw.clamp_min(0).mean(2))


def test_as_many_examples_as_one_says_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """``first`` looks at more or fewer than usual; what is known of either lies in one memory, and goes when the weights change."""
    monkeypatch.setattr("diorama.scene.scene.LIVE", 6)
    model = _net()
    scene, wanted = _scene(model), model(_scene().examples.x).argmax(1)
    more, same = scene.first(500), scene.first(6)
    assert (len(scene.live), len(more.live), len(more.first(3).live), same is scene) == (6, 20, 3, True)
    assert torch.equal(scene.predictions(), wanted[:6])
    assert torch.equal(more.predictions(), wanted)
    assert torch.equal(scene.first(20).predictions(), wanted)
    assert len(more.edit("unit:0/1", lesion=True).responses(["0"])["0"].mean) == 20
    assert len(scene.memory) > 1
    assert scene.memory.size > more.answers().predictions.nbytes
    with torch.no_grad():
        model[3].weight.neg_()
    assert torch.equal(more.predictions(), model(more.examples.x).argmax(1))
    assert torch.equal(scene.predictions(), model(more.examples.x).argmax(1)[:6])
    with pytest.raises(UsageError, match="at least 1"):
        scene.first(0)


def test_a_unit_that_never_fires_is_dead() -> None:
    """A unit whose bias holds it below zero for the whole probe set is dead; the others are not."""
    model = _net()
    with torch.no_grad():
        model[0].bias[2] = -100
    assert _scene(model).responses(["0"])["0"].dead(True).tolist() == [False, False, True, False]


def test_training_on_makes_the_scene_look_again() -> None:
    """After an optimizer step on the user's own model nothing computed before is shown."""
    model = _net()
    scene = _scene(model)
    before, named = scene.answers().losses, scene.fingerprint
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    nn.functional.cross_entropy(model(scene.examples.x), scene.examples.y).backward()
    optimizer.step()
    assert not torch.equal(before, scene.answers().losses)
    assert scene.fingerprint != named


def test_the_current_input_follows_the_selection() -> None:
    """A drawn input comes before the chosen example, the chosen example before the first."""
    scene = _scene()
    assert scene.current().key == "example:0"
    assert scene.current(Selection.of("example:4")).index == 4
    drawn = scene.with_input(torch.zeros(1, 8, 8))
    assert drawn.current(Selection.of("example:4")).label == "your input"
    assert drawn.current(Selection.of("example:4"), example=2).index == 2
    assert scene.current().key == "example:0"
    for outside in (20, -1):
        with pytest.raises(UsageError, match="0 to 19"):
            scene.current(example=outside)


def test_an_input_of_another_shape_is_refused() -> None:
    """A tensor that is not one example, and raw input of another kind, say what was wanted."""
    with pytest.raises(UsageError, match="shape"):
        _scene().with_input(torch.zeros(3))
    with pytest.raises(UsageError, match="image"):
        _scene().with_input("a text")


def test_an_edit_changes_the_look_and_not_the_model() -> None:
    """A silenced unit is silent in the edited scene only, and answers are computed anew."""
    model = _net()
    scene = _scene(model)
    weights = model[0].weight.detach().clone()
    edited = scene.edit("unit:0/1", lesion=True)
    assert edited.activations("0")["0"][:, 1].abs().max() == 0
    assert scene.activations("0")["0"][:, 1].abs().max() > 0
    assert not torch.equal(edited.scores(), scene.scores())
    assert torch.equal(weights, model[0].weight)
    with pytest.raises(UsageError, match="knows no foo; a change is one of lesion"):
        scene.edit("unit:0/1", foo=True)


def test_scenes_of_a_scene_keep_what_they_are_told_and_nothing_else(tmp_path: Path) -> None:
    """Edits add up, another step is looked at in the same way, `alone` drops the input, and cancelling stops a pass."""
    run = diorama.open(_scene().save(tmp_path / "run"))
    edited = run.scene(step=0).edit("unit:0/1", lesion=True).edit("unit:0/2", lesion=True)
    assert [bool(part.any()) for part in edited.activations("0")["0"].unbind(1)] == [True, False, False, True]
    drawn = edited.with_input(torch.zeros(1, 8, 8)).compared_with(run.scene(step=0))
    again = drawn.at(0)
    assert (again.edits, again.custom, len(again.others)) == (edited.edits, True, 1)
    alone = drawn.alone()
    assert (alone.edits, alone.custom, alone.others) == (edited.edits, False, ())
    with pytest.raises(Cancelled):
        run.scene(step=0).cancelled_by(lambda: True).scores()
    assert len(run.scene(step=0).cancelled_by(lambda: False).scores()) == 20


def test_a_pass_in_train_mode_is_one(tmp_path: Path) -> None:
    """Dropout works in train mode alone, and what was kept in one mode is not given in the other."""
    scene = Scene(nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5)), torch.rand(6, 4))
    assert bool(scene.activations("1")["1"].all())
    assert not bool(scene.activations("1", mode="train")["1"].all())
    assert bool(scene.activations("1")["1"].all())


def test_a_scan_of_an_edited_scene_is_not_taken_for_the_models(tmp_path: Path) -> None:
    """Also not by whoever opens the run again."""
    path = _scene().save(tmp_path / "run")
    diorama.scan(diorama.open(path).scene().edit("unit:0/1", lesion=True))
    scene = diorama.open(path).scene()
    assert not known(scene, scene.layers["0"])
    assert seen(scene, scene.layers["0"]).statistics.moments.high[1] != 0


def test_parameters_cannot_be_written_through() -> None:
    """The arrays of the weights are read-only, as they may share memory with the model."""
    array = _scene().parameters()["0.weight"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_what_does_not_exist_is_refused_by_name() -> None:
    """Views, knobs, layers, units and examples that do not exist name the nearest that do."""
    scene = _scene()
    with pytest.raises(NotFound, match="activations"):
        scene.view("activation")
    with pytest.raises(NotFound, match="sort"):
        scene.view("weights", sorted="norm")
    with pytest.raises(NotFound, match="layer"):
        scene.view("weights", select=["layer:nope"])
    with pytest.raises(UsageError, match="units 0 to 3"):
        scene.view("inspector", unit="0/4")
    with pytest.raises(UsageError, match="examples 0 to 19"):
        scene.view("answer", example=20)


def test_options_become_knobs_or_keys() -> None:
    """A name that is a knob sets it; unit=, example= and class_= choose a key."""
    scene = _scene()
    assert scene.view("activations", layer="0", example=3).title == "Activations of example 3"
    assert scene.view("inspector", class_=1).title == "1"
    made = scene.view("inspector", unit="0/2").provenance
    assert made is not None
    assert made.selection == "unit:0/2"
    beside = scene.view("card", layer="0", unit=2).provenance
    assert beside is not None
    assert "unit:0/2" in beside.selection
    with pytest.raises(UsageError, match="unit=\"LAYER/2\""):
        scene.view("card", unit=2)


def test_without_examples_weights_can_still_be_seen() -> None:
    """A scene of a model alone shows its weights, and says what is missing for the rest."""
    scene = Scene(_net())
    assert scene.view("weights").title == "Weights of layer 0"
    with pytest.raises(NotApplicable, match="pass x"):
        scene.view("activations")


def test_a_scene_follows_the_type_of_the_model() -> None:
    """A double-precision model is given double-precision inputs, whatever came."""
    scene = _scene(_net().double())
    assert scene.scores().dtype == torch.float64


def test_a_saved_scene_opens_as_a_run(tmp_path: Path) -> None:
    """A run of one snapshot holds the same weights, examples and answers, and the same views; its points are found once for all scenes."""
    scene = Scene(_net(), torch.rand(6, 1, 8, 8), torch.arange(6) % 3, classes=("a", "b", "c"))
    run = diorama.open(scene.save(tmp_path / "mine"))
    assert len(run.snapshots) == 1
    again = run.scene()
    assert again.classes == ("a", "b", "c")
    assert again.fingerprint == scene.fingerprint
    assert torch.allclose(again.scores(), scene.scores(), atol=1e-6)
    assert again.view("examples").step == run.snapshots[0]
    other, few = run.scene(), again.network.few()
    assert other.model is not again.model
    assert points(other.model, few) is points(again.model, few)
    other.model.append(nn.ReLU())
    assert points(other.model, few).ops != points(again.model, few).ops


def test_the_memory_forgets_what_was_used_longest_ago() -> None:
    """Beyond its bound the memory lets the oldest go, never keeps what alone exceeds it, and weighs what lies inside."""
    memory = Memory(bound=1000)
    memory.put("a", torch.zeros(100))
    memory.put("b", {"inside": [np.zeros(100, np.float32)]})
    assert memory.get("a") is not None
    memory.put("c", torch.zeros(50))
    assert not memory.has("b")
    assert memory.has("a")
    memory.put("big", [torch.zeros(1000)])
    assert memory.get("big") is None
    assert memory.has("a"), "what is too large pushes nothing out"
    assert memory.once("b", lambda: 7) == memory.once("b", lambda: 8) == 7
    memory.drop("a")
    memory.drop("b")
    memory.drop("c")
    assert memory.size == 0


def test_a_layer_is_resolved_from_knob_selection_and_fit() -> None:
    """A named layer must fit; else the chosen one is taken when it fits, else the first that does."""
    scene = _scene()

    def dense(layer: object) -> bool:
        return getattr(layer, "kind", "") == "Linear"

    assert scene.layer(None, Selection.of("unit:0/1"), dense).name == "3"
    assert scene.layer(None, Selection.of("unit:0/1")).name == "0"
    assert scene.layer("3").name == "3"
    with pytest.raises(NotApplicable, match="Conv2d"):
        scene.layer("0", fits=dense)
    with pytest.raises(NotFound):
        scene.layer("7")


def test_edited_pixels_start_from_an_example() -> None:
    """Pixels edited from an example are that example until something is painted, and are named after it."""
    scene = _scene()
    shown = np.asarray(scene.current(Selection.of("example:5")).shown)
    pixels = {"kind": "pixels", "height": shown.shape[0], "width": shown.shape[1], "channels": 1}
    sent = {**pixels, "pixels": base64.b64encode(shown.tobytes()).decode(), "example": 5}
    current = scene.with_input(sent).current()
    assert current.label == "your edit of example 5"
    assert current.index is None
    assert torch.equal(first(current.x)[0], first(scene.examples.batch([5]))[0])
    painted = np.where(np.arange(shown.size).reshape(shown.shape) == 0, 255 - shown, shown).astype(np.uint8)
    changed = scene.with_input({**sent, "pixels": base64.b64encode(painted.tobytes()).decode()}).current()
    assert int((first(changed.x) != first(current.x)).sum()) == 1
    with pytest.raises(UsageError, match="0 to"):
        scene.with_input({**sent, "example": 10_000})


def test_several_inputs_are_taken_by_name() -> None:
    """A model with a dict of inputs is looked at with one of them replaced by name."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 3)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.a(left) + self.b(right)

    x = {"left": torch.randn(6, 2), "right": torch.randn(6, 4)}
    scene = Scene(Two(), x, torch.arange(6) % 3)
    changed = scene.with_input({"left": {"kind": "row", "values": [1.0, 2.0]}}).current()
    assert np.allclose(changed.shown["left"], [1, 2])
    assert np.allclose(changed.shown["right"], x["right"][0].numpy())
    with pytest.raises(NotFound, match="left"):
        scene.with_input({"lift": {"kind": "row", "values": [1.0, 2.0]}})
    edited = {"kind": "parts", "parts": {"left": {"kind": "row", "values": [1.0, 2.0]}}, "example": 4}
    current = scene.with_input(edited).current()
    assert current.label == "your edit of example 4"
    assert np.allclose(current.shown["left"], [1, 2])
    assert np.allclose(current.shown["right"], x["right"][4].numpy())
    for wrong in ({"parts": 3}, {"example": 6}, {"example": None}):
        with pytest.raises(UsageError, match="example"):
            scene.with_input({**edited, **wrong})


def test_a_scene_notices_what_pytorch_does_not_count() -> None:
    """Writes through .data and numpy, and hooks, make it look again."""
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(a=nn.Linear(4, 3), b=nn.Linear(3, 3)))
    x, y = torch.randn(24, 4), torch.randint(3, (24,))
    scene = Scene(model, x, y)

    def fresh() -> bool:
        now = Scene(model, x, y)
        same = torch.allclose(scene.losses(), now.losses()) and torch.allclose(scene.activations("b")["b"], now.activations("b")["b"])
        return same and scene.view("confusion").caption == now.view("confusion").caption

    assert fresh()
    model.b.weight.data.neg_()
    assert fresh(), "a write to .data"
    model.b.bias.detach().numpy()[1] = 9
    assert fresh(), "a write through numpy"
    named = scene.fingerprint
    model.b.weight.data[[0, 1]] = model.b.weight.data[[1, 0]]
    assert fresh(), "two units that changed places"
    assert scene.fingerprint != named
    hook = model.b.register_forward_hook(lambda module, args, output: output * torch.tensor([1.0, -3.0, 1.0]))
    assert fresh(), "a hook"
    hook.remove()
    assert fresh()


def test_a_word_in_a_configuration_tells_which_ops_run() -> None:
    """Where a model reads it, as Hugging Face's do, what was known of the ops holds no more."""
    class Chooses(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return getattr(super().forward(x), self.settings.way)()

    model, x = Chooses(2, 3), torch.randn(4, 2)
    model.settings = types.SimpleNamespace(way="relu", calls=0)
    told = state_now(model), points(model, x)
    model.settings.calls += 1
    assert points(model, x) is told[1]
    model.settings.way = "tanh"
    assert (state_now(model) != told[0], "relu" in told[1].records, "tanh" in points(model, x).records) == (True, True, True)


def test_sums_tell_weights_apart_that_are_summed_where_they_lie() -> None:
    """One write, and rows or columns that change places."""
    model = nn.Linear(512, 600)
    weight, told = model.weight.data, [state_now(model)]
    assert state_now(model) == told[0]
    weight[7, 5] *= 1.001
    told.append(state_now(model))
    weight[[2, 3]] = weight[[3, 2]]
    told.append(state_now(model))
    weight[:, [2, 9]] = weight[:, [9, 2]]
    told.append(state_now(model))
    assert len(set(map(repr, told))) == 4


def test_tensors_by_name_come_in_any_order() -> None:
    """An input of several tensors is taken by their names, whichever stands first."""
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 3), nn.Linear(2, 3)

        def forward(self, picture: Tensor, row: Tensor) -> Tensor:
            return self.a(picture.flatten(1)) + self.b(row)

    scene = Scene(Two(), {"picture": torch.rand(6, 1, 4, 4), "row": torch.rand(6, 2)}, torch.arange(6) % 3)
    one = {"row": torch.rand(2), "picture": torch.rand(1, 4, 4)}
    for given in (one, dict(reversed(one.items())), {name: part[None] for name, part in one.items()}):
        x = scene.with_input(given).current().x
        assert isinstance(x, dict)
        assert all(torch.equal(x[name][0], part) for name, part in one.items())
