"""Histograms by bit patterns count what is there, and their statistics are those of all elements."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.record.histogram import HistogramSeries
from diorama.record.reduction import copies, reduce
from diorama.record.store_bytes import HistogramBlock

CASES = {
    "normal": torch.randn(1000, generator=torch.Generator().manual_seed(0)),
    "large": torch.randn(300_000, generator=torch.Generator().manual_seed(1)) * 3 + 1,
    "far from zero": 1 + 1e-3 * torch.randn(20_000, generator=torch.Generator().manual_seed(2)),
    "rectified": torch.relu(torch.randn(9000, generator=torch.Generator().manual_seed(3))),
    "zeros": torch.zeros(50),
    "tiny": torch.full((30,), 1e-40),
    "half": torch.randn(5000, generator=torch.Generator().manual_seed(4)).half(),
    "columns": torch.randn(70, 90, generator=torch.Generator().manual_seed(5)).t(),
}


def _histograms(*tensors: torch.Tensor) -> HistogramSeries:
    values = [reduce({"x": tensor})["x"] for tensor in tensors]
    return HistogramSeries.of(HistogramBlock.unpack(HistogramBlock.of(range(len(values)), values).pack()))


@pytest.mark.parametrize("name", CASES)
def test_statistics_are_of_all_elements(name: str) -> None:
    """Low, high, mean, std, norm and count agree with float64 sums over the whole tensor."""
    values = CASES[name].double().flatten().numpy()
    found = _histograms(CASES[name])
    assert (found.low[0], found.high[0], found.count[0]) == (values.min(), values.max(), values.size)
    scale = np.abs(values).max()
    assert found.mean[0] == pytest.approx(values.mean(), rel=1e-5, abs=1e-6 * scale)
    assert found.std[0] == pytest.approx(values.std(), rel=1e-3, abs=1e-6 * scale)
    assert found.norm[0] == pytest.approx(np.linalg.norm(values), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name != "large"])
def test_counts_are_those_between_the_edges(name: str) -> None:
    """Each bin holds as many elements as lie between its edges."""
    values = CASES[name].double().flatten().numpy()
    found = _histograms(CASES[name])
    assert found.counts[0].sum() == values.size
    # A bin of negative numbers is closed at its upper edge, one of positive numbers at its lower.
    mirrored = -np.histogram(-values, -found.edges[::-1])[0][::-1]
    straight = np.histogram(values, found.edges)[0]
    wanted = np.where(found.edges[:-1] >= 0, straight, -mirrored)
    away = np.abs(found.edges[:-1] + found.edges[1:]) > 1e-12
    assert np.array_equal(found.counts[0][away], wanted[away])


def test_a_large_tensor_is_sampled_by_a_stated_stride() -> None:
    """Beyond the limit every n-th element is counted, and n is told."""
    found = _histograms(CASES["large"])
    assert found.stride[0] > 1
    assert found.counts[0].sum() == pytest.approx(300_000 / found.stride[0], rel=0.01)


def test_what_is_not_finite_is_counted_apart() -> None:
    """NaN and infinities are counted, and the statistics are of the rest."""
    x = torch.tensor([1.0, -2.0, float("nan"), float("inf"), float("-inf"), float("nan")])
    found = _histograms(x, torch.full((3,), float("nan")))
    assert found.nan.tolist() == [2, 3]
    assert found.infinite.tolist() == [2, 0]
    assert (found.low[0], found.high[0], found.mean[0]) == (-2.0, 1.0, -0.5)
    assert found.counts.sum(1).tolist() == [2, 0]
    assert np.isnan(found.norm).all()


def test_steps_of_very_different_size_share_their_edges() -> None:
    """Histograms of tensors a thousand times apart stand on common edges, without losing an element."""
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    found = _histograms(x, 1000 * x, x / 1000)
    assert found.counts.sum(1).tolist() == [500, 500, 500]
    assert len(found.edges) == found.counts.shape[1] + 1
    assert (np.diff(found.edges) > 0).all()
    assert found.quantiles([0.5])[1, 0] == pytest.approx(1000 * float(x.median()), abs=100)


def test_quantiles_and_density_follow_the_data() -> None:
    """Quantiles lie within a bin of the true ones; a density on any edges keeps the total."""
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    found = _histograms(x)
    wanted = np.quantile(x.numpy(), [0.0, 0.07, 0.5, 0.93, 1.0])
    assert found.quantiles([0.0, 0.07, 0.5, 0.93, 1.0])[0] == pytest.approx(wanted, abs=0.05)
    assert found.density(np.linspace(-6, 6, 40)).sum() == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_any_numbers_are_all_counted(numbers: list[float]) -> None:
    """Whatever the numbers, each is counted once, between the window's edges."""
    found = _histograms(torch.tensor(numbers))
    assert found.counts.sum() == len(numbers)
    assert found.edges[0] <= min(numbers)
    assert found.edges[-1] >= max(numbers)


def test_differences_are_those_of_the_copies() -> None:
    """Reducing against copies gives the histogram of the difference, and the copies' norms."""
    generator = torch.Generator().manual_seed(0)
    now = {"small": torch.randn(50, generator=generator), "large": torch.randn(400_000, generator=generator)}
    before = {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in now.items()}
    copied, norms = copies(before, {})
    found = reduce(now, before=copied)
    for name in now:
        wanted = reduce({"x": now[name] - before[name]})["x"]
        assert norms[name] == pytest.approx(float(before[name].norm()), rel=1e-5)
        assert found[name].statistics == pytest.approx(wanted.statistics, rel=1e-4, abs=1e-6)
        assert np.array_equal(found[name].counts, wanted.counts)
