"""A model is left exactly as it was found: mode, weights, buffers, attributes, random numbers, even after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .plain_module import made_in_inference, modules_of, wrapped_children
from .randomness import RandomnessKeeper

Mode = Literal["eval", "train"]
_INTERNAL = frozenset(vars(nn.Module()))
"""What torch itself keeps in every module; all else is the module's own."""
_CONTAINERS = (list, dict, set)
_FIXED = (bool, int, float, str, type(None))
"""Nothing is written into these."""
_DEEP, _MANY = 4, 2_000
"""So deep, and so many things, are looked through in what a module holds: a cache of keys and values lies well within."""


class Preservation:
    """A context in which a model may be run in another mode without a trace.

    Buffers and plain tensors that modules hold, themselves or in lists, dicts and plain objects, are replaced by copies, so
    that running statistics, caches and counters move on the copies; the very objects come back at the end. Compiled and
    parallel children are replaced by the plain modules inside them, and calls that ``compile()`` put in a module's place are set aside. In train mode
    a model that is partly frozen (some modules in eval mode) stays so.
    """

    def __init__(self, model: nn.Module, mode: Mode = "eval") -> None:
        self._model, self._mode = model, mode

    def __enter__(self) -> Preservation:
        self._stack = ExitStack()
        try:
            self.random = self._stack.enter_context(RandomnessKeeper())
            training = self._mode == "train"
            modules = modules_of(self._model)
            switch = not training or not any(module.training for module in modules)
            for module in modules:
                self._stack.callback(_lend(module))
                if switch:
                    _switch(module, training)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextmanager
def weights_held(model: nn.Module) -> Iterator[None]:
    """Within, a model's weights are constants, so that what needs gradients is what depends on the input."""
    with grads_asked([tensor for tensor in model.parameters() if tensor.is_leaf and not tensor.is_inference()], False):
        yield


@contextmanager
def grads_asked(tensors: Iterable[Tensor], wanted: bool) -> Iterator[None]:
    """Within, autograd follows the tensors, or does not; afterwards each is as it was."""
    changed = [tensor for tensor in tensors if tensor.requires_grad != wanted]
    try:
        for tensor in changed:
            tensor.requires_grad_(wanted)
        yield
    finally:
        for tensor in changed:
            tensor.requires_grad_(not wanted)


class KeptWeights:
    """What a model's weights and buffers are before code of others has it in hand, so that all that it wrote can be put back.

    *Meaning* numbers are compared, not counts of writes: ``.data`` and numpy write without a count, and what is put back by who changed it is
    as it was. Another tensor in the place of one counts too. *Cost* a copy of all weights, and reading both once for each :meth:`restored`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept: list[tuple[str, dict[str, Tensor | None], str, Tensor, Tensor]] = []
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for path, module in model.named_modules():
                for held in (module._parameters, module._buffers):
                    for name, tensor in held.items():
                        if tensor is not None and _writable(tensor):
                            self._kept.append((f"{path}.{name}".lstrip("."), held, name, tensor, tensor.detach().clone()))

    def restored(self) -> list[str]:
        """Put all back; the names of what was changed."""
        found = []
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for path, held, name, tensor, before in self._kept:
                now = tensor.detach()
                alike = now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all())
                if alike and held.get(name) is tensor:
                    continue
                found.append(path)
                held[name] = tensor
                if not alike:
                    tensor.data = before.clone() if now.shape != before.shape else tensor.data.copy_(before)
        return found


def _writable(tensor: Tensor) -> bool:
    """Whether a tensor has numbers of its own that may be written over."""
    return type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta and tensor.layout == torch.strided and not tensor.is_inference()


def _switch(module: nn.Module, training: bool) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        module.train(training)
    else:
        # The flag alone: a module's own train() or eval() may do more (fold weights, say) that nothing could undo. Where it lies among
        # the attributes it is put there: nn.Module's way to set one looks for parameters, and there are as many flags as modules.
        if "training" in module.__dict__:
            module.__dict__["training"] = training
        else:
            module.training = training


def _lend(module: nn.Module) -> Callable[[], object]:
    """Put copies in the place of all that a forward pass may write to; returns what puts the originals back."""
    if isinstance(module, torch.jit.ScriptModule):
        training = module.training
        return lambda: module.train(training)
    own = module.__dict__
    attributes = own.copy()
    held = [(part, part.copy()) for part in (own["_buffers"], own["_parameters"], own["_modules"])]
    own.pop("_compiled_call_impl", None)  # of ``model.compile()``: whoever looks wants the ops, and what is compiled sees no new hook
    added = [(name, value) for name in sorted(own.keys() - _INTERNAL, key=str) if type(value := own[name]) not in _FIXED]
    holders = _Holders() if added else None

    def restore() -> None:
        if len(own) != len(attributes) or own.keys() != attributes.keys():
            for name in [name for name in own if name not in attributes]:
                del own[name]
        own.update(attributes)
        for part, before in held:
            if part or before:
                part.clear()
                part.update(before)
        if holders is not None:
            holders.restore()

    for name, value in added:
        if isinstance(value, Tensor):
            own[name] = value.clone()
        elif holders is not None:
            holders.lend(value)
    _copies(module, own)
    return restore


class _Holders:
    """Lists, dicts, sets and plain objects that a module holds, one in another, as caches of keys and values are kept."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Any, Any]] = {}
        self._seen = 0

    def lend(self, value: Any, depth: int = 0) -> None:
        """Remember what a holder holds, and put copies in the place of its tensors."""
        container = vars(value) if _plain(value) else value
        if type(container) not in _CONTAINERS or id(container) in self._before or depth >= _DEEP:
            return
        self._seen += len(container)
        if self._seen > _MANY and depth:
            return
        self._before[id(container)] = (container, container.copy())
        if isinstance(container, set) or self._seen > _MANY:
            return
        for key, part in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(part, Tensor):
                if not isinstance(part, nn.Parameter):
                    container[key] = part.clone()
            else:
                self.lend(part, depth + 1)

    def restore(self) -> None:
        """Each holds again what it held."""
        for container, before in self._before.values():
            _refill(container, before)


def _plain(value: Any) -> bool:
    """Whether a thing is an object of the user's own, which may keep something in its attributes."""
    if type(getattr(value, "__dict__", None)) is not dict or callable(value) or isinstance(value, nn.Module | ModuleType):
        return False
    if any(isinstance(part, nn.Module) for part in vars(value).values()):
        return False  # what holds networks is a trainer, or the like, with a life of its own
    return type(value).__module__.partition(".")[0] not in ("torch", "numpy", "diorama", "builtins")


def _copies(module: nn.Module, own: dict[str, Any]) -> None:
    own.pop("_compiled_call_impl", None)
    for name, buffer in own["_buffers"].items():
        if buffer is not None:
            own["_buffers"][name] = buffer.clone()
    if own["_parameters"] and not torch.is_inference_mode_enabled():
        for name, parameter in own["_parameters"].items():
            if parameter is not None and made_in_inference(parameter):
                # Made in inference mode: autograd takes nothing but a copy.
                own["_parameters"][name] = nn.Parameter(parameter.clone(), requires_grad=False)
    if own["_modules"]:
        own["_modules"].update(wrapped_children(module))
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
        # Such a table shortens its rows while it is read.
        own["_parameters"]["weight"] = nn.Parameter(module.weight.detach().clone(), module.weight.requires_grad)


def _refill(container: Any, value: Any) -> None:
    if isinstance(container, list):
        container[:] = value
    else:
        container.clear()
        container.update(value)
