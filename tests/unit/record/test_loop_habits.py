"""What people do wrong in a loop, a loss or a network's end is found under its name, and what is like it and right is not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairings import pairs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record import judge_network
from diorama.record.batch_reader import told_labels
from diorama.record.findings import ALARM
from diorama.record.findings.learning_rate_too_high import added
from diorama.record.loop_habits import Leftovers

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], Tensor]


class PlantedIn:
    """The kind of network that a test plants its fault in."""

    kind = "dense"


class _Around(nn.Module):
    """A sum round a layer, and a norm behind it."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(wide, wide), nn.LayerNorm(wide)

    def forward(self, x: Tensor) -> Tensor:
        """What comes in, and what a layer makes of it."""
        found: Tensor = self.norm(x + torch.relu(self.inner(x)))
        return found


def _body() -> tuple[nn.Module, int]:
    """From six numbers to so many."""
    if PlantedIn.kind == "dense":
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh()), 12
    if PlantedIn.kind == "convolutional":
        return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten()), 16
    return nn.Sequential(nn.Linear(6, 12), _Around(12)), 12


class Ended(nn.Module):
    """Two layers or more with something between and something behind them."""

    def __init__(self, end: Callable[[Tensor], Tensor] | None = None, dropped: float = 0.2, answers: int = 4) -> None:
        super().__init__()
        self.enter, wide = _body()
        self.drop, self.leave, self.end = nn.Dropout(dropped), nn.Linear(wide, answers), end

    def forward(self, x: Tensor) -> Tensor:
        """Scores, or what the end makes of them."""
        scores = self.leave(self.drop(self.enter(x)))
        return scores if self.end is None else self.end(scores)


class Reader(nn.Module):
    """A language model of one layer, a recurrence, a convolution or attention, which may see what comes after too."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both, self.kind, self.tokens = both, PlantedIn.kind, nn.Embedding(5, 6)
        if self.kind == "dense":
            self.look: nn.Module = nn.GRU(6, 6, batch_first=True, bidirectional=both)
        elif self.kind == "convolutional":
            self.look = nn.Conv1d(6, 6, 3)
        else:
            self.look = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=True)
        self.leave = nn.Linear(12 if both and self.kind == "dense" else 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next token at each place."""
        rows = self.tokens(x)
        if self.kind == "dense":
            rows = self.look(rows)[0]
        elif self.kind == "convolutional":
            rows = self.look(F.pad(rows.mT, (1, 1) if self.both else (2, 0))).relu().mT
        else:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            rows = self.look(rows, src_mask=None if self.both else later)
        found: Tensor = self.leave(rows)
        return found


def _step(loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy, zero: str = "before") -> Step:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
        value = loss(model(x), y)
        if zero == "before":
            optimizer.zero_grad()
        value.backward()
        if zero == "after backward":
            optimizer.zero_grad()
        optimizer.step()
        if zero == "after step":
            optimizer.zero_grad()
        return value.detach()

    return step


def _classes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(4).repeat(60)
    return torch.randn(len(y), 6, generator=generator) + 2 * F.one_hot(y, 6), y


def _numbers() -> tuple[Tensor, Tensor]:
    x, y = _classes()
    return x, x[:, :1] - x[:, 1:2] + y[:, None].float() - 1


def _texts(shift: int = 1) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(5, (60, 9), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1], tokens[:, shift : shift + 8]


def _text_loss(scores: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(scores.flatten(0, 1), y.flatten())


def _alarms(
    path: Path, model: nn.Module, data: tuple[Tensor, Tensor], step: Step, *, order: bool = False, mode: str = "train", steps: int = 50,
    **settings: Any,
) -> set[str]:
    """Train under the optimizer's settings and return the names of the alarms."""
    x, y = data
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.05, **settings})
    generator = torch.Generator().manual_seed(1)
    rows = torch.randperm(len(x), generator=generator) if not order else torch.arange(len(x)).reshape(-1, 4).T.reshape(-1)
    task = {"task": "next_token"} if not x.is_floating_point() else {}
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=5, **task) as recorder:
        for number in range(steps):
            model.train(mode == "train")
            part = rows[(number * 20 + torch.arange(20)) % len(x)]
            value = step(model, optimizer, x[part], y[part])
            recorder.step(loss=value)
    return {one.finding for one in diorama.open(path).findings() if one.severity >= ALARM}


def _softmaxed(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def _of_logarithms(chances: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss(chances.log(), y)


def _plain(path: Path) -> set[str]:
    return _alarms(path, Ended(), _classes(), _step())


def _tuned(path: Path, **settings: float) -> set[str]:
    return _alarms(path, Ended(), _classes(), _step(), steps=100, **settings)


def _ended(path: Path, end: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy) -> set[str]:
    return _alarms(path, Ended(end), _classes(), _step(loss))


def _values(
    path: Path, end: Callable[[Tensor], Tensor] | None = None, loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss, least: float = -9.0,
) -> set[str]:
    x, y = _numbers()
    return _alarms(path, Ended(end, answers=1), (x, y.clamp_min(least)), _step(loss))


def _cut(path: Path) -> set[str]:
    model = Ended(torch.relu)
    with torch.no_grad():
        list(model.parameters())[-1][0] = -20.0
    return _alarms(path, model, _classes(), _step())


def _far(path: Path, blank: bool) -> set[str]:
    """Truths far from 0, which it comes down to; of blank inputs it learns no more than their mean."""
    x, y = _numbers()
    return _alarms(path, Ended(dropped=0.0, answers=1), (x * (not blank), y + 10), _step(F.mse_loss), steps=200, lr=0.02)


def _read(path: Path, both: bool = False, shift: int = 1) -> set[str]:
    return _alarms(path, Reader(both), _texts(shift), _step(_text_loss))


def _pair(path: Path, zero: bool = True) -> set[str]:
    """A network learns to make points, beside a judge whose gradients may be left over; the alarms are of the judge."""
    body, wide = _body()
    x, make, judge = _classes()[0], nn.Linear(3, 6), nn.Sequential(body, nn.LeakyReLU(0.2), nn.Linear(wide, 1))
    ours, theirs = (torch.optim.Adam(each.parameters(), 1e-3) for each in (make, judge))
    generator = torch.Generator().manual_seed(1)
    with diorama.watch(judge, path, probe=x[:20], optimizer=theirs, every=5) as recorder:
        for _ in range(40):
            made = make(torch.randn(20, 3, generator=generator))
            if zero:
                theirs.zero_grad()
            loss = F.softplus(-judge(x[torch.randint(len(x), (20,), generator=generator)])).mean() + F.softplus(judge(made.detach())).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(judge.parameters(), 0.1)
            theirs.step()
            ours.zero_grad()
            F.softplus(-judge(made)).mean().backward()
            ours.step()
            recorder.step(loss=loss.detach())
    run = diorama.open(path)
    assert run.series("batch/fooled")[1].min() > 0.2  # how likely it holds for real what is made
    assert len(run.series("batch/apart")[1]) > 3
    return {one.finding for one in run.findings() if one.severity >= ALARM}


Train = Callable[[Path], set[str]]
_CASES: dict[str, tuple[str, Train, Train]] = {
    "zero_grad is forgotten": ("leftover_gradients", lambda path: _alarms(path, Ended(), _classes(), _step(zero="")), _plain),
    "a judge's zero_grad is forgotten": ("leftover_gradients", lambda path: _pair(path, zero=False), _pair),
    "zero_grad comes too early": ("stopped_layer", lambda path: _alarms(path, Ended(), _classes(), _step(zero="after backward")), _plain),
    "eval for good": (
        "evaluation_mode", lambda path: _alarms(path, Ended(), _classes(), _step(), mode="eval"),
        lambda path: _alarms(path, Ended(dropped=0.0), _classes(), _step(zero="after step"), mode="eval"),
    ),
    "softmax twice": ("misplaced_softmax", lambda path: _ended(path, _softmaxed), lambda path: _ended(path, _softmaxed, _of_logarithms)),
    "no logarithm": ("misplaced_softmax", lambda path: _ended(path, _softmaxed, F.nll_loss), _plain),
    "softmax over the batch": ("misplaced_softmax", *(
        lambda path, axis=axis: _ended(path, lambda scores: scores.log_softmax(axis), F.nll_loss) for axis in (0, 1)  # type: ignore[misc]
    )),
    "sorted by class": ("unshuffled_batches", lambda path: _alarms(path, Ended(), _classes(), _step(), order=True), _plain),
    "(n, 1) against (n,)": ("mismatched_shapes", lambda path: _values(path, loss=lambda s, y: ((s - y[:, 0]) ** 2).mean()), _values),
    "a ReLU at the end": ("cut_answers", lambda path: _values(path, torch.relu), lambda path: _values(path, torch.relu, least=0.0)),
    "a ReLU behind scores": ("cut_answers", _cut, _plain),
    "blank inputs": ("stalled_learning", lambda path: _far(path, True), lambda path: _far(path, False)),
    "labels are not shifted": ("visible_labels", lambda path: _read(path, shift=0), _read),
    "it reads from behind": ("visible_labels", lambda path: _read(path, both=True), _read),
    "the sign is turned": (
        "turned_loss", lambda path: _alarms(path, Ended(), _classes(), _step(lambda s, y: -F.cross_entropy(s, y))), _plain,
    ),
    "a decay of 2": ("weight_decay_too_strong", lambda path: _tuned(path, weight_decay=2.0), _plain),
    "a momentum of 0.9999": ("momentum_too_high", lambda path: _tuned(path, momentum=0.9999, lr=0.2), _plain),
    "nearly all is dropped": ("dropout_too_strong", lambda path: _alarms(path, Ended(dropped=0.95), _classes(), _step()), _plain),
    "a mean over the batch": ("mixed_examples", lambda path: _ended(path, lambda scores: scores - scores.mean(0)), _plain),
}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Train], set[str]]:
    """The alarms of a loop without a mistake, which runs once in each network for all that share it."""
    kept = functools.cache(lambda train, kind: train(tmp_path_factory.mktemp("right") / "run"))
    return lambda train: kept(train, PlantedIn.kind)


@pairs("name, kind", list(_CASES), ["dense", "convolutional", "summed"], 3)
def test_what_goes_wrong_in_a_loop_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: Callable[[Train], set[str]], name: str, kind: str,
) -> None:
    """Each mistake is an alarm under its name in one of three networks (in a sweep in each); the loop without it raises none of that name."""
    monkeypatch.setattr(PlantedIn, "kind", kind)
    finding, wrong, without = _CASES[name]
    torch.manual_seed(0)
    assert finding in wrong(tmp_path / "wrong")
    assert finding not in right(without)


def _steps(passes: int, divided: bool, reduction: str) -> Step:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        for _ in range(passes):
            value = F.cross_entropy(model(x), y, reduction=reduction)
            (value / passes if divided else value).backward()
        optimizer.step()
        return value.detach()

    return step


@pytest.mark.parametrize("kind", ["dense", "convolutional", "summed"])
def test_what_a_step_adds_up_is_known_by_what_a_pass_weighs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Losses of many passes that nobody divided, and a sum over the batch, are told from a mean of passes and from the usual loop."""
    monkeypatch.setattr(PlantedIn, "kind", kind)
    for name, passes, divided, reduction, told in (
        ("undivided", 16, False, "mean", "gradients of 16 passes"), ("divided", 16, True, "mean", ""), ("usual", 1, False, "mean", ""),
        ("summed", 1, False, "sum", "the sum over the 20 labels"),
    ):
        torch.manual_seed(0)
        _alarms(tmp_path / name, Ended(), _classes(), _steps(passes, divided, reduction), lr=1e-3, steps=20)
        found = added(diorama.open(tmp_path / name)).told  # type: ignore[arg-type]
        assert (told in found) if told else not found


@pytest.mark.parametrize("loss", [
    F.cross_entropy, lambda s, y: F.cross_entropy(s, y, label_smoothing=0.1), F.multi_margin_loss,
    lambda s, y: F.mse_loss(s, F.one_hot(y, 5).double()),
    lambda s, y: F.nll_loss(s.log_softmax(1), y, weight=torch.arange(1.0, 6.0).double()),
])
def test_labels_are_told_from_the_gradient_of_the_loss(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Labels that a loss was given are read back from the gradient at the scores; values of a regression are none."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(5, (40,), generator=generator)
    (slopes,) = torch.autograd.grad(loss(scores, labels), scores)
    found, _ = told_labels(scores.detach().numpy(), slopes.numpy())
    assert found is not None
    assert np.array_equal(found[found >= 0], labels.numpy()[found >= 0])
    assert (found >= 0).mean() > 0.7
    (slopes,) = torch.autograd.grad(F.mse_loss(scores, torch.randn(40, 5, generator=generator, dtype=torch.float64)), scores)
    assert told_labels(scores.detach().numpy(), slopes.numpy()) == (None, None)


def test_labels_are_told_also_where_most_answers_are_as_sure_as_single_precision_can_tell() -> None:
    """Of pixels that are learnt what is left of the slopes is rounding: it hides none of the others' labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (4000,), generator=generator)
    size = torch.linspace(0, 20, 4000)[:, None]
    scores = (size * F.one_hot(labels, 3) + 0.3 * torch.randn(4000, 3, generator=generator)).requires_grad_()
    (slopes,) = torch.autograd.grad(F.cross_entropy(scores, labels), scores)
    found, _ = told_labels(scores.detach().double().numpy(), slopes.double().numpy())
    assert found is not None
    assert np.array_equal(found[found >= 0], labels.numpy()[found >= 0])
    assert (found >= 0).mean() > 0.9


def test_what_befalls_a_look_at_gradients_does_not_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a fault while a judge's gradient is copied, nor a parameter that was frozen by hand and keeps an old gradient."""
    judge, looks = nn.Linear(3, 1), judge_network.JudgeFollower()
    scores = judge(torch.ones(4, 3))
    looks.see(torch.ones(4, 3), scores)
    monkeypatch.setattr(judge_network, "_MOST", "none")
    scores.sum().backward()
    assert judge.weight.grad is not None
    judge.weight.requires_grad_(False)
    left = Leftovers()
    left.arm({0: [judge.weight]})
    left.take_off()


def test_a_weight_keeps_no_table_of_hooks() -> None:
    """A weight whose gradient was looked at has no table of hooks afterwards, which each backward pass would go through; a user's own stays."""
    bare, hooked = nn.Linear(3, 1), nn.Linear(3, 1)
    seen = list[Tensor]()
    handle = hooked.weight.register_hook(seen.append)  # type: ignore[no-untyped-call]
    (bare(torch.ones(2, 3)) + hooked(torch.ones(2, 3))).sum().backward()
    left = Leftovers()
    left.arm({0: [bare.weight], 1: [hooked.weight]})
    left.take_off()
    assert bare.weight._backward_hooks is None
    hooked(torch.ones(2, 3)).sum().backward()
    assert len(seen) == 2
    handle.remove()


@pytest.mark.parametrize(("loss", "told"), [
    (lambda real, made: made.mean() - real.mean(), True),
    (lambda real, made: F.softplus(-real).mean() + F.softplus(made).mean(), False),
    (lambda real, made: F.relu(1 - real).mean() + F.relu(1 + made).mean(), False),
    (lambda real, made: (real - 1).square().mean() + made.square().mean(), False),
    (lambda real, made: real.mean() + made.mean(), False),
])
def test_a_critic_is_known_by_its_slopes(loss: Callable[[Tensor, Tensor], Tensor], told: bool) -> None:
    """Of a loss that takes the scores of two passes as they are, one up and one down, the steepest change between neighbours is told."""
    torch.manual_seed(0)
    judge, looks = nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), judge_network.JudgeFollower()
    passes = [9 * torch.randn(20, 2, 3) for _ in range(2)]  # so far apart that a hinge cuts some
    scores = [judge(x)[:, 0] for x in passes]
    for x, score in zip(passes, scores, strict=True):
        looks.see(x, score)
    loss(*scores).backward()
    slopes = [
        float(abs(score[k + 1] - score[k]) / (x[k + 1] - x[k]).norm())
        for x, score in zip(passes, [score.detach() for score in scores], strict=True) for k in range(19)
    ]
    assert looks.finish(judge) == ({"steep": pytest.approx(max(slopes), rel=1e-4)} if told else {})
