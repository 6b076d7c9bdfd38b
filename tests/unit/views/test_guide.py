"""What the guide measures and says of several trainings is so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_samples
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.data import TensorDataset

import diorama
from diorama.core.marks import Parallel, Table
from diorama.core.picture import Picture
from diorama.run import Run
from diorama.views.training import _measures, guide


def _net(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, 8), nn.ReLU(), nn.Linear(8, 3))


def _examples(classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90) % classes
    shapes = torch.randn(classes, 1, 6, 6, generator=generator)
    return shapes[y] + 1.5 * torch.randn(90, 1, 6, 6, generator=generator), y


def _train(path: Path, model: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            output = model(x)
            loss = F.cross_entropy(output, y) if not y.is_floating_point() else F.mse_loss(output[:, 0], y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trainings of one task on one probe set, of which one barely learns, and one of another task."""
    path = tmp_path_factory.mktemp("guide")
    x, y = _examples()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _train(path / "wide", _net(8), x, y, 25, 0.05)
        _train(path / "small", _net(2), x, y, 25, 0.05)
        _train(path / "early", _net(4), x, y, 1, 0.0001)
        _train(path / "numbers", nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), x, x.mean((1, 2, 3)), 3, 0.01)
    return path


def _marks(picture: Picture, kind: type) -> list[Any]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def _column(table: Table, name: str) -> Any:
    found = next(column for column in table.columns if column.name == name)
    return list(found.texts) if found.numbers is None else found.numbers


def test_every_number_is_measured(folder: Path) -> None:
    """Accuracy, calibration, separation and the middle equal slow references on the probe set; costs those of the model."""
    run = diorama.open(folder / "wide")
    picture = run.scene().view("guide")
    table = _marks(picture, Table)[0]
    x, y = _examples()
    model = run.scene().model
    with torch.no_grad():
        chances = model(x).softmax(1).double().numpy()
    sure, right = chances.max(1), chances.argmax(1) == y.numpy()
    error = 0.0
    for k in range(15):
        chosen = (sure > k / 15) & (sure <= (k + 1) / 15)
        if chosen.any():
            error += chosen.mean() * abs(right[chosen].mean() - sure[chosen].mean())
    rows = model[:4](x).detach().double().numpy()
    z = x.clone().requires_grad_()
    model(z).max(1).values.sum().backward()
    heat = (z.grad * z).abs().detach()[:32]
    share = (heat[:, :, 1:5, 1:5].sum((1, 2, 3)) / heat.sum((1, 2, 3))).mean()
    place = _column(table, "run").index("wide")

    def told(name: str) -> float:
        value = _column(table, name)[place]
        return float(str(value).replace(" %", "")) / (100 if "%" in str(value) else 1)

    assert told("right") == pytest.approx(right.mean(), abs=1e-3)
    assert told("calibration") == pytest.approx(error, rel=5e-3)
    assert told("separation") == pytest.approx(silhouette_samples(rows, y.numpy()).mean(), rel=5e-3)
    assert told("middle") == pytest.approx(float(share), rel=5e-3)
    assert told("weights") == sum(p.numel() for p in model.parameters())
    assert told("learning rate") == pytest.approx(0.05)
    assert told("steps") == 25


def test_the_ranking_says_why(folder: Path) -> None:
    """Runs are ranked by right answers where chance does not explain the difference, and each reason counts the examples."""
    picture = diorama.open(folder / "small").scene().view("guide")
    table = _marks(picture, Table)[0]
    names, why = _column(table, "run"), _column(_marks(picture, Table)[1], "why it stands here")
    assert names[2:] == ["early", "numbers"]
    # The order is the one that the heading names: chance explains what lies between the first two.
    assert table.title.endswith("of those that differ by no more than chance explains, the better calibrated first")
    calibration = [float(value) for value in _column(table, "calibration")[:2]]
    assert calibration == sorted(calibration)
    assert _column(table, "place") == ["1", "2", "3", "–"]
    right = {name: diorama.open(folder / name).scene().answers().right.numpy() > 0.5 for name in names[:3]}
    first, last = right[names[0]], right["early"]
    assert f"right on {int((last & ~first).sum())} examples where {names[0]} is not" in why[2]
    assert f"and wrong on {int((first & ~last).sum())} where that is right" in why[2]
    assert "more than chance explains" in why[2]
    assert picture.caption.startswith(f"{names[0]} comes first of 3 runs")
    assert "numbers is not ranked: it learns another task" in picture.note
    assert "small is the smallest, with" in picture.caption
    parallel = _marks(picture, Parallel)[0]
    assert parallel.axes[-1] == "right"
    assert set(parallel.labels) == {"wide", "small", "early"}
    assert parallel.keys[0] == f"run:{parallel.labels[0]}"


def _noted(path: Path, y: Tensor, accuracies: list[float] | None, inside: bool = True, rate: float = 0.1, cured: bool = False) -> None:
    """A training on labels, which passes an accuracy of held-back examples and halves its rate at each step."""
    x, told = _examples()
    data = diorama.data(TensorDataset(x.flatten(1), y))
    if cured:
        data.changes.set("labels", data.changes.check([0]), 1.0)
    model = nn.Linear(36, 3)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    probe = data.examples(90) if inside else (x.flatten(1), told)
    with diorama.watch(model, path, probe=probe, optimizer=optimizer, data=data) as recorder:
        for k in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.flatten(1)), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach(), **({} if accuracies is None else {"val_accuracy": accuracies[k]}))
            optimizer.param_groups[0]["lr"] /= 2


def test_examples_held_back_rank_where_the_probe_set_is_trained_on(tmp_path: Path) -> None:
    """The one that learnt planted labels by heart does not come first for it; the rates at first and at last stand in the table."""
    _, y = _examples()
    wrong = torch.where(torch.arange(90) < 30, (y + 1) % 3, y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _noted(tmp_path / "planted", wrong, [0.5, 0.6, 0.4], rate=1.0)
        _noted(tmp_path / "cured", wrong, [0.3, 0.2, 0.7], rate=1e-6, cured=True)
    runs = [diorama.open(tmp_path / name) for name in ("planted", "cured")]
    assert runs[0].series("probe/accuracy")[1][-1] > runs[1].series("probe/accuracy")[1][-1]
    picture = runs[0].scene().view("guide", look=False)
    table, why = _marks(picture, Table)
    assert table.title == "Ranked by val_accuracy"
    assert _column(table, "run") == ["cured", "planted"]
    assert _column(table, "val_accuracy").tolist() == pytest.approx([0.7, 0.4])
    assert _column(table, "learning rate").tolist() == pytest.approx([1e-6, 1.0])
    assert _column(table, "last learning rate").tolist() == pytest.approx([0.25e-6, 0.25])
    told = ["its val_accuracy at step 3 is 0.7, the highest", "its val_accuracy at step 3 is 0.4, rather than 0.7"]
    assert _column(why, "why it stands here") == told
    assert "as the probe set of all is trained on" in picture.caption
    assert "cured is taught other labels for some of its examples" in picture.caption


def test_what_held_back_examples_say_otherwise_is_said(tmp_path: Path) -> None:
    """A probe set of its own ranks, and where numbers of held-back examples put another run first, that is told; without them it is not."""
    _, y = _examples()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, told, rate in (("quick", [0.5, 0.6, 0.4], 0.5), ("slow", [0.3, 0.2, 0.7], 1e-6)):
            _noted(tmp_path / name, y, told, inside=False, rate=rate)
        for run in tmp_path.iterdir():  # as of a probe set that is not in the data
            assert diorama.open(run).meta["steered"]["matched"] == 0
    picture = diorama.open(tmp_path / "quick").scene().view("guide", look=False)
    assert _column(_marks(picture, Table)[0], "run") == ["quick", "slow"]
    assert "By val_accuracy, which the loops passed, slow comes first (0.7; quick has 0.4)." in picture.caption
    assert "trained on" not in picture.caption


def test_equals_are_not_told_apart(folder: Path, tmp_path: Path) -> None:
    """Of a training and its copy neither is called the better, the better calibrated or the one that separates best."""
    for name in ("one", "two"):
        shutil.copytree(folder / "wide", tmp_path / name)
    picture = diorama.open(tmp_path / "one").scene().view("guide")
    assert "none has more right answers; of these none is calibrated better" in picture.caption
    assert "best" not in picture.caption
    assert "smallest" not in picture.caption


def test_only_like_trainings_are_ranked_together(folder: Path, tmp_path: Path) -> None:
    """Other inputs, and tasks that are not known, are no rivals, and each is told why."""
    x, y = _examples()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _train(tmp_path / "small", _net(2), x, y, 2, 0.05)
        _train(tmp_path / "flat", nn.Linear(36, 3), x.flatten(1), y, 2, 0.05)
        for name in ("unknown", "unsaid"):
            with diorama.watch(model := nn.Linear(36, 3), tmp_path / name, probe=x.flatten(1)) as recorder:
                recorder.step(loss=model(x.flatten(1)).mean().detach())
    picture = diorama.open(tmp_path / "small").scene().view("guide", look=False)
    assert "flat is not ranked: it takes other inputs" in picture.note
    assert picture.caption == "There is no other run to rank small with; the 3 others of this folder cannot be compared with it."
    strange = diorama.open(tmp_path / "unknown").scene().view("guide", look=False)
    assert "unsaid is not ranked: what it learns is not known" in strange.note


def test_chance_is_that_of_the_sign_test() -> None:
    """Of equal examples the exact sign test is used, of others the difference of two shares; values found by enumeration."""

    def row(name: str, right: list[bool], examples: str) -> guide._RankedRow:
        seen = _measures.MeasuredModel(accuracy=float(np.mean(right)), right=np.array(right), examples=examples)
        return guide._RankedRow(None, name, "classification", (), {}, 1, 1, 1, 0, 0, len(right), seen)  # type: ignore[arg-type]

    one, other = row("a", [True] * 8 + [False] * 4, "x"), row("b", [True] * 2 + [False] * 6 + [True] + [False] * 3, "x")
    from math import comb

    chance, said = guide.likeness(one, other)
    assert chance == pytest.approx(2 * sum(comb(7, k) for k in (0, 1)) / 2**7)
    assert said == "right on 1 examples where a is not, and wrong on 6 where that is right"
    same, _ = guide.likeness(one, row("c", [True] * 8 + [False] * 4, "x"))
    assert same == 1.0
    draw = np.random.default_rng(0)
    far = row("d", [True] * 3 + [False] * 9, "y")
    drawn = draw.binomial(12, 11 / 24, (2, 200_000)) / 12
    # The normal approximation lies near what 200,000 pairs of draws give, half of those that are exactly as far apart counted.
    apart = np.abs(drawn[0] - drawn[1])
    wanted = (apart > 5 / 12 + 1e-9).mean() + 0.5 * (np.abs(apart - 5 / 12) < 1e-9).mean()
    assert guide.likeness(one, far)[0] == pytest.approx(wanted, abs=0.02)


def test_a_record_alone_is_ranked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking, and where a model is not trusted, runs are ranked by what was recorded, and it is said."""
    picture = diorama.open(folder / "wide").scene().view("guide", look=False)
    table = _marks(picture, Table)[0]
    assert "calibration" not in {column.name for column in table.columns}
    accuracy = diorama.open(folder / "wide").series("probe/accuracy")[1][-1]
    assert _column(table, "right")[_column(table, "run").index("wide")] in (f"{100 * accuracy:.1f} %", pytest.approx(accuracy))
    guide._kept.cache_clear()
    monkeypatch.setattr(Run, "architecture", lambda self, number: (_ for _ in ()).throw(diorama.NotApplicable("a stranger's model")))
    told = diorama.open(folder / "wide").scene().view("guide")
    guide._kept.cache_clear()
    assert "wide is told from its record alone (a stranger's model)" in told.note
    assert _column(_marks(told, Table)[0], "run")[2:] == ["early", "numbers"]


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    """A damaged run beside the others, and a name that is not there, each become a sentence; the rest is ranked."""
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "run.db").write_bytes(b"no database")
    try:
        picture = diorama.open(folder / "wide").scene().view("guide", look=False)
        assert "broken cannot be read" in picture.note
        few = diorama.open(folder / "wide").scene().view("guide", look=False, runs="small, nobody")
        assert set(_column(_marks(few, Table)[0], "run")) == {"wide", "small"}
        assert "there is no run nobody" in few.note
    finally:
        (broken / "run.db").unlink()
        broken.rmdir()


def test_one_run_beside_is_told_as_one() -> None:
    """Of a single other run that is not comparable the sentence speaks in the singular; the first of several is not said to answer most rightly."""
    row: Any = type("One", (), {"name": "small"})()
    assert guide._sentence([(row, "")], 1, "") == "There is no other run to rank small with; the other one of this folder cannot be compared with it."
    right: Any = type("Right", (), {"value": lambda self, name: 0.28})()
    assert guide._reason(right, right, [right]) == "it has the most right answers"


def test_what_hardly_differs_stands_close() -> None:
    """Times of 25.0 and 25.1 ms are drawn beside each other, not at both ends of their axis; a rate that is halved keeps the whole axis."""
    low, high = guide._span([25.0, 25.1, float("nan")])
    assert high - low == pytest.approx(2.51)
    assert low + high == pytest.approx(50.1)
    assert guide._span([0.1, 0.05]) == (0.05, 0.1)
    assert guide._span([-3.0, -3.0])[0] < -3.0 < guide._span([-3.0, -3.0])[1]


def test_who_was_measured_on_other_examples_is_named() -> None:
    """Those that saw other examples than most did, and nobody else."""
    assert not guide._measured_apart([("a", "one"), ("a", "two")])
    assert guide._measured_apart([("a", "one"), ("b", "two"), ("a", "three")]).startswith("two was measured on other examples than the rest")
    assert guide._measured_apart([("a", "one"), ("b", "two"), ("a", "three"), ("c", "four")]).startswith("two and four were measured")
    assert guide._measured_apart([("a", "one"), ("b", "two")]).startswith("Each was measured on examples of its own")
