"""What rules for ops have in common: only what depends on the input concerns them, and writing in place is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...model.inplace_ops import out_of_place
from ...model.ops import MOVED
from .flow import dependents, put


class OpRule:
    """A rule for an OpMode that answers each op on the way from the input, as if no op wrote into what it reads."""

    forgetful: frozenset[str] = frozenset()
    """Ops whose answers do not read again what they were given."""

    def answer(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an op that depends on the input and writes into nothing."""
        return func(*args, **kwargs)

    def copied(self, source: Tensor, into: Tensor) -> None:
        """A tensor now holds the value of another."""

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return NotImplemented
        leading = dependents([args, kwargs])
        strangers = [part for part in leading if isinstance(part, nn.Parameter)]
        for part in strangers:
            # Of a module that the model holds in a plain list, say: its weights are constants like the model's own.
            part.requires_grad_(False)
            self.__dict__.setdefault("strangers", []).append(part)
        if len(strangers) == len(leading):
            return NotImplemented
        base, plain, given, named, writes = out_of_place(name, func, args, kwargs)
        if base in MOVED and (writes or name == "setitem"):
            return func(*args, **kwargs)
        if writes:
            return self._written(base, plain, given, named)
        return self.answer(base, plain, given, named)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Afterwards, weights that were found on the way and held are as they were."""
        try:
            yield
        finally:
            for part in self.__dict__.pop("strangers", ()):
                part.requires_grad_(True)

    def _written(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """An op that writes into its first argument: as one that does not, whose result is then written."""
        into: Tensor = args[0]
        if into.requires_grad and name not in self.forgetful:
            # What it held is read again when relevance comes back.
            copy = into.clone()
            self.copied(into, copy)
            args = put(args, {id(into): copy})
        value = self.answer(name, func, args, kwargs)
        into.copy_(value)
        self.copied(value, into)
        return into
