"""Adds a way round to a network that trains, and removes one that was added."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...core.errors import NotApplicable, UsageError
from ...core.selection import spoken
from ...data.nesting import Nested
from ...model.axes import likely_unit_axis, unit_axis
from ...model.plain_module import named_modules, unwrap
from .feasibility import ran, ready
from .followed import Skip, followed
from .layers import ChangedLayer, come, enrolled, named, places_for, put_in, remove_layer, seen_in
from .recipe import CONVOLUTIONS, LayerRecipe, made
from .trial import MODES, answers, copied, tried


def add_skip(
    model: nn.Module,
    x: Nested,
    source: str,
    target: str,
    *,
    optimizers: Sequence[Any] = (),
    axes: Mapping[str, int] | None = None,
    state: Sequence[Any] = (),
) -> ChangedLayer:
    """Add a way round: what a layer gives is added to what a later one gives, through a layer that is zero at first.

    *Meaning* a dense layer along the units, or a convolution of one place, which leaves places out where the later layer has
    fewer. No answer changes; the new weights learn from the next step on, in the group of the nearest weights of their kind.
    *Cost* about six forward passes and a backward one, on a few examples.
    *Raises* UsageError or NotApplicable before anything is changed.
    """
    plain, few, _ = ready(model, x, state, ran)
    begins, ends = named(plain, source), named(plain, target)
    if begins is ends:
        raise UsageError(f"a way round wants two layers, got {source!r} twice")
    if followed(ends):
        raise UsageError(f"a layer was added after {target!r} already; nearest: let the way round end after that")
    first, last = seen_in(plain, [begins, ends], few)
    for name, seen in ((source, first), (target, last)):
        if seen.gives is None or seen.calls != 1:
            how = f"is called {seen.calls} times in a pass" if seen.calls > 1 else seen.said("answers with")
            raise NotApplicable(f"{name!r} {how}, so no way round can begin or end there; nearest: a layer that is called once")
    assert first.gives is not None
    assert last.gives is not None
    if first.place > last.place:
        raise NotApplicable(f"{source!r} is not done before {target!r} begins to answer; nearest: a way round from {target!r} to {source!r}")
    recipe = _skip_recipe(first.gives, last.gives, source, target, axes or {}, (begins, ends))
    want = {mode: answers(plain, few, mode) for mode in MODES}
    other = copied(plain)
    tried(want, other, few, lambda: come(other, target, recipe, (), ()), f"a way round from {source!r} to {target!r}")
    skip = made(recipe, 0).to(last.gives.device).train(ends.training)
    places, apart = places_for(plain, target, skip, optimizers)
    name = put_in(plain, target, skip)
    memories = enrolled(skip, name, places)
    count = sum(p.numel() for p in skip.parameters())
    text = f"added the way round {name} from {spoken(source)} to {spoken(target)} ({count:,} weights), which starts at zero{apart}"
    return ChangedLayer(plain, name, skip, target, True, memories, 0, text, recipe=recipe)


def remove_skip(
    model: nn.Module, x: Nested, source: str, target: str, *, optimizers: Sequence[Any] = (), state: Sequence[Any] = ()
) -> ChangedLayer:
    """Remove a way round that was added, by the layers where it begins and ends.

    *Raises* UsageError or NotApplicable before anything is changed: a way round in the model's own code stands in no layer.
    """
    plain = unwrap(model)
    named(plain, source), named(plain, target)
    known = {path: module for path, module in named_modules(plain).items() if isinstance(module, Skip)}
    found = [path for path, module in known.items() if (module.source, module.target) == (source, target)]
    if not found:
        there = ", ".join(f"{module.source} to {module.target}" for module in known.values()) or "none"
        raise NotApplicable(
            f"no way round from {source!r} to {target!r} was added ({there}), and one in the model's own code cannot be taken out of it; "
            f"nearest: the command zero or freeze on a layer that stands on it"
        )
    changed = remove_layer(plain, x, found[-1], optimizers=optimizers, state=state)
    return dataclasses.replace(changed, text=f"removed the way round {found[-1]} from {spoken(source)} to {spoken(target)}")


def _skip_recipe(
    given: Tensor, wanted: Tensor, source: str, target: str, axes: Mapping[str, int], modules: tuple[nn.Module, nn.Module]
) -> LayerRecipe:
    """What leads from one shape to another. *Raises* NotApplicable where neither a dense layer nor a convolution does."""
    axis = {}
    for name, module, tensor in zip((source, target), modules, (given, wanted), strict=True):
        found = axes.get(name, unit_axis(module, tensor.ndim))
        axis[name] = found if found is not None else likely_unit_axis(tuple(tensor.shape), {})
    units, dtype = (given.shape[axis[source]], wanted.shape[axis[target]]), str(wanted.dtype).removeprefix("torch.")
    places = given.ndim - 2
    if given.ndim == wanted.ndim and given.dtype == wanted.dtype and axis[source] == axis[target]:
        if axis[source] == given.ndim - 1 and given.shape[:-1] == wanted.shape[:-1]:
            return LayerRecipe("Linear", units[1], "skip", False, dtype, source, units[0])
        if axis[source] == 1 and places in CONVOLUTIONS:
            stride = [max(-(-one // other), 1) for one, other in zip(given.shape[2:], wanted.shape[2:], strict=True)]
            if [(size - 1) // step + 1 for size, step in zip(given.shape[2:], stride, strict=True)] == list(wanted.shape[2:]):
                return LayerRecipe(f"Conv{places}d", units[1], "skip", False, dtype, source, units[0], stride)  # type: ignore[arg-type]
    raise NotApplicable(
        f"{source!r} gives {tuple(given.shape)[1:]} and {target!r} gives {tuple(wanted.shape)[1:]}, and neither a dense layer nor a "
        "convolution of one place leads from one to the other; nearest: layers with the same axes, the later one with no more places"
    )
