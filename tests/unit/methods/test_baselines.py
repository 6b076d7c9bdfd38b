"""Maps that are measured from a baseline: where they begin is told, and where that leaves next to nothing to explain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.data import nesting
from diorama.methods.attribution_picture import doubted
from diorama.methods.baseline import slight


class Leaning(nn.Module):
    """Two classes from five numbers, the first of which has ``lean`` more than the numbers give it."""

    def __init__(self, lean: float) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 8)
        self.last = nn.Linear(8, 2)
        with torch.no_grad():
            self.last.bias.copy_(torch.tensor([lean, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        found: Tensor = self.last(torch.relu(self.layer(x)))
        return found


def _asked(name: str, lean: float, **knobs: Any) -> diorama.Attribution | None:
    torch.manual_seed(0)
    model, x = Leaning(lean), torch.randn(2, 5)
    others = {"baseline": torch.zeros(3, 5)} if name == "expected_gradients" else {}
    try:
        return diorama.attribute(model, x, 0, method=name, task="classification", **others, **knobs)
    except NotApplicable:
        return None


@pytest.mark.parametrize("name", list(diorama.methods))
def test_where_a_sum_begins_is_told(name: str) -> None:
    """A map that says that its sum is right sums to the score, minus the baseline's where it is measured from one."""
    found = _asked(name, 2.0)
    if found is None or "completeness" not in found.checks or found.checks["completeness"] > 0.05:
        return
    sums = found.summed if found.summed is not None else sum(part.flatten(1).sum(1) for part in nesting.tensors(found.values))
    start = 0.0 if found.baseline is None else found.baseline.scores.float()
    assert torch.allclose(torch.as_tensor(sums).float(), found.scores - start, atol=1e-2)


@pytest.mark.parametrize("name", ["integrated_gradients", "deep_lift", "expected_gradients", "kernel_shap", "shapley_sampling"])
def test_a_baseline_that_answers_the_same_is_told(name: str) -> None:
    """Where nearly all of the score is there at the baseline, the note says so and the map is pale; else neither."""
    leaning, even = _asked(name, 500.0), _asked(name, 0.0)
    assert leaning is not None
    assert even is not None
    assert slight(leaning) == [0, 1]
    assert doubted(leaning)
    assert "is there at the baseline already" in leaning.note
    assert leaning.picture().body.doubted  # type: ignore[union-attr]
    assert not slight(even)
    assert "baseline already" not in even.note


def test_an_amount_whose_zero_means_nothing_is_not_doubted() -> None:
    """A regression answers 500 and a little: how much of it the map explains is no share."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 1))
    with torch.no_grad():
        model[0].bias.fill_(500.0)
    found = diorama.attribute(model, torch.randn(1, 5), method="integrated_gradients", task="regression")
    assert found.baseline is not None
    assert not slight(found)
    assert not doubted(found)


def test_few_parts_are_asked_in_all_sets() -> None:
    """Shapley sampling of five numbers is exact, whatever the seed, and says so; of fewer passes it says how sure it is."""
    exact = _asked("kernel_shap", 0.0)
    few = _asked("shapley_sampling", 0.0, seed=3)
    drawn = _asked("shapley_sampling", 0.0, samples=3)
    assert exact is not None
    assert few is not None
    assert drawn is not None
    assert torch.allclose(exact.values, few.values, atol=1e-5)
    assert "All sets" in few.note
    assert "sampling error" not in few.checks
    assert "All sets" not in drawn.note
    assert drawn.checks["sampling error"] > 0
    assert "standard error" in drawn.note


@pytest.mark.parametrize(("method", "samples"), [("shapley_sampling", 16), ("kernel_shap", 120), ("lime", 120)])
def test_the_sampling_error_is_that_of_other_seeds(method: str, samples: int) -> None:
    """The error that one asking tells is about how far the values of other seeds lie apart."""

    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, :4].prod(1) * 9 + x.sum(1), x[:, 0]], 1)

    few = {"method": method, "samples": samples, "task": "classification"}
    found = [diorama.attribute(Products(), torch.ones(1, 9), 0, seed=k, **few) for k in range(12)]
    values = torch.cat([one.values for one in found])
    apart = float(values.std(0).max())
    said = sum(one.checks["sampling error"] * float(one.values.abs().max()) for one in found) / len(found)
    assert apart / 2.5 < said < apart * 2.5


def test_fewer_sets_than_parts_determine_no_values() -> None:
    """Four sets of nine parts are told to say nothing: the error is as large as the largest value."""
    found = diorama.attribute(nn.Linear(9, 2), torch.ones(1, 9), 0, method="kernel_shap", samples=4, task="classification")
    assert found.checks["sampling error"] == 1
    assert "100 % of the largest value" in found.note


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "shapley_sampling"])
@pytest.mark.parametrize("high", [False, True])
def test_a_map_of_zeros_has_no_sampling_error(method: str, high: bool) -> None:
    """Of a constant, and of what lies below the rounding of an answer of 1e8, nothing is drawn that could be a share of the largest value."""

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e8 + 3 * x.sum(1, keepdim=True) if high else x.sum(1, keepdim=True) * 0 + 3

    x = torch.rand(4, 12, generator=torch.Generator().manual_seed(0))
    found = diorama.attribute(Flat(), x[:1], method=method, samples=60 if method != "shapley_sampling" else 5, task="regression")
    assert not found.values.any()
    assert "sampling error" not in found.checks
    assert "standard error" not in found.note
    assert "zero everywhere" in found.note
