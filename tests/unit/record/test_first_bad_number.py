"""Where the first number that is NaN or infinite comes from: the step, the op, the layer and the batch's examples."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Table
from diorama.record.findings import Diagnosis


class _Log(nn.Module):
    """Takes the logarithm of what comes, which must be above -2."""

    def forward(self, x: Tensor) -> Tensor:
        """Its logarithm."""
        return torch.log(x + 2)


class _Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """The square root of its size, whose slope at 0 is infinite."""
        return torch.sqrt(x.abs())


def _network(middle: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), middle or nn.Identity(), nn.Linear(8, 2))


def _trained(
    path: Path, model: nn.Module, at: int, batch: Callable[[Tensor], Any],
    loss: Callable[[Any], Tensor] = lambda y: y.square().mean(), passes: int = 1,
) -> tuple[Diagnosis, dict[str, Any]]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    generator = torch.Generator().manual_seed(0)
    with diorama.watch(model, path, optimizer=optimizer, every=10) as recorder:
        for step in range(1, 15):
            optimizer.zero_grad()
            for _ in range(passes):
                x = 0.1 * torch.rand(6, 3, generator=generator)
                value = loss(model(batch(x) if step == at else x))
                value.backward()
            optimizer.step()
            recorder.step(loss=value)
    run = diorama.open(path)
    return next(found for found in run.findings() if found.finding == "not_finite"), run.meta["first_bad"]


def _turned(x: Tensor) -> Tensor:
    """A batch whose fourth and sixth examples no logarithm takes."""
    x = x.clone()
    x[[3, 5]] = -1e6 * torch.tensor([1.0, -1.0, 1.0])
    return x


@pytest.mark.parametrize("passes", [1, 3])
def test_the_op_the_layer_and_the_examples_are_found_with_the_same_random_numbers(tmp_path: Path, passes: int) -> None:
    """A logarithm of negative numbers behind a dropout is told by its op, layer and the very examples, between two readings."""
    model, seen = _network(_Log()), list[Tensor]()
    model[2].register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    found, fact = _trained(tmp_path / "run", model, 13, _turned, passes=passes)
    bad = ~torch.isfinite(seen[12 * passes])
    assert (found.step, fact["where"], fact["layer"], fact["op"]) == (13, "forward", "2", "2.log")
    assert fact["examples"] == torch.nonzero(bad.any(1)).flatten().tolist()
    assert (fact["count"], fact["concerned"], fact["of"]) == (int(bad.sum()), int(bad.any(1).sum()), 6)
    assert [name for name, _, _ in fact["ops"]][-2:] == ["2.add", "2.log"]
    assert [one for _, _, one in fact["ops"]] == [False] * (len(fact["ops"]) - 1) + [True]
    assert {"layer:2", "op:2.log", "step:13"} <= set(found.keys)
    assert "2.log" in found.text
    assert fact.get("pass", 1) == 1
    picture = diorama.open(tmp_path / "run").scene(0).view(found.view)
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    assert (table.columns[0].texts[-1], table.columns[2].texts[-1], table.row_keys[-1]) == ("2.log", "NaN or infinite", "op:2.log")
    assert all(words in picture.caption for words in ("step 13", "op 2.log in layer 2", "of the batch's 6 examples"))


def test_random_numbers_that_were_not_held_are_told(tmp_path: Path) -> None:
    """A dropout that is switched on after the last reading draws unseen: the step is right, and what was run again is said to be another draw."""
    model = _network(_Log()).eval()
    found, fact = _trained(tmp_path / "run", model, 13, lambda x: _turned(x) if model.train() else x)
    assert (fact["step"], fact["where"], fact["op"], fact["redrawn"]) == (13, "forward", "2.log", True)
    assert "other random numbers" in found.text
    assert "other random numbers" in found.sure


def test_a_batch_that_holds_it_is_told(tmp_path: Path) -> None:
    """NaN in the batch itself is no fault of the model."""
    _, fact = _trained(tmp_path / "run", _network(), 7, lambda x: torch.where(x == x[2, 1], torch.nan, x))
    assert (fact["step"], fact["where"], fact["examples"]) == (7, "input", [2])


def test_a_loss_that_makes_it_is_told(tmp_path: Path) -> None:
    """Where the model's answers are finite, the loss is named."""
    def loss(y: Tensor) -> Tensor:
        return (1e38 * y).square().mean() if y.abs().max() > 5 else y.square().mean()

    _, fact = _trained(tmp_path / "run", _network(), 9, lambda x: x * 1e4, loss)
    assert (fact["step"], fact["where"]) == (9, "loss")


def test_an_op_whose_slope_is_infinite_is_told(tmp_path: Path) -> None:
    """A root of 0 behind a dropout is finite, and so is the last layer's gradient: the root is named at the first step."""
    found, fact = _trained(tmp_path / "run", _network(_Root()), 99, lambda x: x)
    assert (fact["step"], fact["where"], fact["layer"], fact["op"], found.step) == (1, "backward", "2", "2.sqrt", 1)


def test_an_optimizer_that_makes_it_is_told(tmp_path: Path) -> None:
    """Finite gradients and a rate that overflows: the weights are named, at the step that begins with them."""
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10) as recorder:
        for step in range(1, 6):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().mean().backward()
            optimizer.param_groups[0]["lr"] = float("inf") if step == 3 else 0.01
            optimizer.step()
            recorder.step()
    fact = diorama.open(tmp_path / "run").meta["first_bad"]
    assert (fact["step"], fact["where"]) == (4, "weights")


def test_a_step_that_a_scaler_leaves_out_is_looked_at(tmp_path: Path) -> None:
    """Under autocast to float16 a product overflows in the forward pass: told by its op, though the scaler saves the weights."""
    model = nn.Sequential(nn.Linear(3, 8), _Grown(), nn.Linear(8, 2))
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.01), torch.amp.GradScaler("cpu")
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10, state=[scaler]) as recorder:
        for step in range(1, 8):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                value = model(torch.full((4, 3), 1e3 if step == 5 else 1.0)).float().square().mean()
            scaler.scale(value * 1e-4).backward()
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss=value)
    run = diorama.open(tmp_path / "run")
    fact = run.meta["first_bad"]
    assert (fact["step"], fact["where"], fact["layer"], fact["autocast"], fact["skipped"]) == (5, "forward", "1", "float16", True)
    assert fact["op"] == "1.mul"
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_gradients_that_overflow_at_a_high_scale_are_no_alarm(tmp_path: Path) -> None:
    """A scale that is too high at first and falls is usual: kept as a fact for the finding of overflow, and no finding."""
    model = _network()
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.01), torch.amp.GradScaler("cpu", init_scale=2.0**126)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10, state=[scaler]) as recorder:
        for _ in range(12):
            optimizer.zero_grad()
            value = 1e4 * model(torch.ones(4, 3)).square().mean()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss=value)
    run = diorama.open(tmp_path / "run")
    assert run.meta["gradient_overflow"]["where"] == "loss"
    assert "first_bad" not in run.meta
    assert not [found for found in run.findings() if found.finding == "not_finite"]


def _unlabelled(path: Path, model: nn.Module, x: Tensor, y: Tensor, ignored: bool = True) -> Diagnosis:
    """The finding of a training whose batches have no label from its eighth step on, or whose loss is made NaN there."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, path, optimizer=optimizer, every=10) as recorder:
        for step in range(1, 12):
            optimizer.zero_grad()
            labels = torch.full_like(y, -100) if step >= 8 and ignored else y
            value = nn.functional.cross_entropy(model(x).movedim(-1, 1), labels)
            value.backward()
            optimizer.step()
            recorder.step(loss=value.detach() * (float("nan") if step >= 8 else 1.0))
    return next(found for found in diorama.open(path).findings() if found.finding == "not_finite")


def test_a_loss_of_no_labels_is_told_as_one(tmp_path: Path) -> None:
    """Where all labels are ignored the loss is NaN and no gradient is: it is said that no label is left, of texts for sure; else not."""
    torch.manual_seed(0)
    x, y = torch.randint(0, 8, (4, 6)), torch.randint(0, 8, (4, 6))
    found = _unlabelled(tmp_path / "text", nn.Sequential(nn.Embedding(8, 5), nn.Linear(5, 8)), x, y)
    assert "At step 10 no label was left in the texts" in found.text
    assert found.view == "learns_from"
    assert "labels" in found.helps
    assert "rate" not in found.helps
    rows = torch.rand(4, 3)
    found = _unlabelled(tmp_path / "rows", _network(), rows, y[:, 0] % 2)
    assert "while all gradients were exactly 0: so it is where no label is left" in found.text
    assert found.view == "curves"
    found = _unlabelled(tmp_path / "other", _network(), rows, y[:, 0] % 2, ignored=False)
    assert "no label" not in found.text
    assert "lower rate" in found.helps


class _Grown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """What comes, a thousand times."""
        return x * 1e3


@pytest.mark.parametrize("way", ["copied", "stored", "scripted", "copied and scripted", "exported", "compiled"])
def test_a_model_that_is_taken_away_takes_no_hook_along(tmp_path: Path, way: str) -> None:
    """In the middle of a training a model is copied, stored, scripted, exported and compiled as if nobody watched."""
    model = _network().eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.ones(2, 3)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10) as recorder:
        if way == "stored":
            file = io.BytesIO()
            torch.save(model, file)
            other: Any = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
            assert b"diorama" not in file.getvalue()
        else:
            other = copy.deepcopy(model) if way.startswith("copied") else model
        if way.endswith("scripted"):
            with warnings.catch_warnings(action="ignore"):
                other = torch.jit.script(other)
        elif way == "exported":
            other = torch.export.export(model, (x,)).module()
        elif way == "compiled":
            other = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.allclose(other(x), model(x))
        for value in (torch.nan, 1.0):
            model(x * value).sum().backward()
            optimizer.step()
            recorder.step()
    assert not model._forward_pre_hooks
    assert "__prepare_scriptable__" not in vars(model)


def test_the_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    """Weights and random numbers after a bad batch are those of a training that nobody watches."""
    ends = []
    for watched in (True, False):
        model = _network(_Log())
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        torch.manual_seed(3)
        recorder = diorama.watch(model, tmp_path / "run", optimizer=optimizer) if watched else None
        for step in range(8):
            x = torch.rand(6, 3)
            optimizer.zero_grad()
            model(_turned(x) if step == 4 else x).sum().backward()
            optimizer.step()
            if recorder is not None:
                recorder.step()
        ends.append((torch.rand(5), [p.detach().clone() for p in model.parameters()]))
        if recorder is not None:
            recorder.close()
    assert torch.equal(ends[0][0], ends[1][0])
    for one, other in zip(ends[0][1], ends[1][1], strict=True):
        assert torch.equal(one.isnan(), other.isnan())


class _HandsOutAll(nn.Sequential):
    """Hands out all that it holds, whoever copies it."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


def test_a_model_that_hands_out_all_it_holds_is_copied_without_the_call_of_ours(tmp_path: Path) -> None:
    """A copy and what is stored compute with their own weights, and know nothing of diorama; the model itself has no hook on it between readings."""
    model = _HandsOutAll(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer, x = torch.optim.SGD(model.parameters(), 0.01), torch.ones(2, 3)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10) as recorder:
        for _ in range(3):
            model(x).square().sum().backward()
            optimizer.step()
            recorder.step()
        assert "_compiled_call_impl" in vars(model)
        assert not model._forward_pre_hooks
        file = io.BytesIO()
        torch.save(model, file)
        assert b"diorama" not in file.getvalue()
        for other in (copy.deepcopy(model), torch.load(io.BytesIO(file.getvalue()), weights_only=False)):
            other[2].bias.data += 1.0
            assert torch.allclose(other(x), model(x) + 1.0)
    assert "_compiled_call_impl" not in vars(model)


def test_a_call_that_somebody_puts_in_its_place_stays(tmp_path: Path) -> None:
    """Who compiles the model while it is watched puts another call there, which is left alone, also when the recorder is closed."""
    model, calls = _network().eval(), list[int]()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def theirs(x: Tensor) -> Any:
        calls.append(step)
        return model._call_impl(x)

    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=2) as recorder:
        for step in range(6):
            if step == 3:
                model.__dict__["_compiled_call_impl"] = theirs  # as model.compile() does
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
            recorder.step()
    assert calls == [3, 4, 5]
    assert vars(model)["_compiled_call_impl"] is theirs


@pytest.mark.parametrize(("dropout", "passes"), [(0.0, 1), (0.0, 2), (0.3, 1)])
def test_whether_steps_draw_random_numbers_is_known_after_the_first(tmp_path: Path, dropout: float, passes: int) -> None:
    """Where readings lie very far apart too: the state of the generator, five kilobytes, is held from then on only where steps draw."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    held = []
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10**6, snapshots=10**6) as recorder:
        finder = recorder._observer.first_bad
        assert finder is not None
        for number in range(6):
            optimizer.zero_grad()
            for _ in range(passes):
                model(torch.randn(4, 3) if number else torch.ones(4, 3)).square().mean().backward()
            held.append([each[2] is not None for each in finder.passes])
            optimizer.step()
            recorder.step()
    assert held == [[True] * passes] + [[dropout > 0] * passes] * 5


@pytest.mark.parametrize("place", ["input", "loss"])
def test_a_step_that_the_loop_leaves_out_by_itself_names_no_scaler(tmp_path: Path, place: str) -> None:
    """Where no scaler was seen, it is said that nobody stepped: in the finding, and in the view, also of gradients alone."""
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=torch.ones(4, 3), optimizer=optimizer, every=10) as recorder:
        for step in range(1, 8):
            optimizer.zero_grad()
            bad = float("nan") if step == 5 else 1.0
            value = model(torch.full((4, 3), bad if place == "input" else 1.0)).square().mean() * (bad if place == "loss" else 1.0)
            value.backward()
            if torch.isfinite(value):
                optimizer.step()
            recorder.step()
    run = diorama.open(tmp_path / "run")
    said = [run.scene().view("first_bad").caption, *(found.text for found in run.findings() if found.finding == "not_finite")]
    assert len(said) == (2 if place == "input" else 1)
    assert all("o optimizer stepped" in text and "scaler" not in text for text in said)


class _Masked(nn.Module):
    """Attends to what came before, by a mask of −∞ in one of the usual ways, over heads that are folded into the batch."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.open, self.head = way, nn.Parameter(torch.ones(())), nn.Linear(2, 2)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        """Two numbers for each example, of three places."""
        h = x.view(6, 3, 1).expand(6, 3, 4).reshape(6, 3, 2, 2).transpose(1, 2).reshape(12, 3, 2) * self.open
        scores, later = h @ h.transpose(1, 2), torch.ones(3, 3).triu(1).bool()
        if self.way == "filled":
            scores = scores.masked_fill(later, -torch.inf)
        elif self.way == "held":
            scores = scores + self.mask
        elif self.way == "written":
            scores[:, later] = -torch.inf
        elif self.way == "logged":
            scores = scores + (~later).float().log()
        else:
            scores = scores + torch.full((3, 3), -torch.inf).triu(1)
        scores = scores.masked_fill((x[:, :1] > 5).repeat_interleave(2, 0)[:, None], -torch.inf)
        return self.head((scores.softmax(-1) @ h).mean(1).view(6, 2, 2).mean(1))


@pytest.mark.parametrize("way", ["filled", "held", "written", "logged", "added"])
def test_a_mask_that_a_softmax_takes_away_is_no_fault(tmp_path: Path, way: str) -> None:
    """Its −∞ stand in every step: told is the loss, where that is 0/0; and where all places are masked, the softmax that makes NaN of it, by the
    rows that are concerned, which are no examples.
    """
    calls = iter(range(1, 99))
    _, fact = _trained(tmp_path / "loss", _Masked(way), 99, lambda x: x, lambda y: y.sum() * 0 / (next(calls) != 9))
    assert (fact["step"], fact["where"]) == (9, "loss")
    found, fact = _trained(tmp_path / "all", _Masked(way), 5, lambda x: torch.where(torch.arange(6)[:, None] == 4, 9.0, x))
    assert (fact["step"], fact["where"], fact["op"]) == (5, "forward", "softmax")
    assert (fact["since"], fact["rows"], fact["of"]) == ("masked_fill#2" if way == "filled" else "masked_fill", [8, 9], 12)
    assert "in 2 of the 12 rows of its first axis (8, 9, counted from 0)" in found.text
    assert "examples" not in fact


class _ByWeights(nn.Linear):
    """Divides a weight's rows by their sizes."""

    def forward(self, x: Tensor) -> Tensor:
        """As of a linear layer."""
        return x @ (self.weight / self.weight.norm(dim=1, keepdim=True)).T


def test_examples_are_those_of_the_batch(tmp_path: Path) -> None:
    """The rows of a weight are none, though there are as many."""
    model = _ByWeights(3, 6, bias=False)
    nn.init.zeros_(model.weight[2:3].detach())
    found, fact = _trained(tmp_path / "weight", model, 99, lambda x: x)
    assert (fact["op"], fact["rows"], fact["weights"]) == ("div", [2], True)
    assert "in 1 of the 6 rows of its first axis (2, counted from 0); it is made of weights alone" in found.text


class _Slopes(nn.Module):
    """Answers, and beside them a root of 0, whose slope is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        h = self.first(x)
        return self.last(h), (h * 0).sum(1).sqrt()


@pytest.mark.parametrize("taken", [False, True])
def test_the_slope_of_an_output_that_the_loss_may_leave_out_is_not_blamed(tmp_path: Path, taken: bool) -> None:
    """Where every gradient is bad and another output is fine, the loss is named as well; where only those behind the root are, the root alone."""
    at = 0

    def loss(y: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal at
        at += 1
        return y[0].square().mean() + y[1].mean() if taken else y[0].square().sum() / (12 if at < 9 else 0)

    found, fact = _trained(tmp_path / "run", _Slopes(), 99, lambda x: x, loss)
    assert (fact["where"], fact["op"], fact["step"]) == ("backward", "sqrt", 1 if taken else 9)
    assert fact.get("doubt") == (None if taken else "output 2 of 2")
    assert ("began at the loss, or, if it takes output 2 of 2, at the op sqrt" in found.text) is not taken
    assert found.sure.startswith("Certain") is taken
