"""What signals see of one step: only what some signal needs is collected."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..core.blame import charge, given
from ..core.errors import Faulty
from ..core.registry import is_own, told
from .histogram import HistogramValue

_NO_VALUES: Mapping[str, Any] = MappingProxyType({})
BEGAN = time.time() - time.monotonic()
"""What makes seconds since 1970 of a monotonic clock: see :func:`moment`."""


def _no_values() -> Mapping[str, Any]:
    """One empty mapping for all steps at which only numbers are taken, of which there are many."""
    return _NO_VALUES

if TYPE_CHECKING:
    from .batch_reader import BatchReading
    from .store_bytes import Row


def moment() -> float:
    """Now, in seconds since 1970 by a clock that nobody sets: as the time of day was when this process began, and on from there."""
    return BEGAN + time.monotonic()


@dataclasses.dataclass(frozen=True)
class LayerReading:
    """What a layer answered to a batch: a histogram of its activations and the share of its units that don't take part.

    *Meaning* ``dead`` counts units that are never above zero in the batch where a ReLU cuts there, and units that
    answer the same to everything elsewhere. ``saturated`` is the share of activations within 1 % of the ends of a
    bounded activation function; None where the layer has none.
    """

    values: HistogramValue
    dead: float | None
    saturated: float | None
    silent: Any = None
    """Which units don't take part, one flag each."""
    mismatch: float | None = None
    """How far a batch norm's running statistics lie from the batch's; None for other layers."""
    rows: int = 0
    """How many rows came to it in the pass: of an expert those that were sent to it."""


@dataclasses.dataclass(frozen=True)
class ProbeReading:
    """What the model answered to the probe set."""

    loss: float | None
    accuracy: float | None
    layers: Mapping[str, LayerReading]
    examples: Mapping[str, Row] = dataclasses.field(default_factory=_no_values)
    """How each example stands: its loss, answer and margin, as :meth:`Reading.standing` gives them."""
    classes: Mapping[str, Row] = dataclasses.field(default_factory=_no_values)
    """Of pixels how often each class was answered as which (``confusion``, a row a class, one behind the other), and the mean ``loss`` of each."""
    closed: frozenset[str] = frozenset()
    """Layers whose answers to training batches cannot be read, as they run compiled there."""


Lazy = Callable[[], Mapping[str, HistogramValue]]


def nothing() -> Mapping[str, HistogramValue]:
    """No tensors were collected."""
    return {}


@dataclasses.dataclass(slots=True)
class Step:
    """One step of the training, as signals read it.

    ``needs`` of a signal names what it reads: ``weights``, ``gradients``, ``updates``, ``activations``, ``batch``, ``probe``, ``scale``;
    scalars and learning rates are always there.
    """

    number: int
    scalars: Mapping[str, float | Tensor]
    """What the loop passed to ``step()``."""
    learning_rates: Mapping[str, float] = dataclasses.field(default_factory=_no_values)
    weights_of: Lazy = nothing
    gradients: Mapping[str, HistogramValue] = dataclasses.field(default_factory=_no_values)
    """By parameter: the gradients that the optimizer used."""
    updates: Mapping[str, HistogramValue] = dataclasses.field(default_factory=_no_values)
    """By parameter: what the step changed."""
    before: Mapping[str, float] = dataclasses.field(default_factory=_no_values)
    """By parameter: the norm of the weights before the step."""
    activations: Mapping[str, LayerReading] = dataclasses.field(default_factory=_no_values)
    """By layer: what it answered to the batch that was trained on."""
    probe: ProbeReading | None = None
    batch: BatchReading | None = None
    """The batch that was trained on."""
    probe_balance: Any = None
    """The share of each class in the probe set, where that is known."""
    loss_scale: float | None = None
    """The factor that a gradient scaler puts on the loss."""
    _weights: Mapping[str, HistogramValue] | None = dataclasses.field(default=None, repr=False)

    @property
    def weights(self) -> Mapping[str, HistogramValue]:
        """By parameter: the weights after the step."""
        if self._weights is None:
            self._weights = self.weights_of()
        return self._weights


def values_of(signals: Any, step: Step, report: Callable[[Any], None]) -> dict[str, Any]:
    """The numbers of several signals; one that fails does not take the others with it."""
    found: dict[str, Any] = {}
    for signal in signals:
        try:
            values = signal(step)
            found.update(values if is_own(signal) else _checked(signal, values))
        except (Exception, SystemExit) as error:
            charge(error, signal)
            report(error)
    return found


def _checked(signal: Any, values: Any) -> dict[str, Any]:
    """What somebody's signal gave, if all of it can be written. *Raises* Faulty: one such number would cost the whole step."""
    for name, value in given(signal, values, Mapping).items():
        given(signal, name, str).encode()
        if isinstance(value, Tensor) and value.numel() != 1:
            raise Faulty(f"{told(signal)} wants mending: a series takes one number a step, and {name!r} has the shape {tuple(value.shape)}")
        if isinstance(given(signal, value, bool, int, float, np.number, np.ndarray, Tensor, HistogramValue), int):
            float(value)  # *raises* OverflowError of what no float holds
    return dict(values)


def numbers_of(scalars: Mapping[str, Any], warn: Callable[[str], object]) -> dict[str, float | Tensor]:
    """The numbers that a loop told of a step; what is none is warned of and left out."""
    found: dict[str, float | Tensor] = {}
    for name, value in scalars.items():
        if type(value) is float:
            found[name] = value
        elif isinstance(value, Tensor) and value.numel() == 1:
            # A number on an accelerator is fetched by the writer, so that the training does not wait for it.
            found[name] = float(value.item()) if value.is_cpu else value.detach().clone().reshape(())
        else:
            try:
                found[name] = float(value)
            except (TypeError, ValueError, OverflowError) as error:
                warn(f"step({name}=…) wants a number, got {type(value).__name__}: {error}")
    return found
