"""The feature maps that class activation maps are made of: which layer, and its activations and slopes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.selection import spoken
from ..data import kinds, nesting
from ..data.nesting import Nested
from ..data.volumes import channel_axis, slices
from ..model.batch_size import FilledBatch, filled, kept
from ..model.company import MERGED
from ..model.layers import Layer, by_unit
from ..model.ops import rectifier
from ..model.own_places import Owners
from ..model.targets import Target
from .attribute import only
from .cost import Cost
from .method import Look

_PASSING = ("Pool", "Dropout", "Identity", "Upsample", "Unflatten", "Pad")
"""Layers that only choose from or copy the maps before them, by a part of their kind."""
_VOLUMES = 5
"""Axes of a batch of volumes, or of clips."""
_EXTRA = 8
"""A transformer may put so many tokens (class, registers) before those of the picture's patches."""


@dataclasses.dataclass(frozen=True)
class Maps:
    """What a layer answered and how the target changes with it: units on axis 1, places after it."""

    layer: Layer
    activations: Tensor
    slopes: Tensor
    """Zeros where they were not asked for."""
    value: Tensor
    note: str = ""
    own: Tensor | None = None
    """Which places (n, places) are the example's own; at the others, which padding fills up, both are zero. None where all are."""

    @property
    def weights(self) -> Tensor:
        """The mean slope of each unit over the places that an example has, (n, units, 1, …)."""
        if self.own is None:
            return self.slopes.mean(places_of(self.slopes), keepdim=True)
        return self.slopes.sum(2, keepdim=True) / self.own.sum(1).clamp_min(1)[:, None, None]


def candidates(look: Look, x: Nested) -> tuple[Layer, ...]:
    """The layers that hold maps of the input, the last first: feature maps, else tokens on a grid, else steps.

    Where tokens of a picture follow the last feature map (a vision transformer), those come first.
    """
    table = look.layers
    maps = [layer for layer in table if layer.spatial and _places(layer) > 1 and _whole(layer)]
    after = maps[-1].order if maps else -1
    grids = [layer for layer in table if layer.order > after and _grid(look, x, layer) is not None]
    if grids:
        return tuple(reversed(grids))
    return tuple(reversed(maps or [layer for layer in table if _steps(x, layer)]))


def _whole(layer: Layer) -> bool:
    """Whether a layer makes maps of its own, rather than handing on those of the layer before or inside it."""
    return layer.kind != "Sequential" and not any(word in layer.kind for word in _PASSING)


def _places(layer: Layer) -> int:
    return math.prod(layer.shape) // max(layer.units, 1)


def _steps(x: Nested, layer: Layer) -> bool:
    """Whether a layer's places are steps of a sequence."""
    if not layer.sequence or _places(layer) < 2 or not _whole(layer):
        return False
    return any(part.ndim in (2, 3) for part in nesting.tensors(x))


def _grid(look: Look, x: Nested, layer: Layer) -> tuple[int, int, int] | None:
    """Tokens before the patches, rows and columns of patches, for a layer that answers with a picture's tokens."""
    if not layer.sequence or len(layer.shape) != 2 or layer.unit_axis != 2:
        return None
    if not any(part.ndim == 4 for part in nesting.tensors(x)):
        return None
    tokens, texts = layer.shape[0], look.layers.steps
    # Beside a picture there may be a text, whose words lie nowhere on it: as many tokens as it has are its own, and what else could be
    # theirs is not taken for patches.
    if tokens in texts:
        return None
    most = 1 if texts else _EXTRA
    for known in look.layers.spatial:
        sides = tuple(side for axis, side in enumerate(known.shape, 1) if axis != known.unit_axis)
        if len(sides) == 2 and sides[0] * sides[1] > 1 and 0 <= tokens - sides[0] * sides[1] <= most:
            return tokens - sides[0] * sides[1], sides[0], sides[1]
    for extra in range(0 if texts else _EXTRA + 1):
        side = math.isqrt(max(tokens - extra, 0))
        if side > 1 and side * side == tokens - extra:
            return extra, side, side
    return None


def missing(look: Look, x: Nested, name: str, layer: str | None) -> str | None:
    """Why there is no map for a method, with what to use instead; None when there is one."""
    if look.function:
        return f"{name} looks at a model's maps, and this is a plain function; use occlusion or lime"
    if layer is not None:
        wanted = look.layers[layer]
        if wanted.spatial or wanted.sequence:
            return None
        nearest = candidates(look, x)
        hint = f"use {nearest[0].name}" if nearest else "use input_x_gradient"
        return f"{name} needs a layer with maps, and {layer} answers with {wanted.units} plain numbers; {hint}"
    if candidates(look, x):
        return None
    return f"{name} needs a layer with maps, and this model has none; use input_x_gradient"


def mapped(look: Look, x: Nested, target: Target, layer: str | None, *, sloping: bool = True) -> Maps:
    """Run the model, and differentiate the target by the chosen layer, or by the last one that it depends on at several places.

    *Meaning* where a ReLU follows at once, the maps are what it lets through, as if it were part of the layer.
    *Cost* one forward pass, and a backward pass down to that layer alone; none where the layer is known and
    ``sloping`` is False.
    """
    tried = (look.layers[layer],) if layer is not None else candidates(look, x)
    keep = tried[:1] if tried[0].spatial else tried
    grad = sloping or len(keep) > 1
    taps, owners = [_Tap(found) for found in keep], Owners(look.kind)
    owners.read(x)
    there = look.run(x, target, keep=[found.name for found in keep], rules=_tapping(taps, look), grad=grad)
    if grad and not there.value.requires_grad:
        raise NotApplicable("the target does not depend on the maps in a differentiable way; use occlusion")
    for tap in taps:
        # A ReLU inside an autograd function is seen, but no gradient goes to it: then the layer's own maps are taken.
        caught = tap.caught()
        caught = caught if caught is None or caught.requires_grad or not grad else None
        at = caught if caught is not None else there[tap.layer.name]
        if at.is_complex():
            raise NotApplicable(f"maps are weighed as real numbers, and those of {tap.layer.name} are complex; use occlusion")
        frames = _frames(x) if len(at) != nesting.size(x) else 0
        if frames and len(at) == frames * nesting.size(x) > frames:
            # Which answer is which example's is certain where there is one alone.
            alone = [mapped(look, nesting.select(x, slice(k, k + 1)), only(target, k), layer, sloping=sloping) for k in range(nesting.size(x))]
            a, g, value = (torch.cat(parts) for parts in zip(*((one.activations, one.slopes, one.value) for one in alone), strict=True))
            return Maps(alone[0].layer, a, g, value, alone[0].note)
        if len(at) not in (nesting.size(x), frames) or (len(at) > 1 and tap.layer.reason and len(at) != frames):
            raise NotApplicable(
                f"{tap.layer.name} {tap.layer.reason or MERGED}, so its maps lie over none of them; use "
                "integrated_gradients or occlusion"
            )
        slope = None
        if grad:
            last = tap is taps[-1]
            slope = look.slopes(there.value.sum(), [at], keep_graph=not last)[0]
        slope = torch.zeros_like(at) if slope is None else slope
        grid = _grid(look, x, tap.layer)
        a, g = (_on_grid(by_unit(tap.layer, part.detach()), grid) for part in (at, slope))
        if frames:
            a, g = a.movedim(0, 1)[None], g.movedim(0, 1)[None]
        touched = int(g.ne(0).any(1).flatten(1).sum(1).max())  # in one example: texts may be read at unlike places
        # What only the last step or the class token reads holds no map yet: the layers before it do.
        if touched > 1 or tap is taps[-1] or (tap.layer.spatial and touched):
            count = len(list(nesting.tensors(x)))
            blank = f" They lie over one of the {count} inputs: zeros elsewhere say nothing." if count > 1 else ""
            if (own := owners.own(a)) is not None:
                a, g = (part.masked_fill(~own[:, None], 0) for part in (a, g))
            return Maps(tap.layer, a, g, there.value.detach(), own=own, note=f"Made from the maps of {spoken(tap.layer.name)}.{blank}")
    raise AssertionError("the last layer is always taken")


def _frames(x: Nested) -> int:
    """How many frames or slices an example has, which a model may look at one by one; 0 where it has none."""
    return next((slices(part.shape[1:]) for part in nesting.tensors(x) if part.ndim == _VOLUMES), 0)


def passes(look: Look, x: Nested, layer: str | None, sloping: bool = True) -> Cost:
    """What :func:`mapped` costs."""
    tried = (look.layers[layer],) if layer is not None else candidates(look, x)
    return Cost(1, int(sloping or (len(tried) > 1 and not tried[0].spatial)))


def _on_grid(tensor: Tensor, grid: tuple[int, int, int] | None) -> Tensor:
    if grid is None:
        return tensor
    extra, rows, columns = grid
    return tensor[:, :, extra:].reshape(*tensor.shape[:2], rows, columns)


class _Tap:
    """Waits for the ReLU that follows a layer at once, and holds what it lets through."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._own: list[tuple[FilledBatch | None, Tensor]] = []

    @property
    def waits(self) -> bool:
        """Whether nothing was caught in the pass that runs."""
        return not self._own or self._own[-1][0] is not filled()

    def catch(self, tensor: Tensor) -> None:
        """Hold what the ReLU lets through."""
        self._own.append((filled(), tensor))

    def caught(self) -> Tensor | None:
        """What the ReLU let through, of all examples."""
        parts = [(part, tensor) for part, tensor in self._own if part is not None]
        return kept(parts) if parts else self._own[0][1] if self._own else None


def _tapping(taps: list[_Tap], look: Look) -> list[Callable[..., Any]]:
    """Rules that catch the outputs of ReLUs that follow the tapped layers."""
    waiting = [tap for tap in taps if tap.layer.rectified]
    if not waiting:
        return []

    def rule(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = rectifier(name, func, args, kwargs)
        passing = look.passing
        if read is None or passing is None:
            return NotImplemented
        for tap in waiting:
            if tap.waits and tap.layer.name in passing:
                before = passing[tap.layer.name]
                if before.shape == read[0].shape and torch.equal(before.detach(), read[0].detach()):
                    let = func(*args, **kwargs).clone()
                    tap.catch(let)
                    return let.clone()
        return NotImplemented

    return [rule]


def spread(look: Look, x: Nested, heat: Tensor) -> Nested:
    """A map (n, places) over the input: interpolated to its size, and shared evenly by the channels of each place.

    Parts of the input that have no such places (a row beside a picture) get zeros.
    """
    parts = list(nesting.tensors(x))
    places = heat.ndim - 1
    kind = look.kind if not isinstance(look.kind, dict) else None
    last = isinstance(kind, kinds.Image) and kind.layout == "NHWC"
    main = next((k for k, part in enumerate(parts) if part.ndim == places + 2), None)
    if main is None:
        main = next((k for k, part in enumerate(parts) if part.ndim == places + 1), 0)
    made = [torch.zeros(part.shape, device=heat.device) for part in parts]
    made[main] = _over(heat, parts[main], places, last)
    fresh: Iterator[Tensor] = iter(made)
    return nesting.each(x, lambda part: next(fresh))


def _over(heat: Tensor, part: Tensor, places: int, last: bool) -> Tensor:
    shape = tuple(part.shape[1:])
    if part.ndim == places + 1:
        return resized(heat, shape)
    steps_first = places == 1 and heat.shape[1] == shape[0] != shape[1]
    if places == _VOLUMES - 2:
        axis = channel_axis(shape)
        sides = (*shape[:axis], *shape[axis + 1 :])
        return (resized(heat, sides).unsqueeze(1 + axis) / shape[axis]).expand(part.shape)
    if last or steps_first:
        return (resized(heat, shape[:-1])[..., None] / shape[-1]).expand(part.shape)
    return (resized(heat, shape[1:])[:, None] / shape[0]).expand(part.shape)


def resized(heat: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Maps (n, places) interpolated to other sides, linearly."""
    if tuple(heat.shape[1:]) == sides:
        return heat
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sides)]
    return F.interpolate(heat[:, None].float(), sides, mode=mode, align_corners=False)[:, 0].to(heat.dtype)


def places_of(maps: Tensor) -> tuple[int, ...]:
    """The axes of the places in maps (n, units, places)."""
    return tuple(range(2, maps.ndim))


def halved(x: Nested) -> Nested:
    """Another input like this one: numbers at half their size, tokens in reverse order."""
    return nesting.each(x, lambda part: part / 2 if part.is_floating_point() else part.flip(1 if part.ndim > 1 else 0))
