"""Random numbers that a look at a model draws leave the user's generators as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

# fmt: off
DRAWING = frozenset((
    "_sample_dirichlet", "_standard_gamma", "alpha_dropout", "alpha_dropout_", "bernoulli", "bernoulli_",
    "binomial", "cauchy_", "dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "exponential_",
    "feature_alpha_dropout", "feature_alpha_dropout_", "feature_dropout", "feature_dropout_",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "geometric_", "gru", "gumbel_softmax", "kaiming_normal_",
    "kaiming_uniform_", "log_normal_", "lstm", "multi_head_attention_forward", "multinomial", "native_dropout",
    "normal", "normal_", "orthogonal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "random_", "randperm", "rnn_relu", "rnn_tanh", "rrelu", "rrelu_", "scaled_dot_product_attention",
    "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_",
))
# fmt: on
"""Names of the ops that may draw from a default generator."""


def _generators() -> list[torch.Generator]:
    found = [torch.default_generator]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found += list(torch.cuda.default_generators)
    return found


class _Aside(TorchFunctionMode):
    """Runs each drawing op on a state of its own, and gives the generators back at once."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = _generators()
        self.states = [generator.get_state() for generator in self.generators]

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") not in DRAWING:
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


class RandomKept:
    """A context that leaves torch's, Python's and NumPy's generators as it found them.

    Alone in the process, it saves them and sets them back. Beside other threads it may not set back what they draw
    meanwhile, so there each drawing op of torch is set aside by itself (draws by Python's and NumPy's are then left).
    """

    def __enter__(self) -> RandomKept:
        self._stack = ExitStack()
        if threading.active_count() > 1:
            self._stack.enter_context(_Aside())
            return self
        for generator in _generators():
            self._stack.callback(generator.set_state, generator.get_state())
        self._stack.callback(random.setstate, random.getstate())
        self._stack.callback(np.random.set_state, np.random.get_state())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
