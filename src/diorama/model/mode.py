"""Every op that runs, wherever it is called from: seen, replaced, opened or stopped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from ..core.selection import within, without_call
from .axes import tensors_in
from .ops import ALIASES
from .overloads import is_overload, usual

Callback = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any], Any], None]
Rule = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
Run = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
Around = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any], Run], Any]

_SIGNS = {
    "truediv": "div",
    "floordiv": "floor_divide",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "invert": "bitwise_not",
}
_REFLECTED = ("radd", "rmul", "rmatmul", "rtruediv", "rdiv", "rpow", "rfloordiv", "rmod")


@functools.lru_cache(maxsize=4096)
def op_name(func: Callable[..., Any]) -> str:
    """The usual name of an op: ``relu``, ``relu_``; ``add`` for ``+``, ``add_`` for ``+=``; ``T`` for ``.T``."""
    name = getattr(func, "__name__", type(func).__name__)
    if isinstance(func, torch._ops.OpOverload):
        name = name.partition(".")[0]
    if name == "__get__":
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    if not (name.startswith("__") and name.endswith("__")):
        return name
    bare = name[2:-2]
    if bare in _REFLECTED:
        bare = bare[1:]
    if bare[:1] == "i" and bare[1:] in ("add", "sub", "mul", "truediv", "pow", "and", "or"):
        return _SIGNS.get(bare[1:], bare[1:]) + "_"
    return _SIGNS.get(bare, bare)


@functools.lru_cache(maxsize=4096)
def _called(func: Callable[..., Any]) -> tuple[str, bool]:
    """An op's usual name, and whether it may be called otherwise than the function of that name."""
    return op_name(func), is_overload(func)


class OwnOps:
    """A context in which the ops that a mode sees are diorama's own: a class, as each layer of each pass enters one."""

    __slots__ = ("_mode",)

    def __init__(self, mode: OpMode) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        self._mode._aside += 1

    def __exit__(self, *_: object) -> None:
        self._mode._aside -= 1


class OpMode(TorchFunctionMode):
    """A context that sees every op of torch which runs in this thread.

    *Meaning* a callback given to ``on_op`` hears of each op after it ran; a rule given to ``replace`` is asked before,
    and answers with a result or with ``NotImplemented``, in which case the op runs as it is; the first answer decides.
    A callback given to ``around`` gets ``run`` with which to run the op, and may change what goes in and what comes out.
    Ops that a rule itself calls are not seen, unless it calls them inside ``with mode:``. ``cancel`` is called
    before each op and may raise.
    *Cost* about two microseconds an op.
    """

    def __init__(self, *, cancel: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._callbacks: list[Callback] = []
        self._rules: list[Rule] = []
        self._around: Around | None = None
        self._aside = 0
        self._cancel = cancel

    def on_op(self, callback: Callback) -> OpMode:
        """Call ``callback(name, func, args, kwargs, result)`` after every op."""
        self._callbacks.append(callback)
        return self

    def replace(self, rule: Rule) -> OpMode:
        """Ask ``rule(name, func, args, kwargs)`` for the result of every op."""
        self._rules.append(rule)
        return self

    def around(self, callback: Around) -> OpMode:
        """Let ``callback(name, func, args, kwargs, run)`` answer every op, mostly with ``run(name, func, args, kwargs)``."""
        self._around = callback
        return self

    def aside(self) -> OwnOps:
        """Within, ops are diorama's own, and the model's names and rules do not count them."""
        return OwnOps(self)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._cancel is not None:
            self._cancel()
        if self._aside or not (self._rules or self._callbacks or self._around) or inside_transform():
            return func(*args, **kwargs)
        name, otherwise = _called(func)
        if otherwise:
            func, args, kwargs = usual(func, args, kwargs)
        if self._around is not None:
            return self._around(name, func, args, kwargs, self._ran)
        return self._ran(name, func, args, kwargs)

    def _ran(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = NotImplemented
        for rule in self._rules:
            result = rule(name, func, args, kwargs)
            if result is not NotImplemented:
                break
        if result is NotImplemented:
            result = func(*args, **kwargs)
        for callback in self._callbacks:
            callback(name, func, args, kwargs, result)
        return result


def inside_transform() -> bool:
    """Whether a transform of torch.func (vmap, say) is running: what it runs is none of the network's ops, but its result is."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def answering() -> bool:
    """Whether somebody sees or answers ops here; a default device, say, is a mode of torch's own and does not count."""
    return any(isinstance(mode, OpMode) for mode in _get_current_function_mode_stack())  # type: ignore[no-untyped-call]


class WithoutModes:
    """A context in which no function mode is on, whoever turned it on: for a look that nobody else should see. A class, as each layer of
    each pass enters one."""

    __slots__ = ("_modes",)

    def __enter__(self) -> None:
        self._modes = [_pop_mode() for _ in range(torch._C._len_torch_function_stack())]  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        while self._modes:
            _push_mode(self._modes.pop())  # type: ignore[no-untyped-call]


class OpNames:
    """Names ops as the graph does: by the layer that calls them and their usual name, ``#2`` at a second call there."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._times: dict[str, int] = {}

    def restart(self) -> None:
        """Count from the beginning, for a new forward pass."""
        self._times.clear()

    def next(self, name: str) -> str:
        """The name that an op has if it returns a tensor."""
        full = within(self.trail.here, name)
        time = self._times.get(full, 0) + 1
        return full if time == 1 else f"{full}#{time}"

    def count(self, name: str, result: Any) -> bool:
        """Count an op that ran, if it is a place: one that returned a tensor."""
        if name in ALIASES or not (isinstance(result, Tensor) or next(tensors_in(result), None) is not None):
            return False
        full = within(self.trail.here, name)
        self._times[full] = self._times.get(full, 0) + 1
        return True


class Trail:
    """A context that knows which modules are running: the open calls, outermost first, by layer name (``act#2``).

    ``opened(name, module, args)`` and ``closed(name, module, args, output)`` are called at the two ends of each call.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        opened: Callable[[str, nn.Module, Any], None] | None = None,
        closed: Callable[[str, nn.Module, Any, Any], None] | None = None,
    ) -> None:
        self._modules, self._opened, self._closed = modules, opened, closed
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self.calls: dict[str, int] = {}
        self.open: list[str] = []

    @property
    def here(self) -> str:
        """The name of the innermost running layer; empty in the model itself."""
        return self.open[-1] if self.open else ""

    def restart(self) -> None:
        """Count calls from the beginning, for a new forward pass."""
        self.calls.clear()
        self.open.clear()

    def __enter__(self) -> Trail:
        for path, module in self._modules.items():
            self._handles.append(nn.Module.register_forward_pre_hook(module, self._before(path), with_kwargs=True))
            self._handles.append(nn.Module.register_forward_hook(module, self._after(path), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.calls[path] = call = self.calls.get(path, 0) + 1
            name = path if call == 1 else f"{path}#{call}"
            self.open.append(name)
            if self._opened is not None:
                self._opened(name, module, (args, kwargs))

        return hook

    def _after(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # Calls that an exception ended (and that the model caught) are still open: they end here.
            while self.open:
                name = self.open.pop()
                if path in (name, without_call(name)):
                    if self._closed is not None:
                        self._closed(name, module, (args, kwargs), output)
                    return

        return hook


def run_bare(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an op, as a mode without rules does: what fails there is the op."""
    return func(*args, **kwargs)
