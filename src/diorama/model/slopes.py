"""Gradients of a number by points of a pass, and a sentence where the model lets none through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import NotApplicable
from . import batch_size

UNKNOWN = "NotImplemented"
"""In what autograd calls an op that it cannot differentiate."""


def slopes(
    value: Tensor, points: Sequence[Tensor], *, weight: Tensor | None = None, keep_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """The gradient of a number (or of numbers, each with its weight) by each point; None where it does not depend on it.

    *Raises* NotApplicable where a reentrant checkpoint lets no gradient of single points through.
    """
    parts = [batch_size.sources(point) for point in points]
    flat = [tensor for point, own in zip(points, parts, strict=True) for tensor in ([point] if own is None else [at for _, at in own])]
    with SlopeErrors():
        found = iter(torch.autograd.grad(value, flat, weight, allow_unused=True, retain_graph=keep_graph))
    return tuple(next(found) if own is None else _of_parts(own, [next(found) for _ in own]) for own in parts)


def _of_parts(own: Sequence[tuple[batch_size.FilledBatch, Tensor]], found: Sequence[Tensor | None]) -> Tensor | None:
    """The slope by an activation that lies in several passes: filled rows have none."""
    if all(slope is None for slope in found):
        return None
    whole = [torch.zeros_like(at) if slope is None else slope for (_, at), slope in zip(own, found, strict=True)]
    joined: Tensor = batch_size.joined([(part, slope) for (part, _), slope in zip(own, whole, strict=True)])
    return joined


def underivable(value: Tensor) -> bool:
    """Whether an op that autograd cannot differentiate lies on the way to a value: it would give no slope, without an error.

    *Cost* a look at each node of the graph.
    """
    waiting, seen = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if UNKNOWN in node.name():
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


class SlopeErrors:
    """A context in which what autograd does not follow in a model is said in a sentence with the way out."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if not isinstance(error, RuntimeError):
            return
        said = str(error)
        if "use_reentrant" in said:
            raise NotApplicable(
                "no gradient of single points goes through a reentrant checkpoint; call torch.utils.checkpoint with "
                "use_reentrant=False, or use occlusion"
            ) from None
        if "out=... arguments don't support automatic differentiation" in said:
            name = said.partition("(")[0]
            raise NotApplicable(
                f"the model calls {name} with out=, through which no gradient goes; take its result instead, or use occlusion"
            ) from None
        if "modified by an inplace operation" in said:
            raise NotApplicable(
                "the model writes over numbers that its own gradient needs (as y.relu_() and then y += 1 do), so no gradient goes "
                "through it; let one of them make a new tensor, or use occlusion"
            ) from None
