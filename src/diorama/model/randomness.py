"""Random numbers that a look at a model draws leave the user's generators as they were."""

from __future__ import annotations

import ctypes
import random
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from .mode import op_name
from .ops import DRAWS

_MT19937 = 625 * 4
"""Bytes of the state of a Mersenne Twister: 624 words and the place among them."""


def _generators() -> list[torch.Generator]:
    found = [torch.default_generator]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found += list(torch.cuda.default_generators)
    return found


class _AsideDraws(TorchFunctionMode):
    """Runs each drawing op on a state of its own, and gives the generators back at once."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = _generators()
        self.states = [generator.get_state() for generator in self.generators]

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if op_name(func) not in DRAWS:
            return func(*args, **(kwargs or {}))
        found = [generator.get_state() for generator in self.generators]
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.states = [generator.get_state() for generator in self.generators]
            for generator, state in zip(self.generators, found, strict=True):
                generator.set_state(state)


class RandomnessKeeper:
    """A context that leaves torch's, Python's and NumPy's generators as it found them.

    Alone in the process, it saves them and sets them back. Beside other threads it may not set back what they draw
    meanwhile, so there each drawing op of torch is set aside by itself (draws by Python's and NumPy's are then left).
    """

    _aside: _AsideDraws | None

    def __enter__(self) -> RandomnessKeeper:
        self._stack, self._aside = ExitStack(), None
        self._found = [(generator, generator.get_state()) for generator in _generators()]
        if threading.active_count() > 1:
            self._aside = self._stack.enter_context(_AsideDraws())
            return self
        for generator, state in self._found:
            self._stack.callback(generator.set_state, state)
        self._stack.callback(random.setstate, random.getstate())
        self._stack.callback(_numpys_kept())
        return self

    def restart(self) -> None:
        """Let torch's generators draw again what they drew since the beginning."""
        if self._aside is not None:
            self._aside.states = [state for _, state in self._found]
            return
        for generator, state in self._found:
            generator.set_state(state)

    @property
    def drew(self) -> bool:
        """Whether a generator of torch has been drawn from since, inside."""
        now = self._aside.states if self._aside is not None else [generator.get_state() for generator, _ in self._found]
        return any(not torch.equal(one, state) for one, (_, state) in zip(now, self._found, strict=True))

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _numpys_kept() -> Callable[[], None]:
    """What gives NumPy's generator its state of now back; only where it was drawn from, as that alone takes a tenth of a small
    model's pass.
    """
    if "numpy.random" not in sys.modules:
        return _nothing  # nobody has it yet, and loading it takes longer than looking at a small model
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    begun = _words()

    def restore() -> None:
        # A second number of a pair that was drawn together is kept beside the words.
        if begun is None or state["has_gauss"] or _words() != begun:
            np.random.set_state(state)

    return restore


def _nothing() -> None:
    return


def _words() -> bytes | None:
    """The words of NumPy's generator as they lie in memory; None for a generator of another kind."""
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(generator) is not np.random.MT19937:
        return None
    return ctypes.string_at(generator.ctypes.state_address, _MT19937)
