"""Adds units to a layer of a network that trains, and removes them: tried on a copy, then done between two steps."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core.errors import DioramaError, NotApplicable, UsageError
from ...core.selection import spoken
from ...data.nesting import Nested
from ...model.axes import tensors_in
from ...model.plain_module import named_modules, unwrap
from ...model.preservation import Mode
from .arrangement import NEW, Arrangement, grown, moved, without
from .averages import gathered
from .feasibility import ready
from .graft import Graft
from .slopes import TaughtExamples, steepest
from .starts import FAINT, HOWS, How, divided, masks, started, tensors_of, tied_alone
from .trial import answers, copied, tried
from .unrun_weights import check_ran
from .widths import Split, Widths, follow

_SPLITS: tuple[Split, ...] = ("leading", "trailing")
_SAID = 4
"""So many layers, and so many stretches of units, are told of at most."""
_OFFERED = re.compile(r"nearest: (\d+)$")
_OFFERED_UNITS = re.compile(r" of '([^']+)' come and go only with .*nearest: ([\d, ]+\d)$")
_NO_CHANGE = 1e-5
"""The share of the largest answer up to which none counts as changed."""
MOST = 1 << 16
"""Units that can be added at once."""


@dataclasses.dataclass(frozen=True)
class ChangedUnits:
    """What was done, and all that is needed to take it back."""

    graft: Graft
    layer: str
    units: tuple[int, ...]
    """The places of the new units in their layer, or those that the removed ones had."""
    before: int
    after: int
    split_from: tuple[int, ...] = ()
    """The survivors whose outgoing weights were divided."""
    tied: str = ""
    """The weight that alone makes and reads the new units, of which they have a small share to begin with."""

    @property
    def change(self) -> Arrangement:
        """Where everything came to lie."""
        return self.graft.change


def add_units(
    model: nn.Module,
    x: Nested,
    layer: str,
    count: int = 1,
    how: How = "preserve",
    *,
    optimizers: Sequence[Any] = (),
    axes: Mapping[str, int] | None = None,
    seed: int = 0,
    state: Sequence[Any] = (),
    held: Mapping[str, str] | None = None,
    taught: TaughtExamples | None = None,
) -> ChangedUnits:
    """Add units to a layer, and to whatever hangs on them.

    *Meaning* weights, moments and half accumulated gradients of what was there stay bit by bit (but for the outgoing
    weights that ``split`` divides); parameters and optimizers stay the objects that they are. ``taught`` gives a loss, which
    the start ``gradient`` needs; ``held`` names weights that do not learn, by the layer that keeps them so.
    *Cost* about six forward passes and a backward one, on a few examples.
    *Raises* UsageError or NotApplicable before anything is changed.
    """
    if how not in HOWS:
        raise UsageError(f"how wants one of {', '.join(HOWS)}, got {how!r}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise UsageError(f"count wants a whole number from 1 to {MOST:,}, got {count!r}")
    if how == "gradient" and taught is None:
        raise NotApplicable("the start 'gradient' needs a loss, and the probe set has no answers; nearest: how='preserve'")
    plain, few, seen = _ready(model, x, state, axes or {})
    first: How = "split" if how == "split" else "preserve"

    def values(change: Arrangement) -> Callable[[nn.Module], dict[str, Tensor]]:
        return lambda other: started(other, change, first, torch.Generator().manual_seed(seed))

    widths, change = _offered(
        lambda count: _found(plain, few, seen, layer, axes or {}, lambda widths: _more(widths, layer, count), None, values), count
    )
    layer = change.layer
    for name, orders in change.weights.items():
        if name in (held or {}) and any(order.role in ("reads", "both") for order in orders.values()):
            raise NotApplicable(
                f"{name} reads these units and is frozen, so nothing would ever come of them; thaw {(held or {})[name]!r} first"
            )
    alone = tied_alone(change, tensors_of(plain)) if how == "preserve" else ""
    if how == "gradient" and taught is not None:
        begun = steepest(plain, change, taught, seed)
    else:
        begun = started(plain, change, how, torch.Generator().manual_seed(seed), FAINT if alone else 0.0)
    if alone:
        _check_faint(plain, few, change, begun, alone)
    parents = divided(plain, change) if how == "split" else []
    graft = Graft(plain, optimizers, change, keep=how == "split", divided=parents)
    graft.check()
    along = widths.places(layer)
    graft.put(begun)
    new = np.flatnonzero(change.layers[layer] == NEW)
    halved = tuple(int(np.flatnonzero(along == unit)[0]) for unit in parents)
    return ChangedUnits(graft, layer, tuple(new.tolist()), len(along), len(change.layers[layer]), halved, alone)


def remove_units(
    model: nn.Module,
    x: Nested,
    layer: str,
    units: Iterable[int],
    *,
    optimizers: Sequence[Any] = (),
    axes: Mapping[str, int] | None = None,
    state: Sequence[Any] = (),
) -> ChangedUnits:
    """Remove units of a layer, and whatever hangs on them.

    *Meaning* the model then answers as if nothing read these units any more; all else stays bit by bit.
    *Cost* about five forward passes and a backward one, on a few examples.
    *Raises* UsageError or NotApplicable before anything is changed.
    """
    wanted = _numbers(units)
    plain, few, seen = _ready(model, x, state, axes or {})

    def silenced(change: Arrangement) -> nn.Module:
        other = copied(plain)
        owned = tensors_of(other)
        with torch.no_grad():
            for name, orders in change.weights.items():
                for axis, order in orders.items():
                    if order.role in ("reads", "both"):
                        gone = np.setdiff1d(np.arange(owned[name].shape[axis]), order.old)
                        owned[name].data.index_fill_(axis, torch.from_numpy(gone).to(owned[name].device), 0)
        return other

    def values(change: Arrangement) -> Callable[[nn.Module], dict[str, Tensor]]:
        return lambda other: {name: moved(tensors_of(other)[name], orders) for name, orders in change.weights.items()}

    def found(wanted: Sequence[int]) -> tuple[Widths, Arrangement]:
        return _found(plain, few, seen, layer, axes or {}, lambda widths: _fewer(widths, layer, wanted), silenced, values)

    try:
        widths, change = found(wanted)
    except UsageError as error:
        if (offered := _OFFERED_UNITS.search(str(error))) and offered[1] == layer:
            found([int(unit) for unit in offered[2].split(", ")])  # the reason, where these cannot go either
        raise
    graft = Graft(plain, optimizers, change)
    graft.check()
    graft.put(values(change)(plain))
    size = len(widths.places(change.layer))
    gone = np.setdiff1d(np.arange(size), change.layers[change.layer])
    return ChangedUnits(graft, change.layer, tuple(gone.tolist()), size, len(change.layers[change.layer]))


def _ready(model: nn.Module, x: Nested, state: Sequence[Any], axes: Mapping[str, int]) -> tuple[nn.Module, Nested, tuple[Widths, Any]]:
    """What :func:`.ready.ready` gives, with the first look. *Raises* NotApplicable for what cannot be changed."""
    if gathered(unwrap(model)):
        raise NotApplicable(
            "DistributedDataParallel gathers gradients in rows that it laid out for the shapes it began with, so no layer can have other units while "
            "it trains; nearest: add_layer, which changes no shape"
        )
    return ready(model, x, state, functools.partial(follow, axes=axes, split=_SPLITS[0]))


def _offered(found: Callable[[int], tuple[Widths, Arrangement]], count: int) -> tuple[Widths, Arrangement]:
    """What is found for so many units; a number that is offered instead is tried, and what it raises is the reason where that cannot be either."""
    try:
        return found(count)
    except UsageError as error:
        offered = _OFFERED.search(str(error))
        if offered is not None and int(offered[1]) != count:
            found(int(offered[1]))
        raise


def _found(
    plain: nn.Module,
    few: Nested,
    seen: tuple[Widths, Any],
    layer: str,
    axes: Mapping[str, int],
    arrange: Callable[[Widths], Arrangement],
    before: Callable[[Arrangement], nn.Module] | None,
    values: Callable[[Arrangement], Callable[[nn.Module], dict[str, Tensor]]],
) -> tuple[Widths, Arrangement]:
    """The arrangement under which a copy answers as before, in the one way or the other of reading a split axis; the first was ``seen``."""
    refused: list[DioramaError] = []
    tried_already: Arrangement | None = None
    for split in _SPLITS:
        widths, output = seen if split == _SPLITS[0] else follow(plain, few, axes, split)
        try:
            change = arrange(widths)
            if tried_already is None or not _alike(tried_already, change):
                tried_already = change
                other = plain if before is None else before(change)
                answered = [part.detach().clone() for part in tensors_in(output)] if before is None else answers(other, few, "eval")
                want: dict[Mode, list[Tensor]] = {"eval": answered, "train": answers(other, few, "train")}
                twin = copied(plain)
                tried(want, twin, few, functools.partial(_put, twin, change, values(change)), f"other units in {layer!r}")
                check_ran(plain, few, widths, change.layer)
                return widths, change
        except (UsageError, NotApplicable) as error:
            refused.append(error)
        if not widths.ambiguous:
            break
    if isinstance(refused[0], UsageError) or "nearest" in str(refused[0]):
        raise refused[0]
    raise NotApplicable(f"{refused[0]}{widths.instead(layer)}")


def _check_faint(model: nn.Module, few: Nested, change: Arrangement, values: dict[str, Tensor], tied: str) -> None:
    """*Raises* NotApplicable where new units that a tied weight makes and reads change the answers, however small they begin."""
    twin = copied(model)
    want = answers(model, few, "eval")
    _put(twin, change, lambda other: values)
    for one, other in zip(want, answers(twin, few, "eval"), strict=True):
        if (one.is_floating_point() or one.is_complex()) and one.numel() and float((one - other).abs().max()) > _NO_CHANGE * float(one.abs().max()):
            raise NotApplicable(
                f"{tied} is tied: it both makes and reads units of {change.layer!r}, so new ones that change no answer would be zero, "
                "learn the same and stay alike; nearest: how='random'"
            )


def _more(widths: Widths, layer: str, count: int) -> Arrangement:
    """More units; of a module of attention, heads."""
    inner = widths.heads_of(layer)
    if not inner:
        return grown(widths, layer, count)
    sets = widths.places(inner)
    return grown(widths, inner, count * int((sets == sets[-1]).sum()))


def _fewer(widths: Widths, layer: str, wanted: Sequence[int]) -> Arrangement:
    """Fewer units; of a module of attention, heads."""
    inner = widths.heads_of(layer)
    if not inner:
        return without(widths, layer, wanted)
    sets = widths.places(inner)
    heads = list(dict.fromkeys(sets.tolist()))
    for head in wanted:
        if not 0 <= head < len(heads):
            raise UsageError(f"{layer!r} has heads 0 to {len(heads) - 1}, got {head}")
    return without(widths, inner, np.flatnonzero(np.isin(sets, [heads[head] for head in wanted])).tolist())


def _put(model: nn.Module, change: Arrangement, values: Callable[[nn.Module], dict[str, Tensor]]) -> None:
    Graft(model, (), change).put(values(model))


def _alike(one: Arrangement, other: Arrangement) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(order.old, other.weights[name][axis].old) if axis in other.weights[name] else False
        for name, orders in one.weights.items() for axis, order in orders.items()
    )


def _numbers(units: Iterable[int]) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(units))
    if not found:
        raise UsageError("units wants at least one number of a unit, got none")
    for unit in found:
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer):
            raise UsageError(f"units wants whole numbers, got {unit!r}")
    return tuple(int(unit) for unit in found)


def told(done: ChangedUnits, what: str) -> str:
    """What was done, in a sentence for the log."""
    elsewhere = [name for name in done.change.elsewhere if name in named_modules(done.graft.model)]
    units = "unit" if len(done.units) == 1 else "units"
    text = f"{what} {len(done.units)} {units} {'to' if what == 'added' else 'from'} {spoken(done.layer)} ({done.before} → {done.after})"
    if elsewhere:
        text += f"; {', '.join(map(spoken, elsewhere[:6]))}" + (f" and {len(elsewhere) - 6} more" if len(elsewhere) > 6 else "") + " changed with it"
    if done.split_from:
        text += f"; split from {', '.join(map(str, dict.fromkeys(done.split_from)))}"
    if done.tied:
        text += f"; {done.tied} both makes and reads them, so they begin at {FAINT:g} of its size, as zeros would never learn"
    if what == "added" and not done.split_from and masks(tensors_of(done.graft.model)) & set(done.change.weights):
        text += "; none of their weights is pruned"
    shifts: dict[str, list[str]] = {}
    for name in (done.layer, *elsewhere):
        if said := _shifted(done.change.layers[name]):
            shifts.setdefault(said, []).append(name)
    for said, names in list(shifts.items())[:_SAID]:
        more = f" and {len(names) - _SAID} more" if len(names) > _SAID else ""
        text += f"; in {', '.join(map(spoken, names[:_SAID]))}{more}: {said}"
    return text


def _shifted(old: NDArray[np.int64]) -> str:
    """Which of the units that were there have another number now, in words; nothing where none has."""
    places = np.flatnonzero((old != NEW) & (old != np.arange(len(old))))
    if not len(places):
        return ""
    runs = np.split(places, np.flatnonzero((np.diff(places) != 1) | (np.diff(old[places]) != 1)) + 1)
    told = [f"{_span(old[run])} {'is' if len(run) == 1 else 'are'} {_span(run)}" for run in runs[:_SAID]]
    more = f" and {len(runs) - _SAID} more runs moved" if len(runs) > _SAID else ""
    return f"unit{'s' if len(runs[0]) > 1 else ''} {', '.join(told)}{more} now"


def _span(numbers: NDArray[np.int64]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
