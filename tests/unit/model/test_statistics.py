"""Statistics over many examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import ZOO, Functional, Specimen

from diorama.core.errors import Damaged, UsageError
from diorama.model import statistics
from diorama.model.capture import Capture
from diorama.model.layers import by_unit, layers
from diorama.model.scan import Scan, Statistics, batches, scan
from diorama.model.statistics import BINS, ClassMeans, Histograms, Moments, TopK, edges, sampled

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


def _scan(model: Functional, x: Tensor, y: Tensor, size: int, start: int = 0) -> Scan:
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
    """Every value of a unit is counted, infinities at the ends and not-a-numbers apart; quantiles lie within a bin."""
    values = torch.randn(5000, 2, 1, generator=torch.Generator().manual_seed(0))
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0]).reshape(4, 1, 1).expand(-1, 2, -1)
    histogram = Histograms.empty(2).add(values).add(odd)
    assert histogram.counts.shape == (2, BINS)
    np.testing.assert_array_equal(histogram.counts.sum(1), 5003)
    np.testing.assert_array_equal(histogram.nan, 1)
    np.testing.assert_array_equal(histogram.counts[:, [0, -1]], 1)
    for unit in (0, 1):
        for share in (0.05, 0.3, 0.9):
            wanted = float(values[:, unit].quantile(share))
            assert histogram.quantile(unit, share) == pytest.approx(wanted, rel=0.13, abs=0.01)
        beyond = float((values[:, unit].abs() > 1).float().mean())
        assert histogram.share_beyond(1.0)[unit] == pytest.approx(beyond, abs=0.02)


def test_histograms_count_each_value_between_its_edges() -> None:
    """The bin of a value is the one whose edges hold it, on both sides of zero and over all sizes."""
    values = torch.randn(4000, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.linspace(-7, 6, 4000)
    histogram = Histograms.empty(1).add(values.reshape(-1, 1, 1))
    real = values.double().numpy()
    bins = np.where(real > 0, np.searchsorted(edges(), real, "right"), np.searchsorted(edges(), real, "left"))
    np.testing.assert_array_equal(histogram.counts[0], np.bincount(bins, minlength=BINS))


def test_a_histogram_can_be_drawn_in_equal_bins() -> None:
    """Shares by equal bins add up to one, and zeros are counted in the bin that begins with zero."""
    histogram = Histograms.empty(1).add(torch.tensor([0.0, 0.0, 0.0, 0.55, -0.3]).reshape(-1, 1, 1))
    np.testing.assert_allclose(histogram.density(0, -1, 1, 4), [0, 0.2, 0.6, 0.2], atol=1e-12)
    np.testing.assert_allclose(histogram.density(0, 0, 1, 2), [0.6, 0.2], atol=1e-12)


def test_a_histogram_samples_by_the_example_alone() -> None:
    """Which places of a large map are counted depends on the example's number, and in turn all places come."""
    units = torch.arange(100.0).repeat(8, 1, 1)
    whole = sampled(units, 5)
    assert whole.shape == (8, 1, 32)
    np.testing.assert_array_equal(whole[3:], sampled(units[3:], 8))
    assert len(torch.unique(whole[:4])) == 100


def test_scans_go_on_where_they_stopped_and_merge_bitwise(data: tuple[Functional, Tensor, Tensor]) -> None:
    """Cut between two batches, halves merged in either order and a scan taken up again have the counts, strongest
    examples and extremes of the whole to the bit, the sums to rounding.
    """
    model, x, y = data
    options = {"k": 5, "classes": 4, "bottom": True, "histogram": True}
    whole = _scan(model, x, y, 8)
    first, second = _scan(model, x[:16], y[:16], 8), _scan(model, x[16:], y[16:], 8, start=16)
    again = scan(model, batches(x[:16], y[:16], size=8), **options)  # type: ignore[arg-type]
    again = scan(model, batches(x, y, size=8, start=16), into=again, **options)  # type: ignore[arg-type]
    for other in (first.merge(second), second.merge(first), again):
        assert other.examples == 40
        assert other.start == 0
        for name, part in whole.items():
            for top in ("top", "bottom"):
                for field in ("values", "examples", "places"):
                    np.testing.assert_array_equal(getattr(getattr(other[name], top), field), getattr(getattr(part, top), field))
            np.testing.assert_array_equal(other[name].on, part.on)
            np.testing.assert_array_equal(other[name].moments.low, part.moments.low)
            assert other[name].histogram is not None
            assert part.histogram is not None
            np.testing.assert_array_equal(other[name].histogram.counts, part.histogram.counts)
            np.testing.assert_allclose(other[name].moments.mean, part.moments.mean, rtol=1e-12, atol=1e-12)
            assert (other[name].positive is None) == (part.positive is None)
            if part.positive is not None and other[name].positive is not None:
                np.testing.assert_allclose(other[name].positive.mean, part.positive.mean, rtol=1e-12, atol=1e-12)


def test_what_a_relu_lets_through_is_averaged_by_class(data: tuple[Functional, Tensor, Tensor]) -> None:
    """Behind a layer that a ReLU follows, the class means of the positive part, and the examples that turn it on."""
    model, x, y = data
    found, table = _scan(model, x, y, 7), layers(model, x)
    assert table["norm"].rectified
    with Capture(model, keep=["norm", "conv1"]) as look:
        look(x)
    units = look["norm"].flatten(2)
    part = found["norm"]
    assert part.positive is not None
    assert found["conv1"].positive is None
    for label in range(4):
        wanted = units[y == label].clamp_min(0).mean((0, 2)).numpy()
        np.testing.assert_allclose(part.positive.mean[label], wanted, atol=1e-12)
    np.testing.assert_array_equal(part.on, (units.amax(2) > 0).sum(0).numpy())
    assert part.position(int(part.top.places[0, 0])) == np.unravel_index(int(part.top.places[0, 0]), (8, 8))


def test_a_saved_scan_is_the_same_scan(data: tuple[Functional, Tensor, Tensor], tmp_path: Path) -> None:
    """What is read back equals what was written, and another file is refused."""
    model, x, y = data
    whole = _scan(model, x, y, 8)
    whole.about["source"] = "probe"
    again = Scan.load(whole.save(tmp_path / "deep" / "one.safetensors"))
    assert (again.examples, again.start, again.about) == (40, 0, {"source": "probe"})
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "one.safetensors"]
    for name, part in whole.items():
        _same(part, again[name])
        assert again[name].places == part.places
    (tmp_path / "bad").write_bytes(b"nothing")
    with pytest.raises(Damaged, match="does not hold a scan"):
        Scan.load(tmp_path / "bad")


def test_only_what_belongs_together_is_merged(data: tuple[Functional, Tensor, Tensor]) -> None:
    """Scans of other layers, and statistics of layers of another size, are refused."""
    model, x, y = data
    whole = _scan(model, x, y, 8)
    with pytest.raises(UsageError, match="same layers"):
        whole.merge(scan(model, batches(x), ["conv1"]))
    with pytest.raises(UsageError, match="one layer"):
        whole["conv1"].merge(whole["conv2"])


def test_what_is_not_finite_stays_in_its_class() -> None:
    """An infinite mean of one example makes its class infinite, and leaves the other classes as they are."""
    means = np.array([[1.0, np.inf], [3.0, 5.0]])
    found = ClassMeans.empty(2, 2).add(means, np.array([0, 1]))
    np.testing.assert_array_equal(found.mean, [[1, np.inf], [3, 5]])


def test_wrong_scans_say_what_was_wanted(data: tuple[Functional, Tensor, Tensor]) -> None:
    """No batch and a class out of range are refused."""
    model, x, y = data
    with pytest.raises(UsageError, match="at least one batch"):
        scan(model, [])
    with pytest.raises(UsageError, match="classes are numbered 0 to 1"):
        scan(model, batches(x, y), classes=2)


def test_maps_summarized_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few maps are summarized at once, mean, norm, extremes and the mean above zero are the same to the bit."""
    units = torch.randn(7, 5, 33, generator=torch.Generator().manual_seed(3))
    whole = statistics.rows(units, positive=True)
    monkeypatch.setattr(statistics, "PART", 2 * 5 * 33)
    for one, other in zip(whole, statistics.rows(units, positive=True), strict=True):
        np.testing.assert_array_equal(one, other)
    plain = units.double().numpy()
    expected = (plain.mean(-1), np.linalg.norm(plain, axis=-1), plain.min(-1), plain.max(-1), plain.clip(0).mean(-1))
    for one, other in zip(whole, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
