"""Whether each op of a pass surely answers each example for itself: then no other pass need tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data.nesting import Nested
from . import ops

_ELEMENTS = frozenset((
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu", "gelu", "silu", "mish", "tanh", "tanh_",
    "sigmoid", "sigmoid_", "softplus", "softsign", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "abs", "neg", "square",
))
"""Each number alone."""
_SUMS = frozenset(("add", "add_", "sub", "mul"))
"""Of numbers at the same places, or of all with one number."""
_AXES = {
    "linear": 2, "group_norm": 2,
    "conv1d": 3, "conv2d": 4, "conv3d": 5, "conv_transpose1d": 3, "conv_transpose2d": 4, "conv_transpose3d": 5, "batch_norm": 2,
    **{f"{kind}_pool{n}d": n + 2 for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)},
}
"""So many axes at least has what comes in, where the first one counts examples."""


class RowsApart:
    """Follows a pass for as long as every op is one of those, or keeps the examples on its first axis without touching it.

    *Meaning* ``sure``: whatever was made of the input so far has a row for each example, made of that example and of weights alone.
    What runs unseen makes tensors that are not known here, and with the first of them nothing is sure any more.
    """

    def __init__(self, model: nn.Module, x: Nested, own: frozenset[int]) -> None:
        self.sure = isinstance(x, Tensor) and x.ndim > 1 and x.layout is torch.strided
        self._count = len(x) if isinstance(x, Tensor) and x.ndim else 0
        self._model, self._own = model, own
        self._buffers: frozenset[int] | None = None
        self._known = {state(x): x} if isinstance(x, Tensor) else {}
        """Held, so that no two share an id."""

    def has(self, tensor: Any) -> bool:
        """Whether it is one of those that the pass surely made example by example."""
        return isinstance(tensor, Tensor) and state(tensor) in self._known

    def ran(self, name: str, args: Any, kwargs: Any, before: bool, result: Any) -> None:
        """An op has run; ``before``: whether what it took first was known before it, which it may have written to."""
        if name in ops.ASKS:
            return
        self.sure = before and isinstance(result, Tensor) and result.shape[:1] == (self._count,) and self._alone(name, args, kwargs)
        if self.sure:
            self._known[state(result)] = result

    def _alone(self, name: str, args: Any, kwargs: Any) -> bool:
        x, rest = args[0], [part for part in (*args[1:], *kwargs.values()) if isinstance(part, Tensor)]
        if name in _ELEMENTS:
            return not rest
        if name in _SUMS:
            return all(self.has(part) and part.shape == x.shape for part in rest)
        if name == "flatten":
            return not rest and (args[1] if len(args) > 1 else kwargs.get("start_dim", 0)) > 0
        if name in ("unflatten", "softmax", "log_softmax"):
            along = args[1] if len(args) > 1 else kwargs.get("dim")
            return not rest and isinstance(along, int) and along % x.ndim > 0
        if name == "layer_norm":
            shape = args[1] if len(args) > 1 else kwargs.get("normalized_shape", x.shape)
            return len(shape) < x.ndim and all(id(part) in self._own for part in rest)
        if name == "embedding":  # with a greatest length it writes into the weights
            longest = args[3] if len(args) > 3 else kwargs.get("max_norm")
            return longest is None and x.ndim > 1 and all(id(part) in self._own for part in rest)
        if name == "dropout":
            return not (args[2] if len(args) > 2 else kwargs.get("training", True))
        if name not in _AXES or x.ndim < _AXES[name]:
            return False
        if name == "batch_norm":
            if args[5] if len(args) > 5 else kwargs.get("training", False):
                return False
            if self._buffers is None:
                self._buffers = frozenset(map(id, self._model.buffers()))  # those that stand there while it is looked at
            return all(id(part) in self._own or id(part) in self._buffers for part in rest)
        return all(id(part) in self._own for part in rest)


def state(tensor: Tensor) -> tuple[int, int]:
    """A tensor as it is now: an in-place sum makes it another."""
    return id(tensor), 0 if tensor.is_inference() else tensor._version
