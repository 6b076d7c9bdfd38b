"""What units do over many examples, in memory that does not grow with them: each part can be merged with another's."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError
from ..core.rounding import alike
from .outputs import IGNORED

_UNKNOWN = -2
"""A place that is still to be looked up."""
PART = 2**19
"""So many values are summarized at once."""
LARGE = 1024
"""Maps of so many places are searched where they lie; smaller ones are gathered first."""
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclasses.dataclass
class Moments:
    """Count, mean, spread and extremes of each unit over all its places in all examples.

    *Shapes* (units,) each.
    *Error* of the standard deviation: relative 1e-6 times (1 + mean² / variance) in single precision.
    """

    count: float
    mean: Floats
    squares: Floats
    """Sum of squared distances from the mean."""
    low: Floats
    high: Floats

    @classmethod
    def empty(cls, units: int) -> Moments:
        """Moments of nothing."""
        zero, far = np.zeros(units), np.full(units, np.inf)
        return cls(0.0, zero, zero.copy(), far, -far)

    @property
    def std(self) -> Floats:
        """Standard deviation of each unit; 0 for fewer than two values, and for those that differ by rounding alone."""
        found: Floats = np.where(self.still, 0, np.sqrt(np.maximum(self.squares, 0) / max(self.count - 1, 1)))
        return found

    @property
    def still(self) -> NDArray[np.bool_]:
        """The units that say the same for everything that was seen, but for rounding."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.bool_] = alike(self.low, self.high) & (self.count > 0)
        return found

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        count = self.count + other.count
        if count == 0:
            return self
        # Infinities among the values make the moments not-a-number, which is no news to be warned of.
        with np.errstate(invalid="ignore", over="ignore"):
            away = other.mean - self.mean
            return Moments(
                count,
                self.mean + away * (other.count / count),
                self.squares + other.squares + away**2 * (self.count * other.count / count),
                np.minimum(self.low, other.low),
                np.maximum(self.high, other.high),
            )

    @classmethod
    def of(cls, units: Tensor) -> Moments:
        """The moments of a batch (n, units, places)."""
        means, norms, low, high = rows(units)
        return cls.from_rows(means, norms, low, high, units.shape[2])

    @classmethod
    def from_rows(cls, means: Floats, norms: Floats, low: Floats, high: Floats, places: int) -> Moments:
        """The moments of a batch from each example's mean, norm and extremes, each (n, units)."""
        if not len(means):
            return cls.empty(means.shape[1])
        with np.errstate(invalid="ignore", over="ignore"):
            mean = means.mean(0)
            inside = np.maximum(norms**2 - places * means**2, 0).sum(0) if places > 1 else 0.0
            squares = inside + places * ((means - mean) ** 2).sum(0)
        return cls(float(len(means) * places), mean, squares, low.min(0), high.max(0))


def rows(units: Tensor, *, positive: bool = False) -> tuple[Floats, ...]:
    """Mean, norm, lowest and highest value of each unit in each example, from (n, units, places), each (n, units).

    ``positive`` adds the mean of what is above zero, with zero for the rest.
    """
    if units.shape[2] == 1:
        value = _double(units[:, :, 0])
        found = (value, np.abs(value), value, value, np.maximum(value, 0))
        return found if positive else found[:-1]
    asked = _SUMMARIES if positive else _SUMMARIES[:-1]
    # All that is asked of a part is asked while it is in the cache.
    many = max(1, PART // max(1, units[:1].numel()))
    parts = [units[k : k + many] for k in range(0, len(units), many)] or [units]
    summaries = [[summary(part) for summary in asked] for part in parts]
    if len(parts) == 1:
        return tuple(_double(one) for one in summaries[0])
    return tuple(_double(torch.cat(one)) for one in zip(*summaries, strict=True))


_SUMMARIES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda values: values.mean(-1),
    lambda values: torch.linalg.vector_norm(values, dim=-1),
    lambda values: values.amin(-1),
    lambda values: values.amax(-1),
    lambda values: values.clamp_min(0).mean(-1),
)


def _double(tensor: Tensor) -> Floats:
    return tensor.detach().double().cpu().numpy()


@dataclasses.dataclass
class TopK:
    """The examples that drive each unit highest (or lowest), with the place where they do.

    *Shapes* (units, k) each, best first; where there are fewer examples, example and place are -1 and the value is not
    a number. The place is an index into the flattened places; ``numpy.unravel_index(place, layer.shape[1:])`` is its
    position in a map of a convolution. Of equal values the earlier example comes first.
    """

    k: int
    values: Floats
    examples: Whole
    places: Whole
    largest: bool = True

    @classmethod
    def empty(cls, units: int, k: int = 9, largest: bool = True) -> TopK:
        """No examples yet."""
        if k < 1:
            raise UsageError(f"top examples want k of at least 1, got {k}")
        none = np.full((units, k), -1)
        return cls(k, np.full((units, k), np.nan), none, none.copy(), largest)

    def add(self, units: Tensor, start: int, best: Floats | None = None, first: int = 0) -> TopK:
        """With a batch (n, units, places) whose first example has the number ``start``, and whose first place the number ``first``.

        ``best`` is each unit's extreme value in each example, (n, units), when it is known already.
        """
        if best is None:
            best = _double(units.amax(-1) if self.largest else units.amin(-1))
        scores = best if self.largest else -best
        bar = self.values[:, -1] if self.largest else -self.values[:, -1]
        # A unit whose k examples are full takes only better ones, so that most batches cost one comparison.
        better = (scores > bar) | (np.isnan(bar) & ~np.isnan(scores))
        found_units, found = np.nonzero(better.T)
        if not len(found):
            return self
        width = int(np.bincount(found_units).max())
        slot = np.arange(len(found)) - np.searchsorted(found_units, found_units)
        added = TopK.empty(len(self.values), width, self.largest)
        added.values[found_units, slot] = best[found, found_units]
        added.examples[found_units, slot] = start + found
        added.places[found_units, slot] = _UNKNOWN
        # Places are looked for after the choice: only the winners' maps are searched.
        merged = self._join(added)
        new = merged.places == _UNKNOWN
        owners, _ = np.nonzero(new)
        merged.places[new] = self._extremes(units.detach(), merged.examples[new] - start, owners) + first
        return merged

    def _extremes(self, units: Tensor, examples: Whole, owners: Whole) -> Whole:
        """The place of the extreme in the map of each of some examples and units."""
        # NumPy finds the place of an extreme ten times as fast as torch does on a CPU.
        if units.device.type == "cpu" and units.dtype == torch.float32 and units.shape[2] >= LARGE:
            whole = units.numpy()
            seek = np.argmax if self.largest else np.argmin
            return np.array([seek(whole[n, unit]) for n, unit in zip(examples, owners, strict=True)], np.int64)
        maps = units[torch.from_numpy(examples), torch.from_numpy(owners)].float().cpu().numpy()
        found: Whole = maps.argmax(-1) if self.largest else maps.argmin(-1)
        return found

    def merge(self, other: TopK) -> TopK:
        """The best of both parts."""
        return self._join(other)

    def _join(self, other: TopK) -> TopK:
        values = np.concatenate([self.values, other.values], 1)
        examples = np.concatenate([self.examples, other.examples], 1)
        places = np.concatenate([self.places, other.places], 1)
        # The last key counts first; not-a-number sorts to the end, and of equal values the earlier example leads.
        order = np.lexsort((examples, -values if self.largest else values), axis=1)[:, : self.k]
        values, examples, places = (np.take_along_axis(part, order, 1) for part in (values, examples, places))
        return TopK(self.k, values, examples, places, self.largest)


@dataclasses.dataclass
class ClassMeans:
    """The mean activation of each unit for the examples of each class.

    *Shapes* ``mean`` (classes, units), not a number for a class without examples; ``count`` (classes,).
    """

    sums: Floats
    count: Whole

    @classmethod
    def empty(cls, units: int, classes: int) -> ClassMeans:
        """No examples yet."""
        return cls(np.zeros((classes, units)), np.zeros(classes, np.int64))

    @property
    def mean(self) -> Floats:
        """Mean activation by class and unit."""
        with np.errstate(invalid="ignore"):
            return self.sums / np.where(self.count, self.count, np.nan)[:, None]

    def add(self, means: Floats, y: Whole) -> Self:
        """With each example's mean (n, units) and class; those whose class is not known (−100) are left out."""
        means, y = means[y != IGNORED], y[y != IGNORED]
        if len(y) and (y.min() < 0 or y.max() >= len(self.count)):
            raise UsageError(f"classes are numbered 0 to {len(self.count) - 1}, got {int(y.min())} to {int(y.max())}")
        # A product with the one-hot classes adds up all units at once.
        hot = np.zeros((len(self.count), len(y)))
        hot[y, np.arange(len(y))] = 1
        if np.isfinite(means).all():
            sums = self.sums + hot @ means
        else:
            # A product would carry what is not finite from one class to all others.
            sums = self.sums.copy()
            with np.errstate(invalid="ignore", over="ignore"):
                np.add.at(sums, y, means)
        return dataclasses.replace(self, sums=sums, count=self.count + hot.sum(1).astype(np.int64))

    def merge(self, other: ClassMeans) -> ClassMeans:
        """The means of both parts together."""
        return ClassMeans(self.sums + other.sums, self.count + other.count)


_OCTAVES = (-16, 14)
_ARM = 8 * (_OCTAVES[1] - _OCTAVES[0])
"""Bins of one sign: eight an octave from 2^-16 to 2^14."""
BINS = 2 * _ARM + 3
SAMPLE = 32
"""A histogram takes at most so many places of each example."""


@functools.cache
def edges() -> Floats:
    """The edges between the bins of every histogram: eight an octave from 2^-16 to 2^14 on both sides of zero."""
    powers = 2.0 ** np.arange(*_OCTAVES)
    arm = np.append((powers[:, None] * (1 + np.arange(8) / 8)).reshape(-1), 2.0 ** _OCTAVES[1])
    return np.concatenate([-arm[::-1], arm])


@functools.lru_cache(maxsize=64)
def _order(places: int) -> Whole:
    """Places in an order that is the same everywhere and follows nothing in the picture."""
    return np.random.default_rng(places).permutation(places)


def sampled(units: Tensor, start: int, at_most: int = SAMPLE) -> Tensor:
    """At most so many places of each unit and example, (n, units, places).

    Which places depends on the number of the example alone, so that parts of a data set can be scanned apart; one
    example after the other goes on where the last one stopped.
    """
    count = units.shape[2]
    if count <= at_most:
        return units
    turns = (np.arange(start, start + len(units))[:, None] * at_most + np.arange(at_most)) % count
    chosen = torch.from_numpy(_order(count)[turns]).to(units.device)
    return units.gather(2, chosen[:, None].expand(-1, units.shape[1], -1))


@dataclasses.dataclass
class Histograms:
    """How often each unit's values had each size, over fixed edges, so that any two can be merged exactly.

    *Meaning* the middle bin holds zero and all that is smaller than 2^-16; the outermost bins hold infinities too.
    Counted are at most 32 places of each example.
    *Shapes* ``counts`` (units, bins), ``nan`` (units,); between bin k - 1 and bin k lies ``edges()[k - 1]``.
    *Error* of a quantile: at most 13 %, the width of a bin.
    """

    counts: NDArray[np.int32]
    nan: Whole

    @classmethod
    def empty(cls, units: int) -> Histograms:
        """No values yet."""
        return cls(np.zeros((units, BINS), np.int32), np.zeros(units, np.int64))

    def add(self, units: Tensor, start: int = 0) -> Histograms:
        """With a batch (n, units, places) whose first example has the number ``start``."""
        values = sampled(units, start).detach().float().contiguous()
        count = values.shape[1]
        # The first bits of a number are its octave and its eighth of the octave.
        bits = values.view(torch.int32)
        first = (127 + _OCTAVES[0]) * 8
        bins = ((bits & 0x7FFFFFFF) >> 20).clamp_(first - 1, first + _ARM).sub_(first - 1)
        bins = torch.where(bits < 0, -bins, bins).add_(_ARM + 1)
        lost = values.isnan()
        if bool(lost.any()):
            bins = bins.masked_fill(lost, BINS)
        width = BINS + 1
        bins += (torch.arange(count, device=bins.device, dtype=bins.dtype) * width)[:, None]
        found = torch.bincount(bins.reshape(-1), minlength=count * width).reshape(count, width).cpu().numpy()
        # Written in place: a copy for each batch would cost more than the counting.
        self.counts += found[:, :BINS].astype(np.int32)
        self.nan += found[:, BINS]
        return self

    def merge(self, other: Histograms) -> Histograms:
        """The counts of both parts together."""
        return Histograms(self.counts + other.counts, self.nan + other.nan)

    def share_beyond(self, size: float) -> Floats:
        """The share of each unit's values whose magnitude is larger than ``size`` (to within a bin), (units,)."""
        outside = np.flatnonzero(np.abs(_middles()) > size)
        total = np.maximum(self.counts.sum(1), 1)
        found: Floats = self.counts[:, outside].sum(1) / total
        return found

    def quantile(self, unit: int, share: float) -> float:
        """The value below which a share of a unit's values lies; not a number without values."""
        total = np.cumsum(self.counts[unit], dtype=np.int64)
        if not total[-1]:
            return float("nan")
        return float(_middles()[int(np.searchsorted(total, share * total[-1], side="left"))])

    def density(self, unit: int, low: float, high: float, bins: int) -> Floats:
        """The share of a unit's values by equal bins from ``low`` to ``high``, each log bin spread evenly."""
        lines = np.concatenate([[min(low, edges()[0])], edges(), [max(high, edges()[-1])]])
        steps = np.linspace(low, high, bins + 1)
        # Zeros are counted where they are, in the bin that begins with zero.
        steps[np.abs(steps) < 2.0 ** _OCTAVES[0]] = -(2.0 ** _OCTAVES[0])
        inside = np.interp(steps, lines, np.concatenate([[0], np.cumsum(self.counts[unit], dtype=np.int64)]))
        found: Floats = np.diff(inside) / max(int(self.counts[unit].sum()), 1)
        return found


@functools.cache
def _middles() -> Floats:
    line = edges()
    return np.concatenate([line[:1], (line[1:] + line[:-1]) / 2, line[-1:]])
