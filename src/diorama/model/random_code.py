"""Where a network draws a code at random: a mean, and a log-variance that is exponentiated and multiplied with noise, told by what autograd noted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data import nesting
from .axes import tensors_in
from .layers import Layer
from .preservation import Mode, Preservation

Place = tuple[Any, int]
"""A tensor by the node that made it, and as which of the node's results."""
_MOST = 4096
"""Nodes that are walked over."""
_READ = 65_536
"""Numbers of a noise that are read …"""
_ERRORS = 4.0
"""… by how many of its own standard errors its mean, spread and fourth moment may lie off a standard normal's …"""
_FOURTH = 1024
"""… and from how many numbers on the fourth moment tells normal from uniform."""
_ONES = 256
"""Numbers of a noise of which nearly none may be alike; numbers of half precision sometimes are."""
_PARTED = ("Split", "SplitWithSizes", "Slice", "Narrow", "Select", "Unbind", "Chunk")
_FORM = ("Expand", "View", "UnsafeView", "Alias", "Clone", "ToCopy", "Reshape", "Unsqueeze", "Squeeze", "Contiguous")
_WIDENED = ("Exp", "Softplus", "Expm1")
_SCALED = ("Mul", "Div", "Add", "Sub", "Clamp", "ClampMin", "ClampMax", "Hardtanh", "Sqrt", "Pow", "Neg", *_FORM)


def place_of(tensor: Tensor) -> Place:
    """By what a tensor is known in the graph that made it."""
    return tensor.grad_fn, int(tensor.output_nr)


class _Draw(NamedTuple):
    mean: Place
    wide: Place
    noise: Tensor


def drawn(scores: Tensor, beside: Iterable[Tensor] = ()) -> list[tuple[Place, Place]]:
    """The means and log-variances of codes that an answer is made of, as places in the graph behind it, the last first.

    *Meaning* mean + noise · exp(…), so ``randn_like``, ``normal`` and ``rsample`` are alike, and nothing needs to be known of what encodes or
    decodes. Noise is a tensor without a gradient, of the code's own shape, with numbers that are not alike and go as a standard normal's, within
    four standard errors; ``beside`` are tensors of which it may be no part: the inputs, parameters and buffers. So a factor, a gate by the
    input, a mask or dropout is none. *Cost* a walk over the graph's nodes, at most 4,096, and 65,536 numbers of a noise.
    """
    return [(one.mean, one.wide) for one in _draws(scores, beside)]


def mean_layer(model: nn.Module, x: nesting.Nested, layers: Iterable[Layer], scores: Callable[[Any], Tensor]) -> Layer | None:
    """Of some layers the one that gives a code's means, in eval mode or, where codes are drawn in training alone, in that; None where none does.

    ``x`` is a few examples on the model's device, ``scores`` takes the answer from an output. The model stays as it was.
    Noise must differ between two passes. *Cost* two passes, or four.
    """
    return code_layers(model, x, layers, scores)[0]


def code_layers(
    model: nn.Module, x: nesting.Nested, layers: Iterable[Layer], scores: Callable[[Any], Tensor]
) -> tuple[Layer | None, Layer | None]:
    """The layer that gives a code's means, as :func:`mean_layer` tells it, and the one that gives means and log-variances in one, to be parted."""
    modules = dict(model.named_modules())
    known = {layer.path: layer for layer in layers if layer.weight is not None and layer.path in modules and layer.call == 1}
    modes: tuple[Mode, ...] = ("eval", "train")
    for mode in modes:
        made: dict[Place, Layer] = {}
        handles = [modules[path].register_forward_hook(_noting(made, layer)) for path, layer in known.items()]
        try:
            with Preservation(model, mode), torch.enable_grad():
                draws = _drawn_anew(lambda: _draws(scores(nesting.call(model, x)), (*tensors_in(x), *model.parameters(), *model.buffers())))
        except (RuntimeError, ValueError, TypeError):  # some models do not run so few examples in train mode
            draws = []
        finally:
            for handle in handles:
                handle.remove()
        pairs = [(made.get(one.mean), made.get(one.wide)) for one in draws]
        apart = [mean for mean, wide in pairs if mean is not None and wide is not None and mean.units == wide.units]
        parted = [(_whole(one.mean), _whole(one.wide)) for one in draws if one.mean != one.wide]
        joint = [made[mean] for mean, wide in parted if mean == wide and mean in made]
        if apart or joint:
            return (apart[0], None) if apart else (None, joint[0])
    return None, None


def _drawn_anew(run: Callable[[], list[_Draw]]) -> list[_Draw]:
    """What a pass draws, without what another pass draws alike: that is made from the input."""
    found = run()
    again = [one.noise for one in run()] if found else []
    return [one for one in found if not any(torch.equal(one.noise, other) for other in again)]


def _draws(scores: Tensor, beside: Iterable[Tensor]) -> list[_Draw]:
    found: list[_Draw] = []
    seen: set[Any] = set()
    waiting: list[Any] = [scores.grad_fn]
    while waiting and len(seen) < _MOST:
        node = waiting.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        below = list(node.next_functions)
        found += _parts(node, below)
        waiting += [one for one, _ in below]
    kept = {_storage(one) for one in beside} if found else set()
    return [one for one in found if _storage(one.noise) not in kept and _standard_normal(one.noise)]


def _noting(made: dict[Place, Layer], layer: Layer) -> Any:
    def note(_module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            made[place_of(output)] = layer

    return note


def _parts(node: Any, below: list[Place]) -> list[_Draw]:
    if _name(node) == "Addcmul" and len(below) == 3:
        noisy = [one for one in below[1:] if one[0] is not None]
        told = _widened(noisy[0], _constants(node)) if len(noisy) == 1 and below[0][0] is not None else None
        return [_Draw(_bare(below[0]), *told)] if told is not None else []
    found = []
    for mean, other in (below, below[::-1]) if _name(node) == "Add" and len(below) == 2 else ():
        if mean[0] is None or other[0] is None or _name(other[0]) != "Mul":
            continue
        told = _widened(other, [])
        if told is not None:
            found.append(_Draw(_bare(mean), *told))
    return found


def _widened(place: Place, constants: list[Tensor]) -> tuple[Place, Tensor] | None:
    """What is exponentiated to be a spread, and the one constant of its shape that the spread is multiplied with; None where nothing is."""
    told, constants = False, list(constants)
    while (name := _name(place[0])) in _SCALED or name in _WIDENED:
        told = told or name in _WIDENED
        if name == "Mul" and not told:
            constants += _constants(place[0])
        below = [one for one in place[0].next_functions if one[0] is not None]
        if len(below) != 1:
            return None
        place = below[0]
    return (place, constants[0]) if told and len(constants) == 1 else None


def _constants(node: Any) -> list[Tensor]:
    """The factors without a gradient that a product keeps, as large as itself."""
    found = []
    for name in ("_saved_self", "_saved_other", "_saved_tensor1", "_saved_tensor2"):
        try:
            one = getattr(node, name, None)
        except RuntimeError:  # it was changed in place, or let go
            continue
        if isinstance(one, Tensor) and one.ndim and not one.requires_grad and tuple(one.shape) == tuple(node._input_metadata[0].shape):
            found.append(one)
    return found


@torch.no_grad()
def _standard_normal(noise: Tensor) -> bool:
    """Whether numbers may be drawn from a standard normal, as far as so many can tell."""
    count = noise.numel()
    if count < 2 or not noise.is_floating_point():
        return False
    read = noise.detach().flatten()[:: max(1, count // _READ)][:_READ].cpu().double()
    ones = read[:: max(1, len(read) // _ONES)][:_ONES]
    if not bool(read.isfinite().all()) or len(ones.unique()) < 0.75 * len(ones):
        return False
    count, mean = len(read), float(read.mean())
    spread = float(read.std())
    near = abs(mean) < _ERRORS / math.sqrt(count) and abs(spread - 1) < _ERRORS / math.sqrt(2 * (count - 1))
    fourth = float(((read - mean) / max(spread, 1e-9)).pow(4).mean())
    return near and (count < _FOURTH or abs(fourth - 3) < _ERRORS * math.sqrt(24 / count))


def _storage(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except RuntimeError:  # sparse, or a tensor of another kind
        return -id(tensor)


def _whole(place: Place) -> Place:
    """What a part was taken from."""
    while _name(place[0]) in (*_PARTED, *_FORM) and len(place[0].next_functions) == 1 and place[0].next_functions[0][0] is not None:
        place = place[0].next_functions[0]
    return place


def _bare(place: Place) -> Place:
    while _name(place[0]) in _FORM and len(place[0].next_functions) == 1 and place[0].next_functions[0][0] is not None:
        place = place[0].next_functions[0]
    return place


def _name(node: Any) -> str:
    return type(node).__name__.partition("Backward")[0]
