"""Hooks that a recorder puts on a model: whoever copies or stores the model meanwhile takes none of them along."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

PREPARED = "__prepare_scriptable__"
"""What torch asks a module for before it scripts it: hooks are taken off there, since no script can hold them."""
CALLED = "_compiled_call_impl"
"""What torch calls in a module's place, where a module has one of its own; copies and what is stored leave it out."""
UNSOUGHT = "nor is it looked for where a first NaN or infinity comes from"
"""What is said of a model that is compiled as a whole, beside what else is not read of it."""
_KINDS = ("_forward_pre_hooks", "_forward_hooks")
_ABOUT = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


class OwnHook:
    """A hook of ours; a copy of it, or what is stored of it, does nothing, and wants no diorama."""

    def __init__(self, seen: Callable[..., None] | None) -> None:
        self._seen = seen

    def __call__(self, *args: Any) -> None:
        try:
            if self._seen is not None:
                self._seen(*args)
        except Exception:  # noqa: BLE001, S110 - what is seen tells its own faults; what befalls the call itself never reaches the training
            return

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnHook:
        return type(self)(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (contextlib.nullcontext(), "__exit__")


class OwnCall(functools.partial[Any]):
    """What is called in a model's place; of a copy, and of what is stored, nothing is left."""

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return max, ((None,),)


def compiled(module: nn.Module) -> bool:
    """Whether ``module.compile()`` put a call in its place: what is compiled takes the hooks of then along, and sees no others."""
    call = module.__dict__.get(CALLED)
    return call is not None and not isinstance(call, OwnCall)


class CallHook:
    """Sees the calls of a model before they are made, in the place where torch keeps a compiled call.

    *Cost* about a microsecond a call; with a hook torch calls a module another way, which costs several.
    """

    def __init__(self, model: nn.Module, called: Callable[..., Any]) -> None:
        self._model, self._own = model, OwnCall(called)
        model.__dict__[CALLED] = self._own

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Whether the model is called as torch calls modules, and nothing stands in its call's place."""
        kind = type(model)
        usual = kind.__call__ is nn.Module.__call__ and kind._call_impl is nn.Module._call_impl
        return usual and getattr(model, CALLED, model) is None

    @property
    def there(self) -> bool:
        """Whether it still stands there: who compiles the model puts another in its place."""
        return self._model.__dict__.get(CALLED) is self._own

    def remove(self) -> None:
        """Let the model be called as before."""
        if self.there:
            del self._model.__dict__[CALLED]


def take_off(model: nn.Module) -> None:
    """Take every hook of ours off."""
    for module in model.modules():
        if isinstance(vars(module).get(CALLED), OwnCall):
            del vars(module)[CALLED]
        for kind in _KINDS:
            hooks = vars(module).get(kind) or {}
            for key in [key for key, hook in hooks.items() if isinstance(hook, OwnHook)]:
                del hooks[key]
                for about in _ABOUT:
                    vars(module).get(about, {}).pop(key, None)


@contextlib.contextmanager
def without(model: nn.Module) -> Iterator[None]:
    """The model as it is without hooks of ours; afterwards they are there again, in the same order."""
    held = [
        (hooks, list(hooks.items()))
        for module in model.modules()
        if any(isinstance(hook, OwnHook) for kind in _KINDS for hook in (vars(module).get(kind) or {}).values())
        for hooks in (vars(module).get(name) for name in (*_KINDS, *_ABOUT)) if hooks
    ]
    calls = [(module, call) for module in model.modules() if isinstance(call := vars(module).get(CALLED), OwnCall)]
    own = vars(model).get(PREPARED)
    ours = isinstance(own, ScriptGuard)
    try:
        take_off(model)
        if ours:
            del vars(model)[PREPARED]
        yield
    finally:
        if ours:
            vars(model)[PREPARED] = own
        for module, call in calls:
            vars(module)[CALLED] = call
        for hooks, were in held:
            hooks.clear()
            hooks.update(were)


class GradientHook:
    """A hook of ours on the gradient of a weight; taken off, it leaves the weight as it was.

    torch goes through a weight's hooks at each backward pass, several microseconds each time, as long as a table of them is there: also where
    it is empty since the last one was taken off.
    """

    def __init__(self, weight: Tensor, seen: Callable[[Tensor], None]) -> None:
        self._weight, self._bare = weight, weight._backward_hooks is None
        self._handle = weight.register_hook(OwnHook(seen))  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Take it off, and the table too, where it came with this hook and holds no other."""
        self._handle.remove()
        if self._bare and self._weight._backward_hooks is not None and not self._weight._backward_hooks:
            self._weight._backward_hooks = None


class ScriptGuard:
    """Stands at a model as what makes it ready to be scripted: a mark by which it is known as ours."""
