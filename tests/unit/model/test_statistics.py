"""Statistics over many examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import ZOO, Functional, Specimen

from diorama.core.errors import UsageError
from diorama.model.capture import Capture
from diorama.model.layers import by_unit, layers
from diorama.model.scan import Statistics, batches, scan
from diorama.model.statistics import Histogram, Moments, TopK

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def _same(a: Statistics, b: Statistics) -> None:
    for name in ("mean", "std", "low", "high"):
        np.testing.assert_allclose(getattr(a.moments, name), getattr(b.moments, name), rtol=1e-5, atol=1e-7)
    assert a.moments.count == b.moments.count
    for one, other in ((a.top, b.top), (a.bottom, b.bottom)):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(one.examples, other.examples)
        np.testing.assert_array_equal(one.places, other.places)
    assert a.classes is not None
    assert b.classes is not None
    np.testing.assert_allclose(a.classes.mean, b.classes.mean, rtol=1e-5, atol=1e-7)
    assert a.histogram is not None
    assert b.histogram is not None
    np.testing.assert_array_equal(a.histogram.counts, b.histogram.counts)


@pytest.fixture
def data() -> tuple[Functional, Tensor, Tensor]:
    """A network and 40 labelled pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Functional().eval().double(), torch.randn(40, 1, 8, 8).double(), torch.randint(0, 4, (40,))


def _scan(model: Functional, x: Tensor, y: Tensor, size: int, start: int = 0) -> dict[str, Statistics]:
    return scan(model, batches(x, y, size=size), k=5, classes=4, bottom=True, histogram=True, start=start)


def test_statistics_equal_those_of_everything_at_once(data: tuple[Functional, Tensor, Tensor]) -> None:
    """A scan in batches gives what NumPy computes from all activations together."""
    model, x, y = data
    found, table = _scan(model, x, y, 7), layers(model, x)
    with Capture(model, keep="all") as look:
        look(x)
    for name, part in found.items():
        units = by_unit(table[name], look[name]).reshape(40, table[name].units, -1).numpy()
        whole = np.moveaxis(units, 1, 0).reshape(units.shape[1], -1)
        np.testing.assert_allclose(part.moments.mean, whole.mean(1), atol=1e-12)
        np.testing.assert_allclose(part.moments.std, whole.std(1, ddof=1), atol=1e-8)
        np.testing.assert_array_equal(part.moments.low, whole.min(1))
        assert part.moments.count == whole.shape[1]
        best = units.max(2)
        for unit in range(units.shape[1]):
            order = np.argsort(-best[:, unit], kind="stable")[:5]
            np.testing.assert_array_equal(part.top.examples[unit], order)
            np.testing.assert_array_equal(part.top.values[unit], best[order, unit])
            np.testing.assert_array_equal(part.top.places[unit], units[order, unit].argmax(1))
        for label in range(4):
            assert part.classes is not None
            np.testing.assert_allclose(part.classes.mean[label], units[y.numpy() == label].mean((0, 2)), atol=1e-12)


def test_halves_merged_equal_the_whole(data: tuple[Functional, Tensor, Tensor]) -> None:
    """Two parts scanned apart and merged, in either order, equal one scan."""
    model, x, y = data
    whole = _scan(model, x, y, 8)
    first, second = _scan(model, x[:17], y[:17], 5), _scan(model, x[17:], y[17:], 9, start=17)
    for name, part in whole.items():
        _same(first[name].merge(second[name]), part)
        _same(second[name].merge(first[name]), part)


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_every_network_can_be_scanned(specimen: Specimen) -> None:
    """A scan gives the statistics of every layer that answers once an example, and leaves tensors behind nowhere."""
    model, x = specimen()
    found = scan(model, batches(x, size=3), k=2)
    table = layers(model, x)
    assert set(found) == set(table.names) or specimen.name == "packed"
    for name, part in found.items():
        assert part.moments.mean.shape == (table[name].units,), name
        assert part.examples == 4
        held = [vars(vars(part)[field]) for field in ("moments", "top")]
        assert not any(isinstance(value, Tensor) for fields in held for value in fields.values())


def test_memory_does_not_grow_with_the_examples(data: tuple[Functional, Tensor, Tensor]) -> None:
    """What a scan keeps has the same size after 40 examples as after 10."""
    model, x, y = data

    def size(found: dict[str, Statistics]) -> int:
        arrays = [v for p in found.values() for part in (p.moments, p.top) for v in vars(part).values()]
        return sum(value.nbytes for value in arrays if isinstance(value, np.ndarray))

    assert size(_scan(model, x[:10], y[:10], 5)) == size(_scan(model, x, y, 5))


def test_too_few_examples_leave_gaps() -> None:
    """Where there are fewer examples than k, the rest is marked; values that are no numbers are never on top."""
    units = torch.tensor([[[1.0, 2.0]], [[float("nan"), 5.0]]])
    top = TopK.empty(1, 3).add(units, 10)
    np.testing.assert_array_equal(top.examples, [[10, -1, -1]])
    np.testing.assert_array_equal(top.places, [[1, -1, -1]])
    assert np.isnan(top.values[0, 1:]).all()


def test_of_equal_values_the_earlier_example_leads() -> None:
    """Ties are settled by the example's number, also across batches and merges."""
    units = torch.ones(4, 1, 1)
    parts = [TopK.empty(1, 2).add(units, start) for start in (8, 0, 4)]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    np.testing.assert_array_equal(merged.examples, [[0, 1]])
    np.testing.assert_array_equal(TopK.empty(1, 2).add(units, 0).add(units, 4).examples, [[0, 1]])


def test_moments_of_nothing_change_nothing() -> None:
    """Merging with the moments of no example gives the other part."""
    part = Moments.of(torch.randn(3, 2, 4))
    for merged in (part.merge(Moments.empty(2)), Moments.empty(2).merge(part)):
        np.testing.assert_allclose(merged.mean, part.mean)
        np.testing.assert_allclose(merged.std, part.std)


def test_histograms_count_everything_and_know_quantiles() -> None:
    """Every value is counted, infinities at the ends and not-a-numbers apart, and quantiles lie within a bin."""
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    histogram = Histogram().add(values).add(torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0]))
    assert histogram.counts.sum() == 5003
    assert histogram.nan == 1
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1
    for share in (0.05, 0.3, 0.9):
        assert histogram.quantile(share) == pytest.approx(float(values.quantile(share)), rel=0.13)


def test_wrong_scans_say_what_was_wanted(data: tuple[Functional, Tensor, Tensor]) -> None:
    """No batch and a class out of range are refused."""
    model, x, y = data
    with pytest.raises(UsageError, match="at least one batch"):
        scan(model, [])
    with pytest.raises(UsageError, match="classes are numbered 0 to 1"):
        scan(model, batches(x, y), classes=2)
