"""Which units read which, through whatever lies between two layers: found by following every axis through the ops of a pass."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import nesting
from ..data.nesting import Nested
from .axes import tensors_in
from .batch_size import whole
from .columns import FollowedColumns
from .layers import Layer
from .mode import OpMode, Trail
from .ops import OPS
from .plain_module import fed, named_modules, unwrap
from .preservation import Preservation
from .recurrent_kernels import KERNELS, Kernel
from .recurrent_tracks import RecurrentTracks, picked
from .tracks import Tracks, Whole

Units = tuple[Whole, Whole]
"""Some units: the number of the layer of each, and its own number there."""
_NONE = np.zeros(0, np.int64)
_MIXING = ("weights", "product")
_LOOKUPS = ("embedding", "embedding_bag", "getitem", "index_select", "gather", "take_along_dim")
"""What takes rows of a table of weights: which rows is told by numbers that are no units."""
CANDIDATE = {"LSTM": (4, 2), "GRU": (3, 2), "RNN": (1, 0)}
"""How many gates a recurrent layer's weights hold, and which of them makes what is written."""


@dataclasses.dataclass(frozen=True)
class WeightAxes:
    """What a layer reads: along which axis of its weight, and whose value each place of that axis takes."""

    weight: str
    inputs: int
    answers: int
    """The axes of what is read and of the layer's own units."""
    streams: Whole
    """For each place: the number of what is read there. Units that are summed, or handed on by a norm or a pooling, have one number."""
    gates: int = 1
    """So many gates of each unit lie one behind the other along the axis of the units."""
    candidate: int = 0
    """Which gate makes what is written."""
    behind: str = ""
    """Of an attention: the weight that its values are multiplied with, whose product with theirs leads from what is read to what is answered."""

    def held(self, state: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The weight among others by name; None where it is not there."""
        weight = state.get(self.weight)
        if not self.behind or weight is None:
            return weight
        out = state.get(self.behind)
        # Where queries, keys and values have one weight, the rows of the values come last.
        return None if out is None else np.asarray(out, np.float32) @ np.asarray(weight[-out.shape[1] :], np.float32)


@dataclasses.dataclass(frozen=True)
class Connections:
    """Layers with weights in call order; of each the number of what its units write, and what it reads, where both could be found."""

    layers: tuple[str, ...]
    writes: tuple[Whole, ...]
    reads: tuple[WeightAxes | None, ...]
    feeds: np.ndarray
    """Whether a layer (row) reads what another (column) answers with no weights between: units that are called again with others' share
    their numbers, and need not meet."""
    aside: tuple[str, ...] = ()
    """Layers that also read, or are read by, weights that are not among these."""
    tables: tuple[str, ...] = ()
    """Those of them that read a row of weights which an example chooses, and which are no layer's."""
    signs: Mapping[tuple[int, int], np.ndarray] = dataclasses.field(default_factory=dict)
    """Of a layer and one that it reads, where that is known: the sign with which each place of what it reads holds that one's answers,
    0 where it does not, not a number where it can be both. Where several layers stand alike they share one array."""
    _missed: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes: of a thousand layers there are half a million pairs, most of which share their signs."""
        arrays = [self.feeds, *self.writes, *(one.streams for one in self.reads if one is not None)]
        return sum({id(one): one.nbytes for one in (*arrays, *self.signs.values())}.values()) + 200 * len(self.signs)

    def weighs(self, state: Mapping[str, np.ndarray], layer: int) -> bool:
        """Whether there are weights for each thing that a layer reads."""
        reader = self.reads[layer]
        return reader is not None and self._fitting(reader, state, layer) is not None

    def _fitting(self, reader: WeightAxes, state: Mapping[str, np.ndarray], layer: int) -> np.ndarray | None:
        """The weight of a layer, where it is as large as what is read and what is answered."""
        weight = reader.held(state)
        if weight is None or weight.ndim < 2 or not weight.shape[reader.inputs] == len(reader.streams) > 0:
            return None
        return weight if reader.gates <= 1 or weight.shape[reader.answers] == reader.gates * len(self.writes[layer]) else None

    def strengths(self, state: Mapping[str, np.ndarray], layer: int, source: int | None = None) -> tuple[np.ndarray, Whole]:
        """How strongly each unit of a layer reads each stream, (units, streams), signed, and the numbers of the streams.

        *Meaning* the weight, else the length of the weights between with the sign of their sum; of a recurrent layer the length over all
        gates, with the sign of the candidate's weights; of an attention the way through its values, over all heads. With a source only
        what it reads of that layer: through a sum the columns of that sum alone, through a difference with its sign.
        """
        reader = self.reads[layer]
        weight = self._fitting(reader, state, layer) if reader is not None else None
        if reader is None or weight is None:
            return np.zeros((len(self.writes[layer]), 0), np.float32), _NONE
        values = np.moveaxis(np.asarray(weight, np.float32), (reader.answers, reader.inputs), (0, 1))
        if reader.gates > 1:
            values = np.moveaxis(values.reshape(reader.gates, -1, *values.shape[1:]), 0, -1)
        flat = values.reshape(*values.shape[:2], -1)
        if source is not None and (signs := self.signs.get((layer, source))) is not None:
            flat = flat * signs[None, :, None]
        many = flat.shape[2] > 1
        total = flat[:, :, reader.candidate] if reader.gates > 1 else flat.sum(2) if many else flat[:, :, 0]
        square = np.einsum("abc,abc->ab", flat, flat) if many else total * total
        order = np.argsort(reader.streams, kind="stable")
        streams, begins = np.unique(reader.streams[order], return_index=True)
        if len(streams) < len(order):
            total = np.add.reduceat(total[:, order], begins, axis=1)
            square = np.add.reduceat(square[:, order], begins, axis=1)
        else:
            total, square = total[:, order], square[:, order]
        return np.sqrt(square) * np.where(total < 0, np.float32(-1), np.float32(1)), streams

    def writers(self, stream: int, before: int) -> Units:
        """The units that write a stream, of layers before one."""
        layers, units = _of(self._written, stream)
        kept = (layers < before) & self.followed[before, layers]
        return layers[kept], units[kept]

    def readers(self, stream: int, behind: int) -> list[int]:
        """The layers behind one that read a stream."""
        return [layer for layer in _of(self._read, stream)[0].tolist() if layer > behind and self.followed[layer, behind]]

    @functools.cached_property
    def followed(self) -> np.ndarray:
        """Whether a layer (row) reads what another (column) answers along units that were followed."""
        found: np.ndarray = self.feeds & ~self.unfollowed
        return found

    @functools.cached_property
    def unfollowed(self) -> np.ndarray:
        """Whether a layer (row) reads what another (column) answers in a way that no unit was followed along."""
        return np.array([self.missed(layer) for layer in range(len(self.layers))], bool).reshape(self.feeds.shape)

    def missed(self, layer: int) -> np.ndarray:
        """A row of :attr:`unfollowed` alone, kept: of a network of a thousand layers a few are wanted."""
        if layer not in self._missed:
            found, reads = self.feeds[layer].copy(), self.reads[layer]
            if reads is not None:
                streams, writers, _ = self._written
                meets = np.bincount(writers[np.isin(streams, reads.streams)], minlength=len(self.layers)) > 0
                # Layers that stand alike in what is read, and write alike, are asked once.
                told: dict[tuple[int, bytes], bool] = {}
                for other in np.flatnonzero(found & meets).tolist():
                    signs = self.signs.get((layer, other))
                    key = (other if signs is None else -id(signs), self.writes[other].tobytes())
                    if key not in told:
                        told[key] = self._mixed(layer, other, reads.streams)
                    found[other] = told[key]
            self._missed[layer] = found
        return self._missed[layer]

    def _mixed(self, layer: int, source: int, streams: Whole) -> bool:
        """Whether a layer reads another mixed with others in a way that leaves open which weights are its own, or of which sign."""
        signs = self.signs.get((layer, source))
        if signs is not None:
            own = signs[np.isin(streams, self.writes[source])]
            return bool(np.isnan(own).any() or not own.any())
        others = [one for one in np.flatnonzero(self.feeds[layer]).tolist() if one != source]
        return any(np.isin(self.writes[source], self.writes[one]).any() for one in others)

    @functools.cached_property
    def parted(self) -> np.ndarray:
        """Whether a layer (row) reads what another (column) answers by some columns of its streams alone, or with a turned sign."""
        found = np.zeros_like(self.feeds)
        told: dict[tuple[int, int, bytes], bool] = {}
        for (layer, source), signs in self.signs.items():
            reads, key = self.reads[layer], (layer, id(signs), self.writes[source].tobytes())
            if key not in told:
                told[key] = reads is not None and not (signs[np.isin(reads.streams, self.writes[source])] == 1).all()
            found[layer, source] = told[key]
        return found

    @property
    def lost(self) -> list[str]:
        """The layers of which it is not known what they read, or who reads them, as it could not be followed through all that lies between."""
        return [name for k, name in enumerate(self.layers) if name in self.aside or self.unfollowed[k].any() or self.unfollowed[:, k].any()]

    @functools.cached_property
    def _written(self) -> tuple[Whole, Whole, Whole]:
        """All streams in order, with the layer and the unit that write each."""
        return _sorted(self.writes)

    @functools.cached_property
    def _read(self) -> tuple[Whole, Whole, Whole]:
        """All streams in order, with the layer that reads each."""
        return _sorted([np.unique(one.streams) if one is not None else _NONE for one in self.reads])


def _sorted(rows: Sequence[Whole]) -> tuple[Whole, Whole, Whole]:
    streams = np.concatenate([*rows, _NONE])
    order = np.argsort(streams, kind="stable")
    layers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    places = np.concatenate([*(np.arange(len(row)) for row in rows), _NONE])
    return streams[order], layers[order], places[order]


def _of(index: tuple[Whole, Whole, Whole], stream: int) -> Units:
    begin, end = np.searchsorted(index[0], [stream, stream + 1])
    return index[1][begin:end], index[2][begin:end]


def connections(model: nn.Module, x: Nested, layers: Sequence[Layer]) -> Connections:
    """Find what each of some layers reads by running the model once.

    *Meaning* a residual sum is one stream that several layers write. The cells of recurrent layers are units, by their
    answers at any moment and their last states. ``nn.MultiheadAttention`` reads what its values are made of: what queries and keys alone are made
    of says where it looks, and is not told, nor is what is read through a grouped convolution or heads that the model cuts itself.
    *Cost* one forward pass on two examples.
    """
    plain = unwrap(model)
    few = whole(plain, fed(plain, nesting.select(x, slice(0, 2))))
    follow = RecurrentTracks(plain, {layer.name: layer.unit_axis for layer in layers})
    trail = Trail(named_modules(plain), closed=follow.closed)
    names = tuple(layer.name for layer in layers)
    fed_by = _TensorOrigins(plain, trail, layers)
    with Preservation(plain), trail, torch.no_grad(), OpMode().on_op(follow.ran).on_op(fed_by.ran):
        follow.begin()
        fed_by.begin(few)
        nesting.call(plain, few)
    writes = [_streams(follow, follow.cells.get(layer.weight or "") if layer.part else follow.layers.get(layer.name)) for layer in layers]
    # A weight that several modules hold, as a table does with the layer of the answers, goes by the first of its names.
    first = {name: follow.names.get(id(one)) or name for name, one in plain.named_parameters(remove_duplicate=False)}
    reads = [_reader(follow, layer, own, first.get(layer.weight or "")) for layer, own in zip(layers, writes, strict=True)]
    free = -1
    for number, (layer, own) in enumerate(zip(layers, writes, strict=True)):
        if len(own) != layer.units:
            # Nobody knows who reads them: numbers that stand nowhere else.
            writes[number] = np.arange(free - layer.units + 1, free + 1)
            free -= layer.units
    place = {name: number for number, name in enumerate(names)}
    widths = {name: len(one.streams) for name, one in zip(names, reads, strict=True) if one is not None}
    signs = {(place[one], place[other]): found for (one, other), found in fed_by.columns.signs(widths).items() if other in place}
    return Connections(names, tuple(writes), tuple(reads), fed_by.feeds(), fed_by.aside(), fed_by.tables(), signs)


class _TensorOrigins:
    """Whose answers each tensor of a pass is made of, with no weights between."""

    OTHER = ""
    """Weights that are not those of a layer asked for."""
    TABLE = " table"
    """Such weights of which an example chooses a row."""
    INPUT = " input"
    """What the model is given: a name that no layer has, as the two before."""

    def __init__(self, model: nn.Module, trail: Trail, layers: Sequence[Layer]) -> None:
        self.model, self.trail, self.names = model, trail, tuple(layer.name for layer in layers)
        self.parts = {layer.weight: layer.name for layer in layers if layer.part}
        """The layers and ways of recurrent modules, by their weights of what comes in."""
        self.weights: set[int] = set()
        self.made: dict[int, frozenset[str]] = {}
        self.alive: list[Tensor] = []
        self.states: dict[int, list[str]] = {}
        """The layers and ways of a recurrent kernel whose last states lie one behind the other in a tensor."""
        self.columns = FollowedColumns()
        self.by: defaultdict[str, set[str]] = defaultdict(set)
        """Of each layer, and of others together, whose answers it reads."""

    def begin(self, given: Nested) -> None:
        """Know the weights, as they are during the pass, and what the model is given."""
        self.made.update((id(one), frozenset([self.INPUT])) for one in tensors_in(given))
        self.alive += tensors_in(given)
        self.weights = {id(one) for one in self.model.parameters() if one.ndim > 1}
        self.owners = {id(one): self.parts.get(name, self.OTHER) for name, one in self.model.named_parameters()}

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: what it answers is made of what it was given, or of weights."""
        given = [*tensors_in(args), *tensors_in(kwargs)]
        sources = frozenset().union(*(self.made.get(id(one), ()) for one in given))
        plain = name.rstrip("_")
        if name in KERNELS and not kwargs:
            self._kernel(Kernel.of(name, tuple(args)), sources - {self.INPUT}, list(tensors_in(result)), args)
            return
        weighs = any(id(one) in self.weights for one in given)
        # Rows that are the same for all examples, such as those of places, are as constant as a bias.
        looks_up = weighs and plain in _LOOKUPS and any(self.made.get(id(one)) for one in given)
        if looks_up or (weighs and plain not in _LOOKUPS and (plain not in OPS or OPS[plain].kind in _MIXING)):
            own = next((one for one in reversed(self.trail.open) if one in self.names), self.TABLE if looks_up else self.OTHER)
            self.by[own] |= sources - {self.INPUT}
            sources = frozenset([own])
            if not looks_up:
                self.columns.read(own, plain, args)
            self.columns.wrote(own, list(tensors_in(result)))
        elif sources - {self.INPUT}:
            self.columns.passed(plain, func, args, kwargs, given[:1] if plain == "setitem" else list(tensors_in(result)))
        results = list(tensors_in(result))
        states = self.states.get(id(args[0]), []) if args else []
        apart = [frozenset([states[number]]) for number in picked(name, args, kwargs, len(states))] if states else []
        # What is written into a tensor is part of it from then on.
        written = given[:1] if plain == "setitem" else results
        for one, made in zip(written, apart if len(apart) == len(written) else [sources] * len(written), strict=True):
            self.made[id(one)] = made
            self.alive.append(one)

    def _kernel(self, call: Kernel, sources: frozenset[str], results: Sequence[Tensor], args: Any) -> None:
        """Each layer of a recurrent kernel reads the ways of the one before."""
        every: list[str] = []
        ways = sources
        for begin in range(0, len(call.weights), call.ways):
            own = [self.owners.get(id(weights[0]), self.OTHER) for weights in call.weights[begin : begin + call.ways]]
            for one in own:
                self.by[one] |= ways
                if not begin:
                    self.columns.read(one, "kernel", args)
            ways = frozenset(own)
            every += own
        for tensor, made in zip(results, [ways, *(frozenset(every) for _ in results[1:])], strict=True):
            self.made[id(tensor)] = made
            self.columns.untold(made, [tensor])
            if tensor is not results[0]:
                self.states[id(tensor)] = every
            self.alive.append(tensor)

    def feeds(self) -> np.ndarray:
        """The layers that each layer reads."""
        place = {name: k for k, name in enumerate(self.names)}
        found = np.zeros((len(self.names), len(self.names)), bool)
        for name, sources in self.by.items():
            if name in place:
                found[place[name], [place[one] for one in sources if one in place]] = True
        return found

    def aside(self) -> tuple[str, ...]:
        """The layers that read, or are read by, weights that are not asked for."""
        others = (self.OTHER, self.TABLE)
        return tuple(name for name in self.names if self.by[name] & {*others} or any(name in self.by[other] for other in others))

    def tables(self) -> tuple[str, ...]:
        """The layers that read rows of weights that are no layer's."""
        return tuple(name for name in self.names if self.TABLE in self.by[name])


def _streams(follow: Tracks, units: Whole | None) -> Whole:
    return np.array([follow.root(int(unit)) for unit in units], np.int64) if units is not None else _NONE


def _reader(follow: RecurrentTracks, layer: Layer, own: Whole, weight: str | None) -> WeightAxes | None:
    """The two axes of a layer's weight: that of its units, and the other one of the first two.

    An axis of one is never followed: a layer of one unit is known by its weight, of which the other axis alone was. Which row of a table
    is looked up is no unit's.
    """
    if layer.weight is None or layer.kind.startswith("Embedding") or (not len(own) and layer.units > 1):
        return None
    if layer.part:
        fed = follow.fed.get(layer.weight)
        gates, candidate = CANDIDATE.get(layer.kind, (0, 0))
        return WeightAxes(layer.weight, 1, 0, _streams(follow, fed), gates, candidate) if fed is not None and gates else None
    if (way := follow.passed.get(weight or layer.weight)) is not None:
        made, behind, values = way
        return WeightAxes(made, 1, 0, _streams(follow, values), behind=behind) if made and behind else None
    sides = [_streams(follow, follow.uses.get((weight or layer.weight, axis))) for axis in (0, 1)]
    for answers, inputs in ((0, 1), (1, 0)):
        if np.array_equal(sides[answers], own) and len(sides[inputs]):
            return WeightAxes(weight or layer.weight, inputs, answers, sides[inputs])
    return None
