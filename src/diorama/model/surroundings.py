"""What a caller has switched on for its own code (no_grad, autocast, default types and devices) reaches no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import torch

from .changes import steady

T = TypeVar("T")
_CALLERS: ContextVar[torch.device | None] = ContextVar("callers_device", default=None)


class NeutralSurroundings:
    """A context as a fresh process has it: gradients on, no inference mode, no autocast, float32, and the CPU by default.

    With ``gradients=False`` the caller's ``no_grad`` holds, which changes no number.
    *Cost* some microseconds, as only what differs is switched.
    """

    def __init__(self, gradients: bool = True) -> None:
        self._gradients = gradients

    def __enter__(self) -> NeutralSurroundings:
        self._stack = ExitStack()
        if torch.is_inference_mode_enabled():
            self._stack.enter_context(torch.inference_mode(False))
        if self._gradients and not torch.is_grad_enabled():
            self._stack.enter_context(torch.enable_grad())
        for kind in _kinds():
            if torch.is_autocast_enabled(kind):
                self._stack.enter_context(torch.autocast(kind, enabled=False))
        default = torch.get_default_dtype()
        if default != torch.float32:
            torch.set_default_dtype(torch.float32)
            self._stack.callback(torch.set_default_dtype, default)
        device = torch.get_default_device()
        if device.type != "cpu":
            token = _CALLERS.set(device)
            self._stack.callback(_CALLERS.reset, token)
            self._stack.enter_context(torch.device("cpu"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def as_built(dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Around the model's own forward pass: new tensors have its type, and lie where the caller has them by default."""
    before, device = torch.get_default_dtype(), _CALLERS.get()
    other = dtype in (torch.float32, torch.float64) and dtype != before
    return _as_built(dtype if other else None, before, device) if other or device is not None else nullcontext()


@contextmanager
def _as_built(dtype: torch.dtype | None, before: torch.dtype, device: torch.device | None) -> Iterator[None]:
    with ExitStack() as stack:
        if dtype is not None:
            torch.set_default_dtype(dtype)
            stack.callback(torch.set_default_dtype, before)
        if device is not None:
            stack.enter_context(device)
        yield


def neutrally(made: Iterator[T]) -> Iterator[T]:
    """The same iterator, every step of which runs in neutral surroundings, while the caller's own hold between them."""
    try:
        while True:
            with NeutralSurroundings(), steady():
                try:
                    item = next(made)
                except StopIteration:
                    return
            yield item
    finally:
        close: Callable[[], object] | None = getattr(made, "close", None)
        if close is not None:
            close()


def _kinds() -> tuple[str, ...]:
    """The kinds of devices that may have an autocast of their own here."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return ("cpu",) if found is None else ("cpu", found.type)
