"""Units followed through recurrent kernels too: what each layer and way of one reads, and where its cells' answers go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .axes import tensors_in
from .recurrent import KERNELS, Kernel
from .tracks import Axis, Tracks, Whole


class RecurrentTracks(Tracks):
    """Tracks of which the cells of recurrent layers are units; none of them may change places, as their gates would have to follow.

    *Meaning* ``cells`` and ``fed`` hold, by the name of a layer's weight of its input, the units that it answers with and those that it reads.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cells: dict[str, Whole] = {}
        self.fed: dict[str, Whole] = {}
        self._stacked: dict[int, list[Whole]] = {}
        """The last states of several layers and ways, one behind the other along the first axis, each of other cells."""

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: a kernel's cells are new units, and one of its last states is of the cells of one layer."""
        if name in KERNELS and not kwargs:
            self._kernel(name, args, list(tensors_in(result)))
            return
        super().ran(name, func, args, kwargs, result)
        if args and (states := self._stacked.get(id(args[0]))) is not None:
            for tensor, number in zip(tensors_in(result), picked(name, args, kwargs, len(states)), strict=False):
                if tensor.ndim and tensor.shape[-1] == len(states[number]):
                    self.made(tensor, [*(None for _ in range(tensor.ndim - 1)), states[number]])

    def _kernel(self, name: str, args: Any, results: list[Tensor]) -> None:
        given = list(tensors_in(args))
        reads = self.of(given[0])[-1]
        # Whatever the kernel reads is told apart: gates are kept in one weight, whose rows move together or not at all.
        for tensor in given:
            self.lose(*self.of(tensor))
        call = Kernel.of(name, tuple(args))
        size, every, last = call.h.shape[-1], [], []
        for k, weights in enumerate(call.weights):
            own = self.fresh(size)
            self.fix(own)
            entry = reads if reads is not None else self.fresh(weights[0].shape[1])
            self.fix(entry)
            weight = self.names.get(id(weights[0]), "")
            self.cells.setdefault(weight, own)
            self.fed.setdefault(weight, entry)
            every.append(own)
            last.append(own)
            if len(last) == call.ways:
                reads, last = np.concatenate(last), [] if k < len(call.weights) - 1 else last
        out, *states = results
        if reads is not None:
            self.made(out, [*(None for _ in range(out.ndim - 1)), reads])
        for state in states:
            # Of an LSTM that projects its outputs the cells are more than these.
            fits = state.shape[-1] == size
            alone: list[Axis] = [*(None for _ in range(state.ndim - 1)), every[0] if fits and len(every) == 1 else None]
            self.made(state, alone)
            if fits and len(every) > 1:
                self._stacked[id(state)] = every


def picked(name: str, args: Any, kwargs: Any, count: int) -> Sequence[int]:
    """Which of so many tensors that lie one behind the other each result of an op is; none where it is no single one."""
    if name == "unbind":
        return range(count) if kwargs.get("dim", args[1] if len(args) > 1 else 0) == 0 else ()
    if name == "select":
        along, number = kwargs.get("dim", args[1] if len(args) > 1 else None), kwargs.get("index", args[2] if len(args) > 2 else None)
    elif name == "getitem":
        along, number = 0, args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
    else:
        return ()
    return (number % count,) if along == 0 and type(number) is int else ()
