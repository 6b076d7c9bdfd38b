"""Ops that hide what happens inside them (recurrent kernels, attention), opened while a capture runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.selection import within, without_call
from . import attention, recurrent_kernels
from .attention import Touch
from .batch_size import filled
from .edits import Edit, edited_step, refuse_again
from .mode import Trail
from .packed_sequences import ending
from .recurrent_kernels import Carry, Kernel, States

Gates = bool | Carry | Callable[[str, States], None]


class OpaqueOps:
    """A rule for an OpMode that opens the kernels of the modules asked for, and runs all others as they are.

    ``keep(name, h)`` sees the output of each part of a recurrent module named in ``parts`` and returns what goes on. ``gates``
    asks for the states of all recurrent layers, and of cells that a loop calls; a function hears of the gates alone, some steps
    at a time, and nothing is kept; a ``Carry`` says from which states they read.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        parts: frozenset[str] = frozenset(),
        keep: Callable[[str, Tensor], Tensor],
        edits: Mapping[str, Sequence[Edit]],
        gates: Gates = False,
    ) -> None:
        self.trail = Trail(modules, opened=self._opened)
        self._states: dict[str, list[States]] = {}
        self.touched: dict[str, Touch] = {}
        """By attention: what sees its queries, keys, values and pattern, and says what goes on."""
        self._parts, self._keep, self._edits = parts, keep, edits
        self._gates = gates
        self._order: Tensor | None = None
        """Of the packed sequence that is being read: where each example, as given, stands in it."""
        self._times: dict[str, int] = {}

    def _opened(self, name: str, module: nn.Module, given: Any) -> None:
        if isinstance(module, nn.RNNBase):
            args, kwargs = given
            sequence = args[0] if args else kwargs.get("input")
            self._order = sequence.unsorted_indices if isinstance(sequence, nn.utils.rnn.PackedSequence) else None

    def restart(self) -> None:
        """Forget what the last forward pass left."""
        self.trail.restart()
        self._states, self._times = {}, {}
        if isinstance(self._gates, Carry):
            self._gates.ends.clear()

    def put(self, states: Mapping[str, States]) -> None:
        """Have these states instead, of all examples whose parts ran one after the other."""
        self._states = {name: [one] for name, one in states.items()}

    @property
    def states(self) -> dict[str, States]:
        """The states by the layer's name; of a layer that ran several times, its steps one after another."""
        return {name: States.joined(parts) for name, parts in self._states.items()}

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in recurrent_kernels.KERNELS:
            return self._recurrent(name, func, args)
        if name in recurrent_kernels.CELLS and isinstance(self._gates, Carry):
            return self._carried_cell(self._gates, name, func, args)
        if name in recurrent_kernels.CELLS and self._gates:
            self._heard(self.trail.here or name, recurrent_kernels.of_cell(name, args))
            return NotImplemented
        if name in attention.KERNELS:
            return self._attention(name, args, kwargs)
        return NotImplemented

    def _recurrent(self, name: str, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        here = self.trail.here
        asked = {part for part in (*self._parts, *self._edits) if part.startswith(within(here, "l"))}
        if not asked and not self._gates:
            return NotImplemented
        call = Kernel.of(name, args)
        if isinstance(self._gates, Carry):
            return self._carried(self._gates, call, func)
        order = self._order if call.sizes is not None else None
        back = None if order is None else torch.argsort(order)
        edits = {part: self._edits[within(here, part)] for part in call.parts if within(here, part) in self._edits}
        if not edits and self._gates is not True and call.sizes is None:
            counted = functools.partial(self._counted, here) if self._gates else None
            return recurrent_kernels.by_layer(call, func, lambda part, h: self._kept(within(here, part), h), counted)

        def seen(part: str, states: States) -> Tensor:
            own = states["h"]
            if order is not None:
                states = states.mapped(lambda value: value[order])
            self._heard(within(here, part), states)
            with ending(None if states.running is None else states.running.sum(1).cpu()):
                kept = self._kept(within(here, part), states["h"])
            return own if kept is states["h"] else kept if back is None else kept[back]

        def change(part: str, step: int, h: Tensor) -> Tensor:
            if part not in edits:
                return h
            # An edit names examples in the order in which they were given.
            return edited_step(h, edits[part], step) if back is None else edited_step(h[order], edits[part], step)[back]

        return recurrent_kernels.by_step(call, seen, change if edits else None)

    def _carried(self, carry: Carry, call: Kernel, func: Callable[..., Any]) -> tuple[Tensor, ...]:
        """A kernel that reads on from the middle of a text, with its gates where they are wanted."""
        here = self.trail.here
        module = here if here in self.trail.calls else without_call(here)
        call = carry.kernel(module, call)

        def seen(part: str, states: States) -> None:
            self._heard(within(here, part), states)

        found = recurrent_kernels.by_layer(call, func, lambda part, h: self._kept(within(here, part), h), None, seen if carry.opened else None)
        carry.ends[module] = found[1:]
        return found

    def _carried_cell(self, carry: Carry, name: str, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        here = self.trail.here or name
        module = here if here in self.trail.calls else without_call(here)
        args = carry.cell(module, args)
        if carry.opened:
            self._heard(here, recurrent_kernels.of_cell(name, args))
        found = func(*args)
        carry.ends[module] = found if isinstance(found, tuple) else (found,)
        return found

    def _counted(self, here: str, part: str, states: States) -> None:
        self._heard(within(here, part), states)

    def _heard(self, name: str, states: States) -> None:
        if callable(self._gates):
            part = filled()
            self._gates(name, states if part is None else states.mapped(lambda value: value[: part.real]))
        elif self._gates:
            self._states.setdefault(name, []).append(states)

    def _kept(self, name: str, h: Tensor) -> Tensor:
        return self._keep(name, h) if name in self._parts else h

    def _attention(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = self.trail.here or "attention"
        self._times[here] = time = self._times.get(here, 0) + 1
        label = here if time == 1 else f"{here}#{time}"
        edits = [edit for edit in self._edits.get(label, ()) if edit.key.kind == "head"]
        touch = self.touched.get(label)
        if not edits and touch is None:
            return NotImplemented
        if edits:
            refuse_again()
        scales = {edit.key.number: float(edit.scale) if edit.scale is not None else 0.0 for edit in edits}
        return attention.opened(name, args, kwargs, None, scales, touch)
