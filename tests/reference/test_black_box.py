"""Black-box methods against formulas in plain loops, and against Captum with the same parts."""

from __future__ import annotations

import itertools
import math
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import Functional

import diorama
from diorama.methods.black_box import Parts
from diorama.methods.method import Look

NAMES = ("feature_ablation", "shapley_sampling", "kernel_shap", "lime")


def _bent() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).eval()


def _shapley(model: Any, x: Tensor, target: int) -> list[float]:
    """Shapley's formula, over all sets."""
    count = x.shape[1]

    def worth(members: tuple[int, ...]) -> float:
        part = torch.zeros_like(x)
        part[:, list(members)] = x[:, list(members)]
        return float(model(part)[0, target].detach())

    values = []
    for k in range(count):
        rest = [j for j in range(count) if j != k]
        total = 0.0
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for members in itertools.combinations(rest, size):
                total += weight * (worth((*members, k)) - worth(members))
        values.append(total)
    return values


@pytest.mark.parametrize(("name", "samples", "gap"), [("shapley_sampling", 400, 0.02), ("kernel_shap", 4000, 0.01)])
def test_shapley_values_near_the_formula(name: str, samples: int, gap: float) -> None:
    """Sampled Shapley values near those of the formula over all sets, and sum to the whole change."""
    model, x = _bent(), torch.tensor([[1.5, -2.0, 0.5, 1.0]])
    found = diorama.attribute(model, x, 1, method=name, samples=samples)
    assert found.values[0].tolist() == pytest.approx(_shapley(model, x, 1), abs=gap)
    assert found.checks["completeness"] < 1e-4


def test_ablation_is_captums_with_the_same_segments() -> None:
    """On an image, leaving out one segment at a time gives Captum's map for these segments."""
    torch.manual_seed(0)
    model, x = Functional().eval(), torch.randn(1, 1, 20, 23)
    found = diorama.attribute(model, x, 1, method="feature_ablation", segments=9)
    parts = Parts(diorama.methods["feature_ablation"](segments=9), Look(model, x=x), x, 0)
    ids = parts.spread(torch.arange(parts.count, dtype=torch.float32)).long()
    assert 4 <= parts.count <= 16
    wanted = captum.attr.FeatureAblation(model).attribute(x, target=1, feature_mask=ids)
    torch.testing.assert_close(found.values, wanted, rtol=1e-5, atol=1e-6)


def test_lime_of_a_linear_model_is_the_model() -> None:
    """Without a penalty, the linear model around a linear model is that model: weight times number."""
    torch.manual_seed(0)
    model, x = nn.Linear(5, 2), torch.randn(1, 5)
    found = diorama.attribute(model, x, 1, method="lime", alpha=1e-7)
    torch.testing.assert_close(found.values[0], (model.weight[1] * x[0]).detach(), rtol=1e-3, atol=1e-4)
    sparse = diorama.attribute(model, x, 1, method="lime", alpha=10.0)
    assert not sparse.values.any()


@pytest.mark.parametrize("name", NAMES)
def test_plain_functions(name: str) -> None:
    """A function on NumPy arrays is explained like a network, and the same seed gives the same map."""
    weights = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, -1.0]], dtype=np.float32)
    x = torch.tensor([[1.0, 1.0, 2.0], [0.5, -1.0, 1.0]])
    found = diorama.attribute(lambda rows: rows.numpy() @ weights, x, 1, method=name)
    again = diorama.attribute(lambda rows: rows.numpy() @ weights, x, 1, method=name)
    assert torch.equal(found.values, again.values)
    torch.testing.assert_close(found.values, x * torch.tensor([0.0, 2.0, -1.0]), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_words_and_several_inputs(name: str) -> None:
    """Texts get a number a word, several inputs one map each, and random numbers of the user's stay."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.out = nn.Linear(4 + 2, 3)

        def forward(self, words: Tensor, row: Tensor) -> Tensor:
            return self.out(torch.cat([self.table(words).mean(1), row], 1))

    torch.manual_seed(0)
    x = {"words": torch.randint(1, 9, (2, 5)), "row": torch.randn(2, 2)}
    model = Words().eval()
    before = torch.get_rng_state()
    found = diorama.attribute(model, x, 0, method=name)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.values["words"].shape == (2, 5)
    assert found.values["row"].shape == (2, 2)
    assert found.values["words"].any()
    assert found.values["row"].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_is_not_a_number_is_left_out(name: str) -> None:
    """A column that holds NaN has no value; the others get those of the row in which it is covered."""
    model, x = _bent(), torch.tensor([[1.5, torch.nan, 0.5, 1.0]])
    found = diorama.attribute(model, x, 1, method=name)
    assert bool(torch.isnan(found.values[0, 1]))
    assert "left out" in found.note
    covered = nn.Sequential(_Without(1), model)
    wanted = diorama.attribute(covered, torch.nan_to_num(x), 1, method=name)
    others = [0, 2, 3]
    assert found.values[0, others].tolist() == pytest.approx(wanted.values[0, others].tolist(), abs=0.06)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_answers_no_numbers_gets_a_map_that_says_so(name: str) -> None:
    """Where the model itself answers NaN, every part's value is NaN, and a note says so."""
    found = diorama.attribute(lambda rows: rows.log()[:, :2], -torch.ones(1, 4), 1, method=name)
    assert bool(torch.isnan(found.values).all())
    assert "not finite" in found.note


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_answers_no_numbers_without_a_part_is_refused(name: str) -> None:
    """By the reason; where another example has a map, that one has its own, and a note counts those that have none."""
    x = torch.tensor([[3.0, -1.0, -1.0, -0.5], [1.0, 2.0, 1.0, 1.0]])
    model = _Rooted()
    with pytest.raises(diorama.NotApplicable, match="where parts are left out the model answers numbers that are not finite"):
        diorama.attribute(model, x[:1], 1, method=name)
    found = diorama.attribute(model, x, 1, method=name)
    assert bool(found.values[0].isnan().all())
    assert bool(found.values[1].isfinite().all())
    assert "For 1 of 2 examples" in found.note


class _Rooted(nn.Module):
    """A row times the root of its sum."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows * rows.sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_what_covers_a_part_is_made_of_finite_numbers(fill: str) -> None:
    """The mean or blur that covers a part of an image leaves its NaN out."""
    model, x = Functional().eval(), torch.rand(1, 1, 12, 12)
    x[..., 2, 2] = torch.nan
    found = diorama.attribute(model, x, 1, method="feature_ablation", fill=fill, segments=9)
    assert 0 < int(torch.isnan(found.values).sum()) < 72


class _Without(nn.Module):
    """A row with zero in one column."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, rows: Tensor) -> Tensor:
        return rows.index_fill(1, torch.tensor(self.column), 0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_kernel_shap_is_exact_where_all_sets_are_tried(count: int) -> None:
    """With as many samples as there are sets the values are Shapley's own, for one part too."""
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(count, 6), nn.Tanh(), nn.Linear(6, 2)).eval(), torch.randn(1, count)
    found = diorama.attribute(model, x, 1, method="kernel_shap", samples=2**5)
    assert found.values[0].tolist() == pytest.approx(_shapley(model, x, 1), abs=1e-6)


def test_lime_does_not_depend_on_the_unit_of_the_answer() -> None:
    """Answers a thousand times smaller have values a thousand times smaller, not zeros."""
    torch.manual_seed(0)
    model, x = nn.Linear(5, 2), torch.randn(1, 5)
    large = diorama.attribute(model, x, 1, method="lime").values
    with torch.no_grad():
        model.weight *= 1e-4
        model.bias *= 1e-4
    small = diorama.attribute(model, x, 1, method="lime").values
    torch.testing.assert_close(1e4 * small, large, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["kernel_shap", "shapley_sampling"])
def test_what_is_summed_is_what_is_checked(name: str) -> None:
    """The sum that the check speaks of counts each part once, however many pixels it has."""
    torch.manual_seed(0)
    model, x = Functional().eval(), torch.randn(2, 1, 20, 23)
    found = diorama.attribute(model, x, 1, method=name, segments=6, samples=64)
    change = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    assert found.summed is not None
    torch.testing.assert_close(found.summed, change, rtol=1e-3, atol=1e-4)
    sums = [[float(number) for number in values.unique()] for values in found.values]
    assert [sum(parts) for parts in sums] == pytest.approx(change.tolist(), abs=1e-3)
