"""Gradients of a number by points of a pass, and a sentence where the model lets none through."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..core.errors import NotApplicable

UNKNOWN = "NotImplemented"
"""In what autograd calls an op that it cannot differentiate."""


def slopes(
    value: Tensor, points: Sequence[Tensor], *, weight: Tensor | None = None, keep_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """The gradient of a number (or of numbers, each with its weight) by each point; None where it does not depend on it.

    *Raises* NotApplicable where a reentrant checkpoint lets no gradient of single points through.
    """
    with followed():
        return torch.autograd.grad(value, tuple(points), weight, allow_unused=True, retain_graph=keep_graph)


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


@contextlib.contextmanager
def followed() -> Iterator[None]:
    """Within, what autograd does not follow in a model is said in a sentence with the way out."""
    try:
        yield
    except RuntimeError as error:
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
        raise
