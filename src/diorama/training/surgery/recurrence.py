"""The hidden units of recurrent modules, followed through the ops in which torch runs them whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ...core.selection import without_call
from ...model.tracks import Axis, Tracks, Whole

if TYPE_CHECKING:
    from ...model.mode import Trail

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class Recurrence(Tracks):
    """What an LSTM, a GRU or a plain recurrent module does with units: one width for all its layers and directions."""

    trail: Trail | None
    cells: dict[str, Whole]
    _reads: Callable[[Axis], None]
    _makes: Callable[[Axis], None]

    def recurrent_rules(self) -> dict[str, Any]:
        """By op, what it does with units."""
        return {
            **dict.fromkeys(_GATES, self._recurrent), **{f"{name}_cell": self._cell for name in _GATES},
            "_pack_padded_sequence": self._packed, "_pad_packed_sequence": self._unpacked,
        }

    def _packed(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        return [[None, *self.of(given[0])[2:]], *([None] * tensor.ndim for tensor in results[1:])]

    def _unpacked(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        return [[None, None, *self.of(given[0])[1:]], *([None] * tensor.ndim for tensor in results[1:])]

    def _recurrent(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        packed = isinstance(args[1], Tensor) and not args[1].is_floating_point()
        hidden, weights, biased, layers = args[1 + packed], args[2 + packed], args[3 + packed], args[4 + packed]
        ways = 1 + bool(args[7 + packed])
        each, gates = len(weights) // (layers * ways), _GATES[name]
        cells = self.fresh(weights[0].shape[0] // gates)
        projected = each > 2 + 2 * biased
        out = self.fresh(weights[1].shape[1]) if projected else cells
        read = self.of(args[0])[-1]
        for number in range(layers * ways):
            own = weights[number * each : (number + 1) * each]
            self._gated(own[: 2 + 2 * biased], read if number < ways else np.tile(out, ways), out, np.tile(cells, gates))
            if projected:
                rows, columns = self.of(own[-1])
                self._makes(rows)
                self._reads(columns)
                self.join(out, rows)
                self.join(cells, columns)
        states = hidden if isinstance(hidden, tuple | list) else [hidden]
        for state, units in zip(states, (out, cells), strict=False):
            if self.of(state)[-1] is not None:
                self.join(units, self.of(state)[-1])
        if self.trail is not None:
            self.cells[without_call(self.trail.here)] = out
        last = [np.tile(out, ways), out, cells]
        return [[*(None for _ in range(tensor.ndim - 1)), units] for tensor, units in zip(results, last, strict=False)]

    def _cell(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        gates = _GATES[name.removesuffix("_cell")]
        weights = [tensor for tensor in args[2:] if isinstance(tensor, Tensor)]
        cells = self.fresh(weights[1].shape[1])
        self._gated(weights, self.of(args[0])[-1], cells, np.tile(cells, gates))
        for state in args[1] if isinstance(args[1], tuple | list) else [args[1]]:
            if self.of(state)[-1] is not None:
                self.join(cells, self.of(state)[-1])
        return [[*(None for _ in range(tensor.ndim - 1)), cells] for tensor in results]

    def _gated(self, weights: list[Tensor], read: Axis, fed_back: Whole, rows: Whole) -> None:
        """The weights of one layer: those of the input, those of the state, and biases."""
        for tensor, units in zip(weights, (read, fed_back), strict=False):
            made, columns = self.of(tensor)
            self._makes(made)
            self._reads(columns)
            self.join(rows, made)
            self.join(units, columns)
        for tensor in weights[2:]:
            self.join(rows, self.of(tensor)[0])
