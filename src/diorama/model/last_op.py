"""How scores were made: whether a network ends in a sigmoid or softmax, in the logarithm of one, or in weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from ..data.nesting import Nested
from . import batch_size, ops
from .axes import tensors_given, tensors_in
from .mode import Around, Callback, OpMode

Made = Literal["", "scores", "probabilities", "log_probabilities"]
"""What numbers are by the op that made them; empty where it does not say it."""

_KEPT = ops.MOVED | (ops.named("shares") - {"sum", "cumsum", "diff"})
"""What these make of probabilities, or of scores, are again such."""
_SUMS = ops.named("sum", "factor", "scaled", "normalizes") | {
    "neg", "sum", "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"}
"""Where scores go into them, scores come out."""
_ENDS: dict[str, Made] = {
    "sigmoid": "probabilities", "softmax": "probabilities", "log_softmax": "log_probabilities", "logsigmoid": "log_probabilities",
    "log_sigmoid": "log_probabilities"}
_WEIGHTS = ops.named("weights", "product") | {"baddbmm", "bilinear"}
_TELLING = _KEPT | _SUMS | _WEIGHTS | _ENDS.keys() | {"log", "exp"}


class AnswerTrace(OpMode):
    """A context that a model runs in, which then knows by what its answer was made: :meth:`of`.

    *Meaning* numbers tell little: raw scores of a network at its start may lie between 0 and 1, or add up to 1. The op that
    made them does. It is followed through ops that move, choose or average numbers; what a product with weights, and a sum
    with such, makes are scores. Of whatever an op that is not known makes nothing is said.
    *Cost* a few microseconds an op.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_op(self._seen)
        self._made: dict[int, tuple[weakref.ref[Tensor], Made]] = {}

    def of(self, tensor: Tensor) -> Made:
        """What a tensor is, by how it was made within the context."""
        known = self._made.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else ""

    def _seen(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        bare = name.removesuffix("_")
        if bare not in _TELLING and bare == name and name != "setitem":
            return
        given = [one for one in tensors_given(args, kwargs) if one.is_floating_point()]
        made = self._by(bare, given)  # of what went in, also where the op has written into it
        if name in ("setitem", "copy_", "fill_") and given:
            self._made.pop(id(given[0]), None)
        for tensor in (result,) if type(result) is Tensor else tensors_in(result):
            if made:
                self._made[id(tensor)] = weakref.ref(tensor), made
            elif name.endswith("_"):
                self._made.pop(id(tensor), None)

    def _by(self, name: str, given: list[Tensor]) -> Made:
        if name in _ENDS:
            return _ENDS[name]
        if name in _WEIGHTS:
            # Shares may weigh probabilities, which stay such; a network's own weights may not.
            own = any(type(one) is nn.Parameter or isinstance(one, nn.Parameter) for one in given)
            return "scores" if own or {self.of(one) for one in given} == {"scores"} else ""
        kinds = {self.of(one) for one in given}
        if name == "log" and kinds == {"probabilities"}:
            return "log_probabilities"
        if name == "exp" and kinds == {"log_probabilities"}:
            return "probabilities"
        if name in _KEPT:
            return kinds.pop() if len(kinds) == 1 else ""
        return "scores" if name in _SUMS and "scores" in kinds else ""


def made_by(
    model: nn.Module, x: Nested, look: Callable[[Nested], Any], around: Around | None = None, on_op: Callback | None = None
) -> tuple[Any, AnswerTrace]:
    """What a pass answers, and how that was made; one that takes one number of examples alone is found out on the way.

    ``around`` goes round every op of it, and ``on_op`` hears of each, for who wants to know more of the same pass.
    """
    ending = AnswerTrace()
    if on_op is not None:
        ending.on_op(on_op)
    if around is not None:
        ending.around(around)
    try:
        with ending:
            return look(x), ending
    except Exception as error:
        if batch_size.found(model, x, error) is None:
            raise
    with ending:
        return look(x), ending
