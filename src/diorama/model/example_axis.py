"""Where the examples lie in a tensor inside a model, and what brings them to the front."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the axes of a tensor lie, and what brings the examples to the front.

    *Meaning* ``order`` rearranges all axes first. ``axis`` counts the examples, perhaps together with heads, windows or
    steps: then ``apart`` puts those on an axis of their own behind the examples; ``inner`` says that the examples change
    faster than they. ``axis`` None: no axis counts examples, and ``reason`` says why.
    """

    axis: int | None = 0
    merged: bool = False
    inner: bool = False
    order: tuple[int, ...] = ()
    single: bool = False
    """An axis for the only head is put behind the examples."""
    asks: bool = False
    """An axis for the only one that asks is put before the last."""
    folded: tuple[int, ...] = ()
    """Axes of so many behind the examples that are heads together: groups of those that share keys."""
    reason: str = ""

    def apart(self, tensor: Tensor, examples: int) -> Tensor:
        """The tensor with the examples on the first axis, and nothing else on it."""
        tensor = tensor.permute(self.order) if self.order else tensor
        if self.axis is None:
            return tensor
        tensor = tensor.movedim(self.axis, 0) if self.axis else tensor
        if self.merged:
            rest, several = tensor.shape[1:], len(tensor) // examples
            if self.inner:
                tensor = tensor.reshape(several, examples, *rest).transpose(0, 1)
            else:
                tensor = tensor.reshape(examples, several, *rest)
        tensor = tensor.unsqueeze(-2) if self.asks else tensor
        tensor = tensor.flatten(1, len(self.folded)) if self.folded else tensor
        return tensor[:, None] if self.single else tensor

    def together(self, tensor: Tensor) -> Tensor:
        """What ``apart`` gave, as it lay before."""
        if self.axis is not None:
            tensor = tensor.squeeze(1) if self.single else tensor
            tensor = tensor.unflatten(1, self.folded) if self.folded else tensor
            tensor = tensor.squeeze(-2) if self.asks else tensor
            if self.merged:
                tensor = (tensor.transpose(0, 1) if self.inner else tensor).flatten(0, 1)
            tensor = tensor.movedim(0, self.axis) if self.axis else tensor
        if not self.order:
            return tensor
        return tensor.permute([self.order.index(k) for k in range(len(self.order))])


def grown(two: Sequence[int], three: Tensor) -> Layout:
    """Where examples lie in a tensor of three examples (the third is the first again), from its shape with two."""
    longer = [k for k, (a, b) in enumerate(zip(two, three.shape, strict=True)) if a != b]
    if not longer:
        return Layout(None, reason="it is the same however many examples there are")
    axis = longer[0]
    if len(longer) > 1 or two[axis] % 2 or three.shape[axis] * 2 != two[axis] * 3:
        return Layout(None, reason="it mixes the examples with each other")
    if two[axis] == 2:
        return Layout(axis)
    for inner in (False, True):
        layout = Layout(axis, merged=True, inner=inner)
        apart = layout.apart(three, 3)
        if alike(apart[0], apart[2]):
            return layout
    return Layout(None, reason="its examples share an axis with something else, and cannot be told apart")


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same, but for rounding."""
    if torch.equal(a, b):
        return True  # which costs a tenth of what follows, and is so for most
    if not (a.is_floating_point() or a.is_complex()):
        return False
    return torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().nan_to_num(0, 0, 0).max()) if a.numel() else 0, equal_nan=True)
