"""What runs in a model and is no op that the function mode sees: found in the graph that autograd makes of a pass."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.utils import checkpoint

from ..core.errors import DioramaError
from ..data import nesting
from ..data.nesting import Nested
from .axes import tensors_in
from .batch_size import whole
from .mode import OpMode, Run, Trail, WithoutModes
from .ops import ASKS, LIKE
from .outputs import Wanted, pick
from .plain_module import device_of, dtype_of, fed, held, named_modules, unwrap
from .preservation import Preservation, grads_asked
from .surroundings import NeutralSurroundings, as_built

OWN_SLOPE = "the autograd function"
"""So begins what is said of a function whose backward is written by hand."""
_VIEWS = ("AsStrided", "CopySlices", "View", "Slice", "Select", "Transpose", "Permute", "Squeeze", "Unsqueeze", "Expand",
          "TBackward", "Split", "Unbind", "Alias", "Diagonal")
"""What autograd makes of a view anew, after something was written into what it shows."""
_STEPS = frozenset({"round", "round_", "floor", "floor_", "ceil", "ceil_", "trunc", "trunc_", "fix", "fix_", "sign", "sign_", "heaviside"})
"""These answer in steps, whose slope is 0 wherever there is one."""
_CASTS = frozenset({"to", "type", "type_as", "int", "long", "short", "char", "byte"})
_WHOLE = frozenset({torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64})


@dataclasses.dataclass(frozen=True)
class HiddenOps:
    """What a pass does that the mode does not see, in words, each with the layer that runs it; false for nothing."""

    found: tuple[str, ...] = ()
    detached: tuple[tuple[str, str], ...] = ()
    """Layers ("" the model) whose answers depend on the input by a way that autograd does not follow as well, each with the layer
    where that way begins: numbers are detached there, computed under ``no_grad``, rounded or quantized."""

    def __bool__(self) -> bool:
        return bool(self.found)

    def __str__(self) -> str:
        return " and ".join(self.found[:3]) + (" and more" if len(self.found) > 3 else "")


_KNOWN: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], HiddenOps]] = weakref.WeakKeyDictionary()


def hidden(model: nn.Module, x: Nested, outputs: Wanted = None) -> HiddenOps:
    """What a model runs beside the ops that the mode sees; found once for a model, a form of input and the piece that scores are read from.

    *Meaning* ``found``: functions of ``torch.jit`` and ``vmap`` (their result is made by no op that was seen), autograd functions of
    one's own (backward they do as they like), checkpoints (they run once more on the way back), ``out=``. What leaves
    torch (NumPy) cannot be found so.
    *Cost* one forward pass of two examples.
    """
    model = unwrap(model)
    forms = tuple((tuple(part.shape[1:]), part.dtype) for part in nesting.tensors(x))
    key = (forms, outputs, tuple((name, id(module)) for name, module in model.named_modules()))
    if model not in _KNOWN or _KNOWN[model][0] != key:
        ready = fed(model, x)
        found = _found(model, whole(model, nesting.select(ready, slice(0, 2))), outputs)
        if found is None:  # a model that is bound to its batch runs with as many examples as there are, or not at all
            found = _found(model, whole(model, ready), outputs)
        _KNOWN[model] = (key, HiddenOps() if found is None else found)
    return _KNOWN[model][1]


def _found(model: nn.Module, x: Nested, outputs: Wanted) -> HiddenOps | None:
    """What is hidden; None where the model does not run."""
    watch = _Watch()
    watch.trail = Trail(named_modules(model), closed=lambda name, module, args, output: watch.answered(name, next(iter(tensors_in(output)), None)))
    x = nesting.each(x, lambda part: part.clone().requires_grad_() if part.is_floating_point() else part.clone())
    # Copies, as a model may write into its input.
    x = nesting.each(x, lambda part: watch.own(part.clone()))
    # The kernels of recurrent layers on an accelerator differentiate in train mode alone.
    cudnn = torch.backends.cudnn.flags(enabled=device_of(model).type == "cpu")
    weights = [
        tensor for tensor in held(model)
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and not tensor.is_inference()
    ]
    with WithoutModes(), NeutralSurroundings(), Preservation(model), grads_asked(weights, True), cudnn, watch.trail, as_built(dtype_of(model)):
        try:
            with OpMode().around(watch.ran):
                output = nesting.call(model, x)
        except DioramaError:
            raise
        except Exception:  # noqa: BLE001 - whatever a model says of an input that it does not take; the pass itself tells it
            return HiddenOps(tuple(watch.found)) if watch.found else None
        watch.trail.open.clear()
        for tensor in tensors_in(output):
            watch.given(tensor)
        with contextlib.suppress(DioramaError):  # of a model whose scores nobody knows how to read nothing is asked
            # What else it answers, such as a memory that the next call takes, is no way to the scores.
            watch.answered("", pick(output, outputs)[0])
    return HiddenOps(tuple(watch.found), tuple(watch.detached.items()))


class _Watch:
    """Compares what made each tensor that an op takes with what was seen to run."""

    def __init__(self) -> None:
        self.trail, self.hooked = Trail({}), checkpointed()
        self.depending: dict[int, Tensor] = {}
        """What depends on the input; held, so that none of them shares an id with a later one."""
        self.lost: dict[int, tuple[bool, str]] = {}
        """Of these, what depends on it by a way that autograd does not follow: whether autograd follows another one, and where it was left."""
        self.detached: dict[str, str] = {}
        self.found: dict[str, None] = {}
        self.seen: dict[int, Any] = {}  # held, so that none of them shares an id with a later one

    def own(self, tensor: Tensor) -> Tensor:
        """A tensor that goes in."""
        self.made(tensor)
        self.depending[id(tensor)] = tensor
        return tensor

    def answered(self, name: str, output: Tensor | None) -> None:
        """A layer, or the model, answers this."""
        where = None if output is None else self.left(output)
        if where is not None:
            self.detached[name] = where

    def left(self, tensor: Tensor) -> str | None:
        """Where autograd was left on the way to a tensor; None where it was not."""
        along, where = self.lost.get(id(tensor), (True, None))
        # What an autograd function answers was made without autograd, and is on its way since.
        return None if where is None or (not along and tensor.requires_grad) else where

    def leaving(self, name: str, given: list[Tensor], followed: bool, results: list[Tensor]) -> None:
        """Note what of an op's results depends on the input, and what by a way that autograd does not follow."""
        depending = [tensor for tensor in given if id(tensor) in self.depending]
        if not depending or name in ASKS or name in LIKE:
            return
        where = next((left for tensor in given if (left := self.left(tensor)) is not None), None)
        for made in results:
            self.depending[id(made)] = made
            stepped = made.is_quantized or name in _STEPS or (name in _CASTS and made.dtype in _WHOLE)
            if not (made.is_floating_point() or made.is_complex() or stepped):
                continue
            if where is None and followed and (stepped or not made.requires_grad):
                where = self.trail.here or "the model itself"
            if where is not None:
                self.lost[id(made)] = (made.requires_grad, where)

    def made(self, tensor: Tensor) -> None:
        """An op was seen to answer this."""
        for part in (tensor, tensor._base):
            if part is not None and part.grad_fn is not None:
                self.seen[id(part.grad_fn)] = part.grad_fn

    def given(self, tensor: Tensor) -> None:
        """An op takes this, or the model returns it: something must have made it."""
        maker = tensor.grad_fn
        if maker is None or id(maker) in self.seen:
            return
        self.seen[id(maker)] = maker
        if isinstance(maker, BackwardCFunction):
            self.add(f"{OWN_SLOPE} {type(maker).__name__.removesuffix('Backward')}", "before")
        elif not (tensor._is_view() and any(word in maker.name() for word in _VIEWS)):
            self.add("a function whose ops torch hides (of torch.jit or vmap, say)", "before")

    def add(self, what: str, where: str = "in") -> None:
        """Something hidden runs here, or before what runs here."""
        self.found[f"{what} {where} {self.trail.here}" if self.trail.here else what] = None

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, run: Run) -> Any:
        """Run an op, and note what it was given and what it made."""
        given = [*tensors_in(args), *tensors_in(kwargs)]
        for tensor in given:
            self.given(tensor)
        followed = any(tensor.requires_grad for tensor in given if id(tensor) in self.depending)
        if kwargs.get("out") is not None:
            self.add(f"{name} with out=")
        result = run(name, func, args, kwargs)
        for tensor in tensors_in(result):
            self.made(tensor)
        written = [args[0]] if name == "setitem" and isinstance(args[0], Tensor) else []
        for tensor in written:
            self.made(tensor)
        self.leaving(name, given, followed, [*tensors_in(result), *written])
        if torch.is_grad_enabled() and checkpointed() and not self.hooked:
            self.add("a checkpoint")
        return result


def checkpointed() -> bool:
    """Whether a checkpoint of torch keeps what autograd needs here, and will compute it again on the way back.

    *Meaning* hooks of one's own (``torch.autograd.graph.saved_tensors_hooks``) are taken for what they are as a rule, another place to store
    tensors; one that computes something again by itself is not noticed.
    """
    hooks = torch._C._autograd
    passed = []
    try:
        while (top := hooks._top_saved_tensors_default_hooks(True)) is not None:
            if getattr(top[0], "__module__", "") == checkpoint.__name__:
                return True
            passed.append(top)  # a checkpoint may lie around it
            hooks._pop_saved_tensors_default_hooks()
    finally:
        for top in reversed(passed):
            hooks._push_saved_tensors_default_hooks(*top)
    return False
