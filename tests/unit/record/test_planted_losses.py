"""Faults of a loss, of first weights and of what is frozen, each told by what it is and not by what comes of it alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.model.outputs import Reading
from diorama.record.doubts import Doubts, Slopes
from diorama.record.findings import Diagnosis
from diorama.record.loop_habits import across
from diorama.record.places import Places

Loss = Callable[[Tensor, Tensor], Tensor]


def _across(scores: Tensor, truth: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(scores, 0), truth)


def _pulled(loss: Loss, count: int, classes: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(count)
    scores = (size * torch.randn(count, classes, generator=generator)).requires_grad_()
    loss(scores, torch.randint(classes, (count,), generator=generator)).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    return scores.detach().double().numpy(), scores.grad.double().numpy()


@pytest.mark.parametrize("size", [1.0, 6.0])
@pytest.mark.parametrize("count", [12, 40])
def test_a_softmax_over_the_examples_is_known_by_its_slopes(count: int, size: float) -> None:
    """Also where a score is so large that the slope at its own label points upwards."""
    assert across(*_pulled(_across, count, 10, size)) == {"form": 3.0}


@pytest.mark.parametrize("loss", [
    F.cross_entropy, F.multi_margin_loss, lambda o, t: F.mse_loss(o, F.one_hot(t, 10).float()),
    lambda o, t: F.binary_cross_entropy_with_logits(o, F.one_hot(t, 10).float()), lambda o, t: F.cross_entropy(o, t, label_smoothing=0.1),
    lambda o, t: (o - o.mean(0)).square().sum(),  # noqa: ARG005 - of no labels, and slopes that add up to nothing over the examples
])
def test_other_losses_are_no_softmax_over_the_examples(loss: Loss) -> None:
    """Of losses over classes, of margins, squares and sigmoids nothing is told, nor of pairs, whose matrix is square."""
    assert across(*_pulled(loss, 32, 10)) == {}
    assert across(*_pulled(_across, 10, 10)) == {}


def test_rows_that_are_learnt_to_the_last_digit_are_no_doubt() -> None:
    """Slopes of answers that are sure and right are rounding, and add up to anything; what was once seen to be right is not doubted any more."""
    reading, told = Reading("classification"), []
    scores = (40 * F.one_hot(torch.arange(32) % 10, 10).float() + torch.rand(32, 10)).requires_grad_()
    F.cross_entropy(scores, torch.arange(32) % 10).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    values = scores.detach().double().numpy()
    # The last digits of a kernel that rounds otherwise.
    slopes = scores.grad.double().numpy() - 1e-9 * (np.arange(10) == np.arange(32)[:, None] % 10)
    assert Slopes(reading, values, slopes, None).fits is None
    doubts = Doubts(reading, False, lambda text, about: told.append((about, text)))
    wrong = Slopes(reading, *_pulled(lambda o, t: (o[:, 0] * o[:, 1]).sum(), 32, 10), None)  # noqa: ARG005
    assert wrong.fits is False
    for each in [Slopes(reading, *_pulled(F.cross_entropy, 32, 10), None), *[wrong] * 6]:
        doubts.look(each, {}, 1, 1.0)
    assert not told
    doubts = Doubts(reading, False, lambda text, about: told.append((about, text)))
    for each in [wrong] * 6:
        doubts.look(each, {}, 1, 1.0)
    assert len(told) == 1


def test_a_place_with_one_number_for_each_class_is_known() -> None:
    """In a picture as in a table, and told of no place where classes do not all differ."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.rand(90, 1, 12, 12, generator=generator), torch.arange(90) % 3
    places = Places()
    places.told(x, labels.numpy(), 3)
    assert places.levels()["column"] < 1
    x[:, 0, 1, 2] = labels / 2
    places = Places()
    places.told(x, labels.numpy(), 3)
    told = places.levels()
    assert (told["column_at"], told["column_class"]) == (14.0, -1.0)
    assert told["column"] > 50
    x[:, 0, 1, 2] = labels.clamp(max=1)  # two classes have the same
    places = Places()
    places.told(x, labels.numpy(), 3)
    assert places.levels()["column"] < 1


def _trained(path: Path, model: nn.Module, loss: Loss, rate: float = 0.05, steps: int = 80) -> dict[str, Diagnosis]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 20, generator=generator)
    y = (x @ torch.randn(20, 5, generator=generator)).argmax(1)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], rate, momentum=0.9)
    with diorama.watch(model, path, probe=(x[500:], y[500:]), optimizer=optimizer, every=10) as recorder:
        for _ in range(steps):
            rows = torch.randint(500, (32,), generator=generator)
            value = loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.step(loss=value)
    return {one.finding: one for one in reversed(diorama.open(path).findings())}


def _deep() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))


def test_a_minus_too_many_is_found_where_it_ends_in_nan(tmp_path: Path) -> None:
    """Uphill there is no end but infinity: the sign is told, and that the bad number follows from it."""
    found = _trained(tmp_path / "run", _deep(), lambda o, t: -F.cross_entropy(o, t), 0.5)
    assert "likely follows from what is told as “The loss has the wrong sign”" in found["not_finite"].text
    assert found["turned_loss"].severity > 0.8


def test_a_summed_loss_is_named_beside_the_nan_that_it_made(tmp_path: Path) -> None:
    """The examples' losses are added up, not their mean taken."""
    calls: list[None] = []

    def summed(scores: Tensor, truth: Tensor) -> Tensor:
        calls.append(None)
        return F.cross_entropy(scores, truth, reduction="sum") * (1e38 if len(calls) > 60 else 1.0)

    found = _trained(tmp_path / "run", _deep(), summed, 1e-3)
    assert "The loss is the sum over the 32 labels of a batch" in found["not_finite"].text
    assert found["not_finite"].helps.startswith("Take the mean over the batch")


def test_where_only_biases_learn_the_layers_are_not_called_frozen(tmp_path: Path) -> None:
    """What stands still is told, and what learns all the same."""
    model = _deep()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" in name)
    found = _trained(tmp_path / "run", model, F.cross_entropy)["frozen_layer"]
    assert found.title == "Most weights are frozen"
    assert "only the biases learn" in found.text
    assert found.evidence == "3 of 6 parameters want a gradient"


def test_a_layer_that_began_at_nothing_is_told_so(tmp_path: Path) -> None:
    """All its units are silent, since every number of its weight was 0."""
    model = _deep()
    nn.init.zeros_(model[2].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model[2].bias)  # type: ignore[arg-type]
    found = _trained(tmp_path / "run", model, F.cross_entropy)
    assert "Every number of its weight was 0 when the training began" in found["dead_units"].text
