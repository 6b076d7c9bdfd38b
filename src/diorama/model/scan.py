"""A whole data set run through a model once, keeping only statistics of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from ..core.errors import UsageError
from ..data import nesting
from ..data.nesting import Nested
from .capture import Capture
from .edits import Edit
from .layers import Layer, LayerTable, by_unit
from .layers import layers as find_layers
from .statistics import ClassMeans, Histogram, Moments, TopK, Whole, rows

Batch = tuple[Nested, Tensor | None]


@dataclasses.dataclass
class Statistics:
    """All that a scan keeps of one layer; two of them, of the same layer over other examples, can be merged."""

    moments: Moments
    top: TopK
    bottom: TopK | None = None
    classes: ClassMeans | None = None
    histogram: Histogram | None = None
    examples: int = 0

    @classmethod
    def empty(cls, units: int, k: int, classes: int, bottom: bool, histogram: bool) -> Statistics:
        """Statistics of nothing."""
        return cls(
            Moments.empty(units),
            TopK.empty(units, k),
            TopK.empty(units, k, largest=False) if bottom else None,
            ClassMeans.empty(units, classes) if classes else None,
            Histogram() if histogram else None,
        )

    def add(self, units: Tensor, y: Whole | None, start: int) -> None:
        """Take in a batch (n, units, …) whose first example has the number ``start``."""
        flat = units.reshape(units.shape[0], units.shape[1], -1)
        flat = flat if flat.is_floating_point() else flat.float()
        means, norms, low, high = rows(flat)
        self.moments = self.moments.merge(Moments.from_rows(means, norms, low, high, flat.shape[2]))
        self.top = self.top.add(flat, start, high)
        if self.bottom is not None:
            self.bottom = self.bottom.add(flat, start, low)
        if self.classes is not None and y is not None:
            self.classes = self.classes.add(means, y)
        if self.histogram is not None:
            self.histogram = self.histogram.add(flat)
        self.examples += len(flat)

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both parts together."""
        return Statistics(
            self.moments.merge(other.moments),
            self.top.merge(other.top),
            self.bottom.merge(other.bottom) if self.bottom and other.bottom else None,
            self.classes.merge(other.classes) if self.classes and other.classes else None,
            self.histogram.merge(other.histogram) if self.histogram and other.histogram else None,
            self.examples + other.examples,
        )


def batches(x: Nested, y: Tensor | None = None, *, size: int = 64) -> Iterator[Batch]:
    """Cut examples into batches for a scan."""
    for start in range(0, nesting.size(x), size):
        part = slice(start, start + size)
        yield nesting.select(x, part), None if y is None else y[part]


def scan(
    model: nn.Module,
    data: Iterable[Batch],
    layers: Sequence[str] | Literal["all"] = "all",
    *,
    k: int = 9,
    classes: int = 0,
    bottom: bool = False,
    histogram: bool = False,
    start: int = 0,
    table: LayerTable | None = None,
    edits: Sequence[Edit | Mapping[str, Any]] = (),
    cancel: Callable[[], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Statistics]:
    """Run batches ``(x, y or None)`` through a model in eval mode and keep statistics of each layer.

    *Meaning* ``start`` is the number of the first example, so that parts of a data set can be scanned apart and merged.
    ``table`` are the model's layers, found from the first batch when left out.
    ``progress`` hears the number of examples done.
    *Shapes* as in Moments, TopK, ClassMeans and Histogram.
    *Cost* about 1.2 forward passes over the data on a large network; memory for one batch, whatever the number of
    examples.
    *Raises* UsageError for no batch at all; whatever ``cancel`` raises.
    """
    found: dict[str, Statistics] = {}
    done = start
    labels: Whole | None = None

    def take(name: str, tensor: Tensor) -> None:
        layer = _layer(name)
        if layer is None or tensor.ndim == 0 or len(tensor) != count:
            return
        units = by_unit(layer, tensor)
        if name not in found:
            found[name] = Statistics.empty(units.shape[1], k, classes, bottom, histogram)
        found[name].add(units, labels, done)

    def _layer(name: str) -> Layer | None:
        assert table is not None
        return table[name] if name in table.names else None

    with Capture(model, layers, reduce=take, edits=edits, cancel=cancel) as look:
        for x, y in data:
            if table is None:
                table = find_layers(look.model, x)
            count = nesting.size(x)
            labels = (
                None if y is None or not classes else np.asarray(y.detach().cpu().reshape(len(y), -1)[:, 0], np.int64)
            )
            look(x)
            done += count
            if progress is not None:
                progress(done - start)
    if done == start:
        raise UsageError("a scan wants at least one batch, got none")
    return found
