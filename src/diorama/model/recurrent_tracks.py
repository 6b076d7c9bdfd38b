"""Units followed through kernels too, recurrent ones and attention: what each layer and way of one reads, and where its answers go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .attention import bound
from .axes import tensors_in
from .recurrent_kernels import KERNELS, Kernel
from .tracks import Axis, Tracks, Whole

ATTENTION = "multi_head_attention_forward"


class RecurrentTracks(Tracks):
    """Tracks of which the cells of recurrent layers and the answers of an attention are units; none of them may change places, as their gates,
    queries and keys would have to follow.

    *Meaning* ``cells`` and ``fed`` hold, by the name of a layer's weight of its input, the units that it answers with and those that it reads;
    ``passed``, by the names of an attention's weights, the weight that makes its values, the one behind it, and the units that values are made of.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cells: dict[str, Whole] = {}
        self.fed: dict[str, Whole] = {}
        self.passed: dict[str, tuple[str, str, Whole]] = {}
        self._stacked: dict[int, list[Whole]] = {}
        """The last states of several layers and ways, one behind the other along the first axis, each of other cells."""

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: a kernel's cells are new units, and one of its last states is of the cells of one layer."""
        if name in KERNELS and not kwargs:
            self._kernel(name, args, list(tensors_in(result)))
            return
        if name == ATTENTION:
            self._attended(bound(args, kwargs), [*tensors_in(args), *tensors_in(kwargs)], list(tensors_in(result)))
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


    def _attended(self, call: dict[str, Any], given: list[Tensor], results: list[Tensor]) -> None:
        """What an attention answers is made of its values; queries and keys say where they come from."""
        value, out = call["value"], call["out_proj_weight"]
        reads = self.of(value)[-1]
        for tensor in given:
            self.lose(*self.of(tensor))
        own = self.fresh(out.shape[0])
        self.fix(own)
        if reads is None:
            reads = self.fresh(value.shape[-1])
            self.fix(reads)
        weights = [call[name] for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight") if call[name] is not None]
        made, behind = self.names.get(id(weights[-1]), ""), self.names.get(id(out), "")
        for weight in weights:
            self.passed.setdefault(self.names.get(id(weight), ""), (made, behind, reads))
        answer, *shown = results
        self.made(answer, [*(None for _ in range(answer.ndim - 1)), own])
        for tensor in shown:
            self.made(tensor, [None] * tensor.ndim)


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
