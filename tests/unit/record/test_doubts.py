"""Whether a guessed task goes with the loss that is trained: the gradient at the scores tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.marks import Lines
from diorama.model.outputs import Reading
from diorama.record.doubts import READINGS, Doubts, Slopes

Y = torch.arange(16) % 5


def _focal(z: Tensor) -> Tensor:
    likely = F.cross_entropy(z, Y, reduction="none")
    return ((1 - (-likely).exp()).square() * likely).mean()


def _slopes(
    reading: Reading, loss: Callable[[Tensor], Tensor], seed: int, x: Tensor | None = None, size: float = 1.0, about: Any = 0
) -> tuple[Slopes, float]:
    scores = (about + size * torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))).requires_grad_()
    value = loss(scores)
    value.backward()
    return Slopes(reading, scores.detach().double().numpy(), scores.grad.double().numpy(), x), value.item()


@pytest.mark.parametrize(
    ("loss", "fits"),
    [
        (lambda z: F.cross_entropy(z, Y), True),
        (lambda z: 4 * F.cross_entropy(z, Y, reduction="sum"), True),
        (lambda z: F.cross_entropy(z, torch.where(Y > 3, -100, Y)), True),
        (lambda z: F.cross_entropy(z, Y, label_smoothing=0.1), "smoothed"),
        (lambda z: F.cross_entropy(z, Y, torch.arange(1.0, 6), label_smoothing=0.2) + 1e-3 * z.logsumexp(1).square().mean(), "smoothed"),
        (_focal, "smoothed"),
        (lambda z: F.kl_div(z.log_softmax(1), torch.eye(5)[Y].softmax(1), reduction="batchmean"), "smoothed"),
        (lambda z: F.multi_margin_loss(z, Y), "smoothed"),
        (lambda z: F.mse_loss(z, F.one_hot(Y, 5).float()), None),
        (lambda z: F.binary_cross_entropy_with_logits(z, F.one_hot(Y, 5).float()), None),
        (lambda z: F.binary_cross_entropy_with_logits(z, torch.ones(16, 5)), False),
        (lambda z: F.triplet_margin_loss(z, z.roll(5, 0).detach(), z.roll(1, 0).detach()), False),
        (lambda z: F.mse_loss(z, torch.ones(16, 5)), False),
    ],
)
def test_slopes_of_a_loss_over_classes_are_known(loss: Callable[[Tensor], Tensor], fits: bool | str | None) -> None:
    """Whatever is made of a softmax sees nothing of what all scores share; a loss that compares vectors does. One that
    is not the plain cross-entropy is told as another measure than the probe set's."""
    reading = Reading(task="classification")
    assert _slopes(reading, loss, 0)[0].fits is bool(fits)
    said: list[tuple[str, str]] = []
    doubts = Doubts(reading, False, lambda *told: said.append(told))
    for seed in range(2 * READINGS):
        doubts.look(*_slopes(reading, loss, seed, size=1.5, about=F.one_hot(Y, 5))[:1], {}, 1, 1.0)
    assert len(said) == (fits is not True)
    if said:
        assert said[0][1] == ("measure" if fits else "doubt")
        assert ("two measures" in said[0][0]) == (fits is not False)
        assert ("smoothed" in said[0][0]) == (fits == "smoothed")


@pytest.mark.parametrize("size", [20.0, 60.0, 300.0])
def test_scores_that_are_far_too_sure_make_no_other_loss(size: float) -> None:
    """Of rows that are sure and right hardly anything comes back, or nothing: the plain cross-entropy stays that."""
    reading, said = Reading(task="classification"), list[tuple[str, str]]()
    doubts = Doubts(reading, False, lambda *told: said.append(told))
    for seed in range(2 * READINGS):
        doubts.look(*_slopes(reading, lambda z: F.cross_entropy(z, Y), seed, size=size, about=size * F.one_hot(Y, 5))[:1], {}, 1, 1.0)
    assert not said


def test_sigmoids_on_one_hot_rows_are_seen_behind_what_came_out_of_them() -> None:
    """A model that ends in sigmoids is no doubt of its classes; sigmoids on other labels still are one."""
    for wanted, kin in ((F.one_hot(Y, 5).float(), True), (torch.ones(16, 5), False)):
        chances = torch.randn(16, 5, generator=torch.Generator().manual_seed(0)).sigmoid().requires_grad_()
        F.binary_cross_entropy(chances, wanted).backward()
        assert chances.grad is not None
        found = Slopes(Reading(task="classification"), chances.detach().double().numpy(), chances.grad.double().numpy(), None)
        assert (found.fits, found.kin) == (False, kin)


_MARGIN = 1.0


@pytest.mark.parametrize(("loss", "doubted"), [
    (lambda d, y: (y * d**2 + (1 - y) * F.relu(_MARGIN - d) ** 2).mean(), True),
    (F.binary_cross_entropy_with_logits, False),
    (lambda d, y: F.relu(1 - (2 * y - 1) * d).mean(), False),
    (lambda d, y: ((d.sigmoid() - y) ** 2 * F.binary_cross_entropy_with_logits(d, y, reduction="none")).mean(), False),
])
@pytest.mark.parametrize("low", [0.0, 0.3])
def test_a_distance_of_pairs_is_no_score_of_two_classes(loss: Callable[[Tensor, Tensor], Tensor], doubted: bool, low: float) -> None:
    """A contrastive loss on distances is doubted; losses over two classes are not, though all scores lie above nothing."""
    said: list[tuple[str, str]] = []
    reading = Reading(task="classification")
    doubts = Doubts(reading, False, lambda *told: said.append(told))
    for seed in range(READINGS):
        draw = torch.Generator().manual_seed(seed)
        scores = (low + 1.5 * torch.rand(64, 1, generator=draw)).requires_grad_()
        value = loss(scores, torch.randint(2, (64, 1), generator=draw).float())
        value.backward()
        assert scores.grad is not None
        doubts.look(Slopes(reading, scores.detach().double().numpy(), scores.grad.double().numpy(), None), {}, 1, 1.0)
    assert [about for _, about in said] == ["doubt"] * doubted


def _hinge(z: Tensor, target: Tensor) -> Tensor:
    return (1 - target.sign() * z).relu().mean()


def _critic(z: Tensor, target: Tensor) -> Tensor:
    return (target.sign() * z).mean()


@pytest.mark.parametrize(
    ("loss", "about"),
    [(F.mse_loss, None), (F.l1_loss, "measure"), (F.huber_loss, "measure"), (_hinge, "doubt"), (_critic, "doubt")],
)
def test_other_losses_of_numbers(loss: Callable[[Tensor, Tensor], Tensor], about: str | None) -> None:
    """Slopes of a reconstruction lead to the inputs and no others; a squared error goes with its slopes as it falls, another loss does not:
    absolute differences are of another measure, and what are no differences of the outputs is a doubt."""
    inputs = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    for target, fits in ((inputs, True), (-inputs, False)) if about != "doubt" else ():
        assert _slopes(Reading(task="reconstruction"), lambda z, target=target: loss(z, target), 0, inputs)[0].fits is fits
    said: list[tuple[str, str]] = []
    doubts = Doubts(Reading(task="regression"), False, lambda *told: said.append(told))
    for k in range(2 * READINGS):
        target = torch.randn(16, 5, generator=torch.Generator().manual_seed(10 + k)).sign()
        where, far = (0.0, 3.0**k) if about == "doubt" else (target, 4.0 * 0.4**k)
        found, value = _slopes(Reading(task="regression"), lambda z, target=target: loss(z, target), k, size=far, about=where)
        doubts.look(found, {"loss": value}, 1, 1.0)
    assert [kind for _, kind in said] == ([about] if about else [])


@pytest.mark.parametrize(("loss", "other"), [
    (F.mse_loss, False), (lambda z, x: F.mse_loss(z, x, reduction="sum") / len(x), True), (lambda z, x: F.mse_loss(z, x) + 0.3, True),
    (F.binary_cross_entropy_with_logits, True),
])
def test_a_reconstruction_measured_otherwise_than_the_probe_set_is_told(loss: Callable[[Tensor, Tensor], Tensor], other: bool) -> None:
    """A sum, a cross-entropy and a further term are each of another measure than the mean squared difference; that one itself is not."""
    said: list[tuple[str, str]] = []
    doubts = Doubts(Reading(task="reconstruction"), False, lambda *told: said.append(told))
    for k in range(2 * READINGS):
        inputs = torch.rand(16, 5, generator=torch.Generator().manual_seed(k))
        found, value = _slopes(Reading(task="reconstruction"), lambda z, x=inputs: loss(z, x), k, inputs)
        doubts.look(found, {"loss": value}, 1, 1.0)
    assert [kind for _, kind in said] == ["measure"] * other
    assert all("two measures" in text for text, _ in said)


@pytest.mark.parametrize(("loss", "other"), [
    (lambda z, y: F.binary_cross_entropy_with_logits(z, y), False),
    (lambda z, y: 1 - 2 * (z.sigmoid() * y).sum() / (z.sigmoid() + y).sum(), True),
    (lambda z, y: F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(5.0)), True),
    (lambda z, y: F.relu(1 - z * (2 * y - 1)).mean(), True),
])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_loss_of_one_score_that_is_no_plain_cross_entropy_is_told(loss: Any, other: bool, task: Any) -> None:
    """Dice, weights and margins are each their own measure beside the probe set's cross-entropy, of single scores too."""
    said: list[str] = []
    doubts = Doubts(Reading(task=task), False, lambda text, kind: said.append(kind))
    for k in range(2 * READINGS):
        draw = torch.Generator().manual_seed(k)
        z = (2 * torch.randn(64, 1, generator=draw)).requires_grad_()
        value = loss(z[:, 0], (torch.arange(64) % 2).float())
        value.backward()
        assert z.grad is not None
        doubts.look(Slopes(Reading(task=task), z.detach().double().numpy(), z.grad.double().numpy(), None), {"loss": value.item()}, 1, 1.0)
    assert said == ["measure"] * other


def test_answers_held_against_all_true_values_are_no_doubt_of_the_task() -> None:
    """Of answers of shape (n, 1) beside true values of shape (n,) it is said what is wrong, and not that the task be passed; their own loss is
    no doubt."""
    reading = Reading(task="regression")
    for crossed in (True, False):
        said: list[tuple[str, str]] = []
        doubts = Doubts(reading, False, lambda *told, said=said: said.append(told))
        for k in range(3 * READINGS):
            draw = torch.Generator().manual_seed(k)
            truth = torch.randn(16, 1, generator=draw)
            answers = (0.3**k * torch.randn(16, 1, generator=draw) + (0 if crossed else truth)).requires_grad_()
            loss = (answers - (truth.T if crossed else truth)).square().mean()
            loss.backward()
            assert answers.grad is not None
            found = Slopes(reading, answers.detach().double().numpy(), answers.grad.double().numpy(), None)
            doubts.look(found, {"loss": loss.item()}, 1, 1.0)
        assert [about for _, about in said] == (["measure"] if crossed else [])
        assert all("(n, 1)" in text and "one shape" in text and "task=" not in text for text, _ in said)


def test_no_alarm_stands_on_a_guess_that_the_loss_contradicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An embedding that labels made look like a classifier is doubted once on the terminal, in the record and beside its pictures."""
    torch.manual_seed(0)
    x, model = torch.randn(80, 4), nn.Linear(4, 6)
    y = (x[:, 0] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=5) as recorder:
        for _ in range(40):
            z = model(x)
            loss = F.triplet_margin_loss(z[:40], z[40:].detach(), z[:40].roll(1, 0).detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    assert capsys.readouterr().err.count("the task was guessed (classification), but") == 1
    run = diorama.open(tmp_path / "run")
    assert not {found.finding for found in run.findings()} & {"overfitting", "confused_classes"}
    scene = run.scene()
    for name in ("curves", "confusion", "examples"):
        assert "the task was guessed" in scene.view(name).note


def _pairs(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    apart = model(x[:32]) - model(x[32:])
    return F.softplus(-apart * (y[:32] - y[32:]).sign()).mean()


def _hinged(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.margin_ranking_loss(model(x[:32]), model(x[32:]), (y[:32] - y[32:]).sign(), margin=1.0)


def _listed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x)[:, 0][None], (4 * y[:, 0])[None].softmax(1))


def _halves(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (F.mse_loss(model(x[:32]), y[:32]) + F.mse_loss(model(x[32:]), y[32:])) / 2


def _mirrored(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(model(torch.cat([x, -x])), torch.cat([y, -y]))


@pytest.mark.parametrize(("loss", "ranks"), [
    (_pairs, True), (_hinged, True), (_listed, True), (_halves, False), (lambda model, x, y: F.mse_loss(model(x), y), False),
    (_mirrored, False),
])
def test_a_loss_of_differences_between_answers_is_held_beside_no_squared_error(
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor], ranks: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever trains by pairs or lists sees only how answers differ, while the probe set's guessed loss asks what they are: no finding compares
    the two, the curves are drawn apart and say what to pass. A squared error, in parts or of true values that cancel out, is none of these."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    x = torch.randn(128, 4)
    y = (x[:, :1] + 0.1 * x[:, 1:2]).contiguous()
    optimizer = torch.optim.Adam(model.parameters(), 0.2)
    with diorama.watch(model, tmp_path / "run", probe=(x[64:], y[64:]), optimizer=optimizer, every=2) as recorder:
        for _ in range(60):
            value = loss(model, x[:64], y[:64])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value)
    assert capsys.readouterr().err.count("sees only how answers differ from each other") == ranks
    run = diorama.open(tmp_path / "run")
    seen = run.scene().view("curves")
    assert ("pass criterion= to diorama.watch" in seen.note) is ranks
    titles = [mark.title for mark in getattr(seen.body, "children", [seen.body])]
    assert ("Loss on the probe set, which is another one than the training's" in titles) is ranks
    if ranks:
        steps, held = run.series("probe/loss")
        assert held[-1] > 1.1 * held.min()  # while the training's falls: what was called overfitting
        assert run.series("loss")[1][-1] < run.series("loss")[1][0]
        assert not {found.finding for found in run.findings()} & {"overfitting", "stalled_learning", "unscaled_targets"}


class _Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.boxes, self.logits = nn.Linear(6, 16), nn.Linear(16, 4), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(self.body(x))
        return {"boxes": self.boxes(hidden), "logits": self.logits(hidden)}


@pytest.mark.parametrize(("weight", "scale"), [(5.0, 1.0), (0.0, 1.0), (0.0, 2.0)], ids=["both", "classes", "classes twice"])
def test_a_loss_of_other_outputs_too_is_another_measure(tmp_path: Path, weight: float, scale: float) -> None:
    """The probe set's loss is that of the chosen output alone, which is said where the loop's loss has a share of another, and only there."""
    torch.manual_seed(0)
    model, x = _Detector(), torch.randn(96, 6)
    labels, boxes = (x[:, :3]).argmax(1), x[:, 2:]
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=(x, labels), outputs="logits", every=1) as recorder:
        for _ in range(60):
            found = model(x)
            loss = scale * F.cross_entropy(found["logits"], labels) + weight * F.mse_loss(found["boxes"], boxes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = diorama.Run(tmp_path / "run")
    assert bool(run.meta.get("measure")) is (weight > 0)
    if weight:
        assert "asks something of other outputs too" in run.meta["measure"]
        charts = [mark.title for mark in run.scene().view("curves").marks() if isinstance(mark, Lines)]
        assert run.meta["measure"] in run.info()["guessed"]
        assert sum("another one than the training's" in name for name in charts) == 1


def test_a_criterion_that_fails_is_told_as_the_criterions(tmp_path: Path) -> None:
    """What it was called with is said, so that one who expects all outputs sees that it is given one."""
    x = torch.randn(8, 6)
    with pytest.raises(diorama.UsageError, match=r"criterion= failed; it is called with the scores that outputs='logits' picks.*\(2, 3\)"):
        diorama.watch(
            _Detector(), tmp_path / "run", probe=(x, torch.arange(8) % 3), outputs="logits", criterion=lambda found, y: found["logits"].mean(),
        )
