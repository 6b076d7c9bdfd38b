"""What the view says of two networks is so: barriers, answers that differ, and what cannot be compared."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Lines, Table
from diorama.core.numerals import being
from diorama.core.picture import Picture
from diorama.model.averages import reestimate
from diorama.scene import Scene
from diorama.views import run_series
from diorama.views.training import compare
from diorama.views.training._other_network import called, done_apart
from diorama.views.training._straight_way import WeightWay, order


class _Net(nn.Module):
    """A small network with batch norm."""

    def __init__(self, width: int = 12, classes: int = 3) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.hidden, self.fc = nn.Linear(width, 10), nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.hidden(torch.relu(self.norm(self.conv(x))).mean((2, 3)))))


def _examples(classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % classes
    shapes = torch.randn(classes, 1, 6, 6, generator=generator)
    return shapes[y] + 0.5 * torch.randn(120, 1, 6, 6, generator=generator), y


def _trained(seed: int, steps: int = 60) -> _Net:
    x, y = _examples()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def pair() -> tuple[Scene, Scene]:
    """Two trainings on the same examples from different starts."""
    x, y = _examples()
    return Scene(_trained(1), x, y), Scene(_trained(2), x, y)


def _marks(picture: Picture, kind: type) -> list:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _loss_between(one: Scene, other: dict[str, Tensor], place: float, anew: bool, examples: int) -> float:
    """The loss at a place of the straight way, with PyTorch alone: statistics by one pass in train mode a batch of 64."""
    model = copy.deepcopy(one.model)
    mine = model.state_dict()
    model.load_state_dict({
        name: (1 - place) * value + place * other[name] if value.is_floating_point() else value for name, value in mine.items()
    })
    x, y = (part[:examples] for part in _examples())
    if anew:
        seen: list[tuple[Tensor, Tensor]] = []
        model.norm.register_forward_hook(lambda _, given, __: seen.append((given[0].mean((0, 2, 3)), given[0].var((0, 2, 3)))))
        with torch.no_grad():
            for part in x.split(64):
                model(part)
        model.norm.running_mean.copy_(torch.stack([mean for mean, _ in seen]).mean(0))
        model.norm.running_var.copy_(torch.stack([var for _, var in seen]).mean(0))
    with torch.no_grad():
        return float(F.cross_entropy(model(x), y))


@pytest.mark.parametrize(("anew", "walked"), [(True, 120), (False, 120), (True, 70)])
def test_the_loss_on_the_way_is_that_of_the_weights_between(pair: tuple[Scene, Scene], anew: bool, walked: int) -> None:
    """Every place equals the loss of a network whose weights are the mean of the two, and the barrier its rise above the line; of fewer
    examples it is said."""
    one, other = pair
    picture = one.view("compare", other=other, places=5, anew=anew, walked=walked)
    assert ("the first 70 examples" in _marks(picture, Lines)[-1].caption) == (walked == 70)
    lines = _marks(picture, Lines)[-1]
    theirs = other.model.state_dict()
    before, after = lines.series
    told = [_loss_between(one, theirs, place, anew, walked) for place in (0.0, 0.25, 0.5, 0.75, 1.0)]
    np.testing.assert_allclose(before.y, told, rtol=1e-4, atol=1e-6)
    rise = max(loss - (1 - place) * told[0] - place * told[-1] for place, loss in zip(before.x, told, strict=True))
    assert WeightWay(before.x, before.y).barrier == pytest.approx(rise, rel=1e-4, abs=1e-6)
    assert f"{rise:.3g}"[:4] in picture.caption
    assert after.y[0] == pytest.approx(told[0], rel=1e-4, abs=1e-6)
    assert after.y[-1] == pytest.approx(told[-1], rel=1e-4, abs=1e-6)


def test_matching_lowers_the_barrier(pair: tuple[Scene, Scene]) -> None:
    """Between two seeds the barrier is lower once the units are matched, and gone between a network and its own permutation."""
    one, other = pair
    *_, lines = _marks(one.view("compare", other=other), Lines)
    before, after = (WeightWay(series.x, series.y).barrier for series in lines.series)
    assert after < before
    moved = copy.deepcopy(one.model)
    with torch.no_grad():
        order_of = torch.randperm(10, generator=torch.Generator().manual_seed(1))
        moved.hidden.weight.copy_(moved.hidden.weight[order_of])
        moved.hidden.bias.copy_(moved.hidden.bias[order_of])
        moved.fc.weight.copy_(moved.fc.weight[:, order_of])
    x, y = _examples()
    picture = one.view("compare", other=Scene(moved, x, y))
    *_, lines = _marks(picture, Lines)
    before, after = (WeightWay(series.x, series.y).barrier for series in lines.series)
    assert before > 0.01
    assert after < 1e-5
    assert picture.caption.startswith("Of 120 examples this network and the other network answer 0 differently.")
    assert "units of every layer answer alike (mean correlation 1.000 at least)" in picture.caption


def test_statistics_estimated_anew_are_those_of_the_batches() -> None:
    """Running means and variances become the means of those of the batches; momentum and modes are as before."""
    model = _trained(1).train()
    model.norm.momentum = 0.3
    x, _ = _examples()
    reestimate(model, x.split(40))
    given = model.conv(x).detach().reshape(3, 40, 12, 4, 4)
    torch.testing.assert_close(model.norm.running_mean, given.mean((1, 3, 4)).mean(0))
    torch.testing.assert_close(model.norm.running_var, given.transpose(1, 2).flatten(2).var(2).mean(0))
    assert model.norm.momentum == 0.3
    assert not model.norm.training


def test_the_way_is_walked_from_coarse_to_fine() -> None:
    """Both ends come first, then the middle, and every place once."""
    for count in (3, 5, 9, 10, 24):
        found = order(count)
        assert found[:2] == [0, count - 1]
        assert sorted(found) == list(range(count))
    assert order(9)[2] == 4


def test_examples_that_are_answered_differently_are_those(pair: tuple[Scene, Scene]) -> None:
    """The table lists exactly the examples whose answers differ, with both answers."""
    one, _ = pair
    x, y = _examples()
    early = Scene(_trained(3, steps=4), x, y)
    picture = one.view("compare", other=early, limit=512)
    table = next(mark for mark in _marks(picture, Table) if mark.title.startswith("Answered"))
    mine, theirs = one.predictions(), early.predictions()
    differ = set(torch.nonzero(mine != theirs).flatten().tolist())
    assert differ
    assert {int(key.partition(":")[2]) for key in table.row_keys} == differ
    there = next(column for column in table.columns if column.name.startswith("answer of"))
    assert there.numbers.tolist() == [float(theirs[int(key.partition(":")[2])]) for key in table.row_keys]
    right = (mine == y) & (theirs != y)
    assert f"answer {len(differ)} differently: {being(int(right.sum()))} right here alone" in picture.caption


def test_the_layers_say_how_alike_they_are(pair: tuple[Scene, Scene]) -> None:
    """Each bar is the mean correlation of matched units, its tick that of units of the same number; keys lead to the layer."""
    one, other = pair
    picture = one.view("compare", other=other)
    value = one.derive("matching", other=other).value
    bars = _marks(picture, Bars)[0]
    for name, key, mean, tick in zip(bars.labels, bars.keys, bars.values, bars.reference, strict=True):
        assert key == f"layer:{name}"
        assert mean == pytest.approx(np.nanmean(value["layers"][name]["correlation"]))
        assert tick == pytest.approx(np.nanmean(value["layers"][name]["by_index"]))
    assert set(bars.labels) == {"conv", "norm", "hidden", "fc"}
    worst = min(zip(bars.values, bars.labels, strict=True))
    assert f"{worst[1]} differ most from those of the other network (mean correlation {worst[0]:.2f})" in picture.caption


def test_several_others_at_once(pair: tuple[Scene, Scene]) -> None:
    """Any number of others stand in one table; each has its own bars and its own way."""
    one, other = pair
    x, y = _examples()
    third = Scene(_trained(3), x, y)
    picture = one.view("compare", other=[other, third], places=3)
    assert len(_marks(picture, Table)[0].columns[0].texts) == 3
    assert len(_marks(picture, Bars)) == 2
    assert len(_marks(picture, Lines)[-1].series) == 4
    assert picture.title == "Beside 2 others"


def test_what_cannot_be_compared_is_said(pair: tuple[Scene, Scene], tmp_path: Path) -> None:
    """Another architecture, other classes, other data and other inputs each get a sentence, and the rest is still shown."""
    one, _ = pair
    x, y = _examples()
    wide = one.view("compare", other=Scene(_Net(20).eval(), x, y))
    assert "built differently" in wide.note
    assert not [check for check in wide.checks if "weights alike" in check.name]  # 43 of 307 numbers have one shape
    assert _marks(wide, Bars)
    assert not any(mark.title == "Loss on the straight way" for mark in _marks(wide, Lines))
    foreign = one.view("compare", other=Scene(nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 3)), x, y))
    assert "no layer in common" in foreign.note
    assert not [check for check in foreign.checks if "weights alike" in check.name]
    assert "same name" not in foreign.note
    shifted = one.view("compare", other=Scene(_trained(2), x + 1, y), places=3)
    assert "other examples" in shifted.note
    assert _marks(shifted, Bars)
    more = one.view("compare", other=Scene(_Net(classes=5).eval(), x, torch.arange(120) % 5))
    assert "other classes" in more.note
    other_task = one.view("compare", other=Scene(nn.Linear(3, 1), torch.randn(9, 3), torch.randn(9)))
    assert "does not take these examples" in other_task.note or "another question" in other_task.note
    assert other_task.caption.endswith(".")
    with pytest.raises(NotApplicable, match="second run or step"):
        one.view("compare")


class _WrittenWeights(nn.Module):
    """Its weights are what a layer answers to a code of its own, and no layer answers once for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.writer = nn.Parameter(torch.randn(5)), nn.Linear(5, 3 * 36)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.writer(self.code).view(3, 36))


class _TwoExperts(nn.Module):
    """Each example goes to one of two experts, the first all to one; a layer before them takes all."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.experts = nn.Linear(36, 8), nn.ModuleList(nn.Linear(8, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x.flatten(1) / 100).relu()
        to = (x[:, 0, 0, 0] > 50).long()
        out = h.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            if len(rows := torch.where(to == k)[0]):
                out = out.index_copy(0, rows, expert(h[rows]))
        return out


def test_layers_that_do_not_answer_for_each_example_are_no_other_network() -> None:
    """Of two networks whose weights are written by a layer it is not said that they share none, and experts that take some of the examples do not
    make a network one that takes none: what can be matched is."""
    x, y = _examples()
    x[60:, 0, 0, 0] = 100

    def beside(make: type[nn.Module]) -> Picture:
        scenes = []
        for seed in (0, 1):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                scenes.append(Scene(make().eval(), x, y))
        return scenes[0].view("compare", other=scenes[1], places=3)

    written = beside(_WrittenWeights)
    assert "in common" not in written.note
    assert "answers with several units for each example" in written.note
    assert "the loss rises above the line" in written.caption or "no barrier" in written.caption
    experts = beside(_TwoExperts)
    assert "does not take these examples" not in experts.note
    assert "once for each example" in experts.note
    assert "body" in [label for mark in _marks(experts, Bars) for label in mark.labels]


@pytest.mark.parametrize("walked", [256, 60])
def test_the_way_goes_on_where_an_example_has_no_loss(pair: tuple[Scene, Scene], walked: int) -> None:
    """Between two networks the loss is that of the examples that have one, and the others are told."""
    x, y = _examples()
    x[5] = torch.nan
    one, other = (Scene(each.model, x, y) for each in pair)
    picture = one.view("compare", other=other, places=3, walked=walked, anew=False)
    ends = _marks(picture, Lines)[-1].series[0].y[[0, -1]]
    rest = torch.arange(120)[: min(walked, 120)] != 5
    wanted = [F.cross_entropy(each.model(x[: len(rest)][rest]), y[: len(rest)][rest]).item() for each in pair]
    assert ends == pytest.approx(wanted, rel=1e-4)
    assert "1 of 120 examples has a loss that is no finite number" in picture.note


def test_more_classes_than_the_other_knows_are_told(pair: tuple[Scene, Scene]) -> None:
    """Labels that the other network has no score for are no error: its classes differ, and that is said."""
    x, _ = _examples()
    many = Scene(_Net(classes=30).eval(), x, torch.arange(120) % 30)
    assert "other classes" in many.view("compare", other=pair[0]).note


def test_what_was_done_to_one_alone_is_listed(pair: tuple[Scene, Scene]) -> None:
    """Acts of a common past are no difference, nor those taken back or later than the step; all others are listed, whoever has them."""
    def act(command: int, step: int, text: str, run: str = "", state: str = "in force") -> dict[str, Any]:
        return {"command": command, "step": step, "text": text, "run": run, "state": state}

    def scene(name: str, step: int, *acts: dict[str, Any]) -> Any:
        return SimpleNamespace(run=SimpleNamespace(path=Path(name), meta={"acts": acts}), step=step)

    gone = act(4, 6, "gone", state="taken back")
    here = scene("a", 9, act(1, 2, "froze"), act(2, 4, "relabelled; late"), act(3, 5, "rate"), gone, act(5, 12, "far"))
    twin = scene("a-2", 9, act(1, 2, "froze", "a"), act(2, 7, "dropped"))
    assert [(mine, each["text"]) for mine, each in done_apart(here, twin)] == [(True, "relabelled; late"), (True, "rate"), (False, "dropped")]
    assert done_apart(here, SimpleNamespace(run=None, step=9))[0][1]["text"] == "froze"  # type: ignore[arg-type]
    far = scene("elsewhere/a", 9, act(1, 2, "widened"))
    assert (False, far.run.meta["acts"][0]) in done_apart(here, far), "a run of another folder, though called alike, has another past"
    one = SimpleNamespace(name="a-2", other=twin)
    table, = compare._acts(here, [one])  # type: ignore[list-item]
    assert [column.texts for column in table.columns] == [  # type: ignore[union-attr]
        ("here", "here", "a-2"), ("4", "5", "7"), ("relabelled", "rate", "dropped"),
    ]
    assert "any of these" in table.caption  # type: ignore[union-attr]


def test_a_run_alone_is_compared_with_its_first_step(tmp_path: Path) -> None:
    """Without another run the first step is taken, at the first the last; runs beside it lay their curves over."""
    x, y = _examples()
    for name in ("a", "b"):
        model = _trained(1 if name == "a" else 2, steps=1).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with diorama.watch(model, tmp_path / name, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
            for _ in range(3):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss.detach(), val_accuracy=recorder.number / 10)
    run = diorama.open(tmp_path / "a")
    steps = run.snapshots
    assert run.scene().view("compare", places=3).title == f"Beside step {steps[0]}"
    assert run.scene(steps[0]).view("compare", places=3).title == f"Beside step {steps[-1]}"
    assert run.scene().view("compare", since=steps[1], places=3).title == f"Beside step {steps[1]}"
    picture = run.scene().view("compare", other=diorama.open(tmp_path / "b").scene(), places=3)
    curves = next(mark for mark in _marks(picture, Lines) if mark.title.startswith("Loss: "))
    assert {series.group for series in curves.series} == {"a", "b"}
    assert "stands at" not in picture.caption
    apart = run.scene().view("compare", other=diorama.open(tmp_path / "b").scene(2), places=3)
    assert apart.caption.startswith("b stands at step 2, this network at step 3: what differs may come of the steps between. Of 120 examples")
    held = next(column for column in _marks(apart, Table)[0].columns if column.name == "val_accuracy")
    assert held.numbers is not None
    assert held.numbers.tolist() == pytest.approx([0.2, 0.1])  # before each step the loop had counted one less
    assert held.note.endswith("its newest value, at steps 3, 2.")


def test_each_of_the_networks_beside_has_a_name_of_its_own() -> None:
    """Runs of one name are told by their folders, those of one folder's name by the end of their paths, and one run at two steps by its steps."""
    def scene(path: str, step: int, name: str = "") -> Any:
        folder = Path("/runs") / path
        return SimpleNamespace(run=SimpleNamespace(path=folder, name=name or folder.name), step=step, others=())

    here = scene("monday/net", 9)
    twice = (scene("other", 5), scene("other", 7))
    here.others = (scene("tuesday/net", 9), *twice, scene("monday/net", 3), scene("second", 2, "net"), scene("third", 2))
    assert [called(here, other) for other in here.others] == [
        "tuesday/net", "other at step 5", "other at step 7", "step 3", "second", "third",
    ]
    assert run_series.label(here.run, [other.run for other in here.others]) == "monday/net"


def test_how_layers_were_matched_is_told_beside_their_numbers() -> None:
    """Names of layers stay as they are, and of many the first are named."""
    assert compare._matched({"a": "weights", "b": "weights"}) == ""
    assert compare._matched({"tok": "activations", "head": "index"}) == " Matched by what units answer: tok. Matched by number: head."
    assert compare._matched(dict.fromkeys("abcdef", "activations") | {"z": "weights"}) == " Matched by what units answer: a, b, c and 3 more."
    assert compare._matched(dict.fromkeys("ab", "index")) == " Matched by number: all."
