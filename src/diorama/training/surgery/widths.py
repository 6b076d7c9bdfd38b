"""Which axes of which weights hang on a layer's units, found by following every axis through the ops of a pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core.errors import NotApplicable, not_found
from ...core.selection import within, without_call
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import first_tensor, tensors_in, unit_axis
from ...model.layers import recurrent_parts
from ...model.mode import OpMode, Trail
from ...model.ops import axis_of, named
from ...model.plain_module import layer_modules
from ...model.preservation import Preservation
from ...model.tracks import Axis, Tracks, Whole, varying
from .dropout import without_dropout
from .recurrence import Recurrence

Role = Literal["reads", "makes", "both", "each"]
"""What a weight does along an axis: its numbers are multiplied with units, make them out of others, both (a tied one), or
are one for each unit."""
Split = Literal["leading", "trailing"]
"""Where an axis of units is split in two, which half counts sets of units: heads lead, shuffled channels trail."""
_DROPPED = named("dropout")
_MIXED = named("softmax", "along")
_SAME = named("cast", "handed_on") | frozenset(("transpose", "permute", "t", "T", "mT", "view", "reshape", "unsqueeze", "squeeze"))


class AxisUnits(NamedTuple):
    """The units along an axis: ``sets[place]`` is the set that comes and goes together, ``members[place]`` the unit of it, ``first[place]``
    whether a group of a convolution begins with it."""

    sets: Whole
    members: Whole
    first: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class UnitAxis:
    """An axis of a weight or buffer along which units lie."""

    name: str
    axis: int
    units: AxisUnits
    role: Role


class Widths(Recurrence, Tracks):
    """The units along every axis of a pass, which weights hang on them and why some cannot change in number.

    *Meaning* units that a residual sum joins are one. Sets of units come and go together: the units of a head, one of
    each group of a convolution, all of a group that is normalized together.
    """

    def __init__(self, model: nn.Module, axes: Mapping[str, int], split: Split = "leading") -> None:
        super().__init__(model, axes)
        self.split = split
        self.held: dict[int, str] = {}
        """By unit, why its number cannot change."""
        self.read: set[int] = set()
        self.made_of: set[int] = set()
        self.born: set[int] = set()
        """Units that a padding adds, which nothing computes."""
        self.groups: list[tuple[str, Whole, int]] = []
        """Modules that normalize groups of channels, with the channels, and how many of them are one group."""
        self.firsts: set[int] = set()
        """Units that are the first of a group of a convolution."""
        self.cells: dict[str, Whole] = {}
        """By recurrent module, the units of each of its layers and directions."""
        self.pairs: list[tuple[int, int]] = []
        """Units that come and go together."""
        self._sets: dict[int, int] = {}
        self._reasons: dict[int, str] = {}
        self.from_weights: set[int] = set()
        self.heads: set[int] = set()
        """Units of which a set lies in one half of an axis that was split."""
        self.ambiguous = False
        """Whether an axis of units was split in two."""
        self.trail: Trail | None = None
        self.op = ""

    def begin(self) -> None:
        """Know the weights and buffers by name."""
        super().begin()
        self.from_weights = set(self.names)

    # What holds units.

    def fix(self, *axes: Axis) -> None:
        """These units cannot be followed beyond this op."""
        self.hold(f"what {self._where()} does with them ties them to a width that is fixed", *axes)

    def lose(self, *axes: Axis) -> None:
        """Nothing is known of what this op does with these units."""
        self.hold(f"what {self._where()} does with them cannot be followed", *axes)

    def hold(self, reason: str, *axes: Axis) -> None:
        """Their number stays as it is, for a reason; the first one counts."""
        for units in axes:
            for unit in units.tolist() if units is not None else ():
                self.held.setdefault(unit, reason)

    def together(self, units: Axis) -> None:
        """What tells units apart is of no matter to their number."""

    def of(self, tensor: Tensor) -> list[Axis]:
        """The units along each axis of a tensor; a weight's axis of one place is one unit."""
        found = self.known.get(id(tensor))
        if found is None and (name := self.names.get(id(tensor))) is not None:
            axes: list[Axis] = [self.fresh(size) for size in tensor.shape]
            for axis, units in enumerate(axes):
                if units is not None:
                    self.uses[name, axis] = units
            self.made(tensor, axes)
            return axes
        return super().of(tensor)

    def merged(self, *sets: Whole) -> None:
        """The units of each set come and go together."""
        for units in sets:
            flat = units.reshape(-1).tolist()
            self.pairs += zip(flat[:-1], flat[1:], strict=True)

    def along(self, units: Whole) -> AxisUnits:
        """The sets and the members along an axis, after the pass."""
        members = self._all_members[units]
        return AxisUnits(self._all_sets[units], members, np.isin(members, [self.root(unit) for unit in self.firsts]))

    def _set(self, unit: int) -> int:
        """The unit that stands for the set of a unit."""
        unit = self.root(unit)
        while (other := self._sets.get(unit, unit)) != unit:
            unit = other
        return unit

    def _where(self) -> str:
        here = self.trail.here if self.trail is not None else ""
        return f"`{self.op}` in {here}" if here else f"`{self.op}`"

    # What ran.

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: what it does with the units."""
        self.op = name.rstrip("_") or name
        before = len(self.parent)
        super().ran(name, func, args, kwargs, result)
        if self.op == "pad":
            self.born.update(range(before, len(self.parent)))
        given = [*tensors_in(args), *tensors_in(kwargs)]
        if self.op in _SAME and given and all(id(tensor) in self.from_weights for tensor in given):
            self.from_weights.update(id(tensor) for tensor in tensors_in(result))

    def closed(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        """A layer answered: note its units."""
        tensor = first_tensor(output)
        if tensor is None or recurrent_parts(module):
            return
        axis = self.axes.get(name)
        if axis is None or not 0 < axis < tensor.ndim:
            axis = unit_axis(module, tensor.ndim)
        if axis is not None and self.known.get(id(tensor)) is not None:
            self.layers.setdefault(name, self.of(tensor)[axis])

    def _rule(self, name: str) -> Any:
        found = {
            "scaled_dot_product_attention": self._attended, "multi_head_attention_forward": self._whole_attention,
            "layer_norm": self._normalized, "rms_norm": self._normalized,
            **dict.fromkeys(_MIXED, self._mixed), **self.recurrent_rules(),
        }.get(name)
        return found if found is not None else super()._rule(name)

    def _mixed(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        axis = kwargs.get("dim", 1) if name == "normalize" else axis_of(args, kwargs)
        own = self.of(given[0])
        along = own if axis is None else [own[axis]]
        self.hold(f"{self._where()} runs over all of them, so another number of them would change what each says", *along)
        return self._joined(name, func, args, kwargs, given, results)

    def _normalized(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        shape = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
        count = len(shape) if isinstance(shape, tuple | list | torch.Size) else 1
        kind = "LayerNorm" if name == "layer_norm" else "RMSNorm"
        self.hold(
            f"{kind} ({self._where()}) normalizes over them, so another number of them would change what each says",
            *self.of(given[0])[-count:],
        )
        return self._joined(name, func, args, kwargs, given, results)

    def _reduced(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        own = self.of(given[0])
        if len(given) == 1 and (dims is None or isinstance(dims, int | tuple | list)):
            gone = range(len(own)) if dims is None else [dims] if isinstance(dims, int) else dims
            self.hold(f"{self._where()} runs over all of them, so their number counts", *(own[axis] for axis in gone))
        return super()._reduced(name, func, args, kwargs, given, results)

    def _normed(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        found = super()._normed(name, func, args, kwargs, given, results)
        if name == "group_norm" and found is not None and (own := found[0][1]) is not None:
            count = kwargs.get("num_groups", args[1] if len(args) > 1 else 1)
            self.merged(*np.split(own, count))
            if self.trail is not None:
                self.groups.append((without_call(self.trail.here), own, len(own) // count))
        return found

    def _linear(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        weight = given[1]
        if weight.ndim == 2:
            self._reads(self.of(weight)[1])
            self._makes(self.of(weight)[0])
        return super()._linear(name, func, args, kwargs, given, results)

    def _addmm(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        if len(given) == 3:
            self._multiplied(*given[1:])
        return super()._addmm(name, func, args, kwargs, given, results)

    def _matmul(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        if len(given) != 2 or given[0].ndim < 2 or given[1].ndim < 2:
            return None
        one, other = (self.of(tensor) for tensor in given)
        self._multiplied(*given)
        self.join(one[-1], other[-2])
        batch: list[Axis] = []
        for place in range(-results[0].ndim, -2):
            meet = [axes[place] for axes, tensor in zip((one, other), given, strict=True) if tensor.ndim >= -place]
            batch.append(meet[0] if len(meet) == 1 else self.join(*meet) if meet[0] is not None or meet[1] is not None else None)
        return [[*batch, one[-2], other[-1]]]

    def _multiplied(self, one: Tensor, other: Tensor) -> None:
        """A product of two matrices sums over units: fine where one of them is a weight."""
        if id(other) in self.from_weights:
            self._reads(self.of(other)[-2])
            self._makes(self.of(other)[-1])
        elif id(one) in self.from_weights:
            self._reads(self.of(one)[-1])
            self._makes(self.of(one)[-2])
        else:
            self._compared(self.of(one)[-1], self.of(other)[-2])

    def _compared(self, *axes: Axis) -> None:
        self.hold(
            f"{self._where()} multiplies them with one another, as queries with keys, so another number of them would change every product", *axes
        )

    def _attended(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        if kwargs.get("enable_gqa") or len(given) < 3:
            return None
        queries, keys, values = (self.of(tensor) for tensor in given[:3])
        self._compared(queries[-1], keys[-1])
        if queries[-1] is not None and keys[-1] is not None:
            self.join(queries[-1], keys[-1])
        batch: list[Axis] = []
        for place in range(len(queries) - 2):
            meet = [axes[place] for axes in (queries, keys, values)]
            whole = meet[0]
            for each in meet[1:]:
                whole = self.join(whole, each) if whole is not None or each is not None else None
            batch.append(whole)
        return [[*batch, None, values[-1]]]

    def _whole_attention(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        reason = f"{self._where()} (nn.MultiheadAttention) divides the model's own width among its heads, so neither can change"
        for tensor in given:
            self.hold(reason, *self.of(tensor))
        own = self.fresh(results[0].shape[-1])
        self.hold(reason, own)
        return [[*(None for _ in range(results[0].ndim - 1)), own], *([None] * tensor.ndim for tensor in results[1:])]

    def _convolved(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        x, weight, *bias = given
        groups, turned = kwargs.get("groups", args[6] if len(args) > 6 else 1), "transpose" in name
        own, axes, channel = self.of(x), self.of(weight), x.ndim - weight.ndim + 1
        held = own[channel]
        if groups == 1:
            self._reads(axes[0 if turned else 1])
            self._makes(axes[1 if turned else 0])
            return super()._convolved(name, func, args, kwargs, given, results)
        if not turned and weight.shape[1] == 1 and held is not None:
            return super()._convolved(name, func, args, kwargs, given, results)
        self.fix(*axes[2:])
        if held is not None:
            self._grouped(held, groups)
        if turned:
            self.join(held, axes[0])
            self._reads(axes[0])
            self._makes(axes[1])
            out: Axis = np.tile(axes[1], groups) if axes[1] is not None else None
        else:
            self._reads(axes[1])
            self._makes(axes[0])
            self.join(held[: weight.shape[1]] if held is not None else None, axes[1])
            out = axes[0]
            if out is not None:
                self._grouped(out, groups)
        for tensor in bias:
            out = self.join(out, self.of(tensor)[0])
        return [[*own[:channel], out, *(None for _ in own[channel + 1 :])]]

    def _grouped(self, units: Whole, groups: int) -> None:
        """One of each group of a convolution come and go together."""
        parts = units.reshape(groups, -1)
        self.merged(*parts.T)
        self.firsts.update(parts[:, 0].tolist())

    def _embedded(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        for tensor in given:
            if tensor.is_floating_point() and tensor.ndim == 2:
                self._makes(self.of(tensor)[1])
                self.hold("each row of the embedding stands for a token of the vocabulary", self.of(tensor)[0])
        return super()._embedded(name, func, args, kwargs, given, results)

    def _placed(self, axes: list[Axis], numbers: Whole, stays: int | None) -> None:
        """As in every track; where an axis of units is split, the units that lie in one half come and go together."""
        differ = varying(numbers)
        if not differ and numbers.ndim:
            one = [k for k in range(numbers.ndim) if numbers.shape[k] == 1]
            differ = [stays] if stays is not None and numbers.shape[stays] == 1 else one[:1] if len(one) == 1 else []
        if not differ:
            self.fix(numbers.reshape(-1))
            return
        along = differ[0] if self.split == "leading" else differ[-1]
        if axes[along] is not None:
            self.fix(numbers.reshape(-1), axes[along])
            axes[along] = None
            return
        rows = np.moveaxis(numbers, along, 0).reshape(numbers.shape[along], -1)
        if len(differ) > 1:
            self.ambiguous = True
            self.heads.update(rows.reshape(-1).tolist())
            self.merged(*(np.unique(row) for row in rows))
        axes[along] = rows[:, 0].copy()

    def _alike(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """A tensor of another's form is as wide as that one."""
        return [list(self.of(given[0])) for _ in results]

    def _reads(self, units: Axis) -> None:
        if units is not None:
            self.read.update(units.tolist())

    def _makes(self, units: Axis) -> None:
        if units is not None:
            self.made_of.update(units.tolist())

    def end(self, output: Any) -> None:
        """What the model returns has a width that others count on."""
        for tensor in tensors_in(output):
            for units in self.of(tensor):
                self.hold("they are the model's answer, whose width the loss and the labels count on", units)
        for pair in self.pairs:
            one, other = (self._set(unit) for unit in pair)
            self._sets[other] = one
        everyone = range(len(self.parent))
        self._all_members = np.array([self.root(unit) for unit in everyone], np.int64)
        self._all_sets = np.array([self._set(unit) for unit in everyone], np.int64)
        for unit, why in self.held.items():
            self._reasons.setdefault(self._set(unit), why)
        for unit in self.born:
            self._reasons.setdefault(self._set(unit), "a padding gives some of them, whose width is fixed")

    # What was found.

    def places(self, layer: str) -> Whole:
        """The set of the unit at each place of a layer. *Raises* NotFound, NotApplicable where the layer's units are not known."""
        along = self.layers.get(layer)
        if along is None:
            known = layer_modules(self.model)
            if layer not in self.layers and without_call(layer) not in known:
                raise not_found("layer", layer, [*known, *self.layers])
            raise NotApplicable(
                f"the units of {layer!r} are the model's input, or cannot be followed through its ops{self.instead()}"
            )
        return self.along(along).sets

    def heads_of(self, layer: str) -> str:
        """Of a module of attention, the layer in it whose units come in heads; empty for any other."""
        heads = {self._set(unit) for unit in self.heads}
        return next((
            name for name, along in self.layers.items() if layer and name.rpartition(".")[0] == layer and along is not None
            and heads.issuperset(sets := self.along(along).sets.tolist()) and not any(self.reason(unit) for unit in sets)
        ), "")

    def reason(self, unit: int) -> str:
        """Why a set of units cannot come or go; empty where it can."""
        return self._reasons.get(unit, "")

    def nearest(self, most: int = 4, but: str = "", fit: Callable[[str], bool] = lambda _: True) -> str:
        """The layers whose units can be added or removed, in words: ``but`` is one that cannot, ``fit`` whether another may. Empty where none can."""
        known = layer_modules(self.model)
        can = [
            name for name, along in self.layers.items()
            if name != but and along is not None and name in known and next(known[name].parameters(), None) is not None
            and any(not self.reason(unit) for unit in self.along(along).sets.tolist()) and fit(name)
        ]
        more = f" and {len(can) - most} more" if len(can) > most else ""
        return ", ".join(map(repr, can[:most])) + more if can else ""

    def instead(self, but: str = "", zero: str = "") -> str:
        """What can be done instead, as the end of a sentence: units of another layer, or those of the layer ``zero`` held at zero."""
        module = layer_modules(self.model).get(zero)
        held = module is not None and any(p.ndim > 1 for p in module.parameters(recurse=False))
        said = [self.nearest(but=but)] + (["zero them with the command zero"] if held else [])
        return f"; nearest: {' or '.join(filter(None, said))}" if any(said) else ""

    def found(self) -> list[UnitAxis]:
        """Every axis of every weight and buffer along which units lie."""
        roles = {place: self._role(set(units.tolist())) for place, units in self.uses.items()}
        for (name, axis), role in roles.items():
            masked = f"{name.removesuffix('_mask')}_orig", axis
            if name.endswith("_mask") and roles.get(masked) == "each":  # their product, which the mask stands first in, is the weight
                roles[masked] = role
        return [UnitAxis(name, axis, self.along(units), roles[name, axis]) for (name, axis), units in self.uses.items()]

    def _role(self, units: set[int]) -> Role:
        reads, makes = units <= self.read, units <= self.made_of
        return "both" if reads and makes else "reads" if reads else "makes" if makes else "each"


def follow(model: nn.Module, x: Nested, axes: Mapping[str, int], split: Split = "leading") -> tuple[Widths, Any]:
    """Follow every axis through one pass in eval mode, with what the model answered. *Cost* one forward pass."""
    widths = Widths(model, axes, split)
    trail = widths.trail = Trail(layer_modules(model), closed=widths.closed)
    with Preservation(model), trail, torch.no_grad(), OpMode().replace(without_dropout).on_op(widths.ran):
        widths.begin()
        output = nesting.call(model, x)
    widths.end(output)
    for path, module in layer_modules(model).items():
        if (cells := widths.cells.get(path)) is not None:
            widths.layers[path] = cells
            for part in recurrent_parts(module):
                widths.layers[within(path, part)] = cells
    return widths, output
