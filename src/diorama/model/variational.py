"""Where a network draws a code at random: a mean, and a log-variance that is exponentiated and multiplied with noise, told by what autograd noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..data import nesting
from .layers import Layer
from .untouched import Mode, Untouched

Place = tuple[Any, int]
"""A tensor by the node that made it, and as which of the node's results."""
_MOST = 4096
"""Nodes that are walked over."""
_FORM = ("Expand", "View", "UnsafeView", "Alias", "Clone", "ToCopy", "Reshape", "Unsqueeze", "Squeeze", "Contiguous")
_WIDENED = ("Exp", "Softplus", "Expm1")
_SCALED = ("Mul", "Div", "Add", "Sub", "Clamp", "ClampMin", "ClampMax", "Hardtanh", "Sqrt", "Pow", "Neg", *_FORM)


def place_of(tensor: Tensor) -> Place:
    """By what a tensor is known in the graph that made it."""
    return tensor.grad_fn, int(tensor.output_nr)


def drawn(scores: Tensor) -> list[tuple[Place, Place]]:
    """The means and log-variances of codes that an answer is made of, as places in the graph behind it, the last first.

    *Meaning* mean + noise · exp(…), where the noise is a tensor without a gradient: so ``randn_like``, ``normal`` and ``rsample`` are alike,
    and nothing needs to be known of what encodes or decodes. *Cost* a walk over the graph's nodes, at most 4,096.
    """
    found: list[tuple[Place, Place]] = []
    seen: set[Any] = set()
    waiting: list[Any] = [scores.grad_fn]
    while waiting and len(seen) < _MOST:
        node = waiting.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        below = list(node.next_functions)
        found += _parts(_name(node), below)
        waiting += [one for one, _ in below]
    return found


def mean_layer(model: nn.Module, x: nesting.Nested, layers: Iterable[Layer], scores: Callable[[Any], Tensor]) -> Layer | None:
    """Of some layers the one that gives a code's means, in eval mode or, where codes are drawn in training alone, in that; None where none does.

    ``x`` is a few examples on the model's device, ``scores`` takes the answer from an output. The model stays as it was.
    """
    modules = dict(model.named_modules())
    known = {layer.path: layer for layer in layers if layer.weight is not None and layer.path in modules and layer.call == 1}
    modes: tuple[Mode, ...] = ("eval", "train")
    for mode in modes:
        made: dict[Place, Layer] = {}
        handles = [modules[path].register_forward_hook(_noting(made, layer)) for path, layer in known.items()]
        try:
            with Untouched(model, mode), torch.enable_grad():
                pairs = drawn(scores(nesting.call(model, x)))
            found = [made[mean] for mean, wide in pairs if mean in made and wide in made and made[mean].units == made[wide].units]
        except (RuntimeError, ValueError, TypeError):  # some models do not run so few examples in train mode
            found = []
        finally:
            for handle in handles:
                handle.remove()
        if found:
            return found[0]
    return None


def _noting(made: dict[Place, Layer], layer: Layer) -> Any:
    def note(_module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            made[place_of(output)] = layer

    return note


def _parts(name: str, below: list[Place]) -> list[tuple[Place, Place]]:
    if name == "Addcmul" and len(below) == 3:
        noisy = [one for one in below[1:] if one[0] is not None]
        wide = _widened(noisy[0]) if len(noisy) == 1 and below[0][0] is not None else None
        return [(_bare(below[0]), wide)] if wide is not None else []
    found = []
    for mean, other in (below, below[::-1]) if name == "Add" and len(below) == 2 else ():
        if mean[0] is None or other[0] is None or _name(other[0]) != "Mul":
            continue
        factors = [one for one in other[0].next_functions if one[0] is not None]
        wide = _widened(factors[0]) if len(factors) == 1 else None
        if wide is not None:
            found.append((_bare(mean), wide))
    return found


def _widened(place: Place) -> Place | None:
    """What is exponentiated to be a spread; None where nothing is."""
    told = False
    while (name := _name(place[0])) in _SCALED or name in _WIDENED:
        told = told or name in _WIDENED
        below = [one for one in place[0].next_functions if one[0] is not None]
        if len(below) != 1:
            return None
        place = below[0]
    return place if told else None


def _bare(place: Place) -> Place:
    while _name(place[0]) in _FORM and len(place[0].next_functions) == 1 and place[0].next_functions[0][0] is not None:
        place = place[0].next_functions[0]
    return place


def _name(node: Any) -> str:
    return type(node).__name__.partition("Backward")[0]
