"""A whole data set run through a model once, keeping only statistics of each layer's units."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from ..core.errors import Damaged, UsageError, not_found
from ..data import nesting
from ..data.examples import shared_as_usual
from ..data.kinds import Kinds
from ..data.nesting import Nested
from .capture import Capture
from .edits import Edit
from .layers import LayerTable, by_unit
from .layers import layers as find_layers
from .own_places import Owners, alike_long
from .statistics import ClassMeans, Histograms, Moments, TopK, Whole, rows

Batch = tuple[Nested, Tensor | None]
FORMAT = 1
"""Files of another number are of another make."""


@dataclasses.dataclass
class Statistics:
    """All that a scan keeps of one layer's units; two of them, over other examples, can be merged.

    *Meaning* values are the layer's own, before a ReLU that may follow; ``positive`` are the class means of what a ReLU
    that follows at once lets through, ``on`` counts the examples in which a unit is somewhere above zero.
    ``places`` is the shape of a unit's map: ``numpy.unravel_index(top.places, places)`` are positions in it.
    """

    moments: Moments
    top: TopK
    on: Whole
    bottom: TopK | None = None
    classes: ClassMeans | None = None
    positive: ClassMeans | None = None
    histogram: Histograms | None = None
    examples: int = 0
    places: tuple[int, ...] = ()

    @classmethod
    def empty(
        cls, units: int, k: int, classes: int, bottom: bool, histogram: bool, rectified: bool, places: Sequence[int]
    ) -> Statistics:
        """Statistics of nothing."""
        return cls(
            Moments.empty(units),
            TopK.empty(units, k),
            np.zeros(units, np.int64),
            TopK.empty(units, k, largest=False) if bottom else None,
            ClassMeans.empty(units, classes) if classes else None,
            ClassMeans.empty(units, classes) if classes and rectified else None,
            Histograms.empty(units) if histogram else None,
            places=tuple(places),
        )

    def add(self, units: Tensor, y: Whole | None, start: int, first: int = 0) -> None:
        """Take in a batch (n, units, …) whose first example has the number ``start``; before its places were ``first`` others."""
        flat = units.reshape(units.shape[0], units.shape[1], -1)
        flat = flat if flat.is_floating_point() else flat.float()
        by_class = self.positive is not None and y is not None
        means, norms, low, high, *positives = rows(flat, positive=by_class)
        self.moments = self.moments.merge(Moments.from_rows(means, norms, low, high, flat.shape[2]))
        self.top = self.top.add(flat, start, high, first)
        self.on = self.on + (high > 0).sum(0)
        if self.bottom is not None:
            self.bottom = self.bottom.add(flat, start, low, first)
        if self.classes is not None and y is not None:
            self.classes = self.classes.add(means, y)
        if self.positive is not None and y is not None:
            self.positive = self.positive.add(positives[0], y)
        if self.histogram is not None:
            self.histogram = self.histogram.add(flat, start)
        self.examples += len(flat)

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both parts together."""
        if len(self.on) != len(other.on) or self.places != other.places:
            raise UsageError(
                f"only statistics of one layer can be merged: {len(self.on)} units of {self.places} places do not go "
                f"with {len(other.on)} of {other.places}"
            )
        return Statistics(
            self.moments.merge(other.moments),
            self.top.merge(other.top),
            self.on + other.on,
            self.bottom.merge(other.bottom) if self.bottom and other.bottom else None,
            self.classes.merge(other.classes) if self.classes and other.classes else None,
            self.positive.merge(other.positive) if self.positive and other.positive else None,
            self.histogram.merge(other.histogram) if self.histogram and other.histogram else None,
            self.examples + other.examples,
            self.places,
        )

    def position(self, place: int) -> tuple[int, ...]:
        """A flat place as a position in the unit's map."""
        return tuple(int(k) for k in np.unravel_index(place, self.places)) if self.places else ()


_PARTS: dict[str, type] = {
    "moments": Moments, "top": TopK, "bottom": TopK, "classes": ClassMeans, "positive": ClassMeans,
    "histogram": Histograms,
}


@dataclasses.dataclass
class Scan(Mapping[str, Statistics]):
    """Statistics of layers by name, over a part of a data set or all of it; parts can be merged, saved and taken up.

    ``examples`` is how many were seen, ``start`` the number of the first of them. ``about`` is plain data about the
    model and the data, kept with the file.
    """

    layers: dict[str, Statistics] = dataclasses.field(default_factory=dict)
    examples: int = 0
    start: int = 0
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> Statistics:
        if name not in self.layers:
            raise not_found("scanned layer", name, self.layers)
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __repr__(self) -> str:
        units = sum(len(part.on) for part in self.layers.values())
        return f"<Scan of {self.examples} examples: {units} units in {len(self.layers)} layer{'s' * (len(self.layers) != 1)}>"

    def merge(self, other: Scan) -> Scan:
        """The scan of both parts; of equal values the example with the lower number leads, in whatever order."""
        missing = set(self.layers) ^ set(other.layers)
        if missing and self.layers and other.layers:
            raise UsageError(f"only scans of the same layers can be merged; these differ in {', '.join(sorted(missing))}")
        names = self.layers or other.layers
        both = {
            name: self.layers[name].merge(other.layers[name]) if self.layers and other.layers else part
            for name, part in names.items()
        }
        return Scan(both, self.examples + other.examples, min(self.start, other.start), {**other.about, **self.about})

    def save(self, path: str | Path) -> Path:
        """Write one file, beside and then renamed, so that a reader never sees half of it."""
        arrays: dict[str, np.ndarray] = {}
        told: dict[str, Any] = {}
        for number, (name, part) in enumerate(self.layers.items()):
            facts: dict[str, Any] = {"name": name, "examples": part.examples, "places": list(part.places)}
            arrays[f"{number}.on"] = part.on
            for word in _PARTS:
                piece = getattr(part, word)
                if piece is None:
                    continue
                facts[word] = {key: value for key, value in vars(piece).items() if not isinstance(value, np.ndarray)}
                for key, value in vars(piece).items():
                    if isinstance(value, np.ndarray):
                        arrays[f"{number}.{word}.{key}"] = np.ascontiguousarray(value)
            told[str(number)] = facts
        about = {
            "format": FORMAT, "layers": told, "examples": self.examples, "start": self.start, "about": self.about,
        }
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{id(self):x}")
        try:
            with shared_as_usual(beside):
                save_file(arrays, str(beside), {"scan": json.dumps(about)})
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls, path: str | Path) -> Scan:
        """Read what :meth:`save` wrote. *Raises* Damaged for any other file."""
        try:
            with safe_open(str(path), "np") as file:
                about = json.loads((file.metadata() or {})["scan"])
                arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}")
            layers = {facts["name"]: _read(facts, number, arrays) for number, facts in about["layers"].items()}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise Damaged(f"{str(path)!r} does not hold a scan: {error}") from error
        return cls(layers, about["examples"], about["start"], about["about"])


def _read(facts: dict[str, Any], number: str, arrays: dict[str, np.ndarray]) -> Statistics:
    parts = {}
    for word, kind in _PARTS.items():
        if word in facts:
            head = f"{number}.{word}."
            own = {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}
            parts[word] = kind(**facts[word], **own)
    return Statistics(
        **parts, on=arrays[f"{number}.on"], examples=facts["examples"], places=tuple(facts["places"])
    )


def batches(x: Nested, y: Tensor | None = None, *, size: int = 64, start: int = 0) -> Iterator[Batch]:
    """Cut examples into batches for a scan, from the example ``start`` on."""
    for first in range(start, nesting.size(x), size):
        part = slice(first, first + size)
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
    until: str | None = None,
    into: Scan | None = None,
    table: LayerTable | None = None,
    kind: Kinds | None = None,
    edits: Sequence[Edit | Mapping[str, Any]] = (),
    cancel: Callable[[], object] | None = None,
    progress: Callable[[Scan], object] | None = None,
) -> Scan:
    """Run batches ``(x, y or None)`` through a model in eval mode and keep statistics of each layer's units.

    *Meaning* ``start`` is the number of the first example, so that parts of a data set can be scanned apart and merged;
    ``into`` goes on with a scan: the data then begins behind what it has seen. ``until`` stops each pass after a
    layer. ``table`` are the model's layers, found from the first batch when left out. ``kind`` tells what fills texts up:
    what a layer makes of that is not counted. ``progress`` hears of the scan
    after each batch.
    *Shapes* as in Moments, TopK, ClassMeans and Histograms.
    *Cost* about 1.3 forward passes over the data on a large network, with histograms 1.5; memory for one batch,
    whatever the number of examples.
    *Raises* UsageError for no batch at all; whatever ``cancel`` raises.
    """
    found, owners = into if into is not None else Scan(start=start), Owners(kind)
    done, began = found.start + found.examples, found.examples
    labels: Whole | None = None

    def take(name: str, tensor: Tensor) -> None:
        layer = table[name] if table is not None and table.has(name) else None
        if layer is None or tensor.ndim == 0 or len(tensor) != count or (count > 1 and layer.unlike):
            return  # rows that are not the examples', one for each in their order, would count for others
        units = by_unit(layer, tensor)
        if name not in found.layers:
            found.layers[name] = Statistics.empty(
                units.shape[1], k, classes, bottom, histogram, layer.rectified, units.shape[2:]
            )
        for part, first, own in alike_long(units, owners.own(units)):
            found.layers[name].add(own, None if labels is None else labels[part], done + part.start, first)

    with Capture(model, layers, reduce=take, edits=edits, cancel=cancel, until=until) as look:
        for x, y in data:
            if table is None:
                table = find_layers(look.model, x)
            count = nesting.size(x)
            labels = _labels(y) if classes else None
            look(owners.read(x))
            done += count
            found.examples += count
            if progress is not None:
                progress(found)
    if found.examples == 0 or (into is None and found.examples == began):
        raise UsageError("a scan wants at least one batch, got none")
    return found


def _labels(y: Tensor | None) -> Whole | None:
    return None if y is None else np.asarray(y.detach().cpu().reshape(len(y), -1)[:, 0], np.int64)
