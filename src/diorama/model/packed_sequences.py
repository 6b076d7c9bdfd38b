"""Sequences of unlike lengths: packed, and what layers behind them answer where a sequence has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..core.rounding import alike


def holds_packed(output: Any) -> bool:
    """Whether an output is a packed sequence, or a recurrent module's tuple that starts with one."""
    if isinstance(output, PackedSequence):
        return True
    return isinstance(output, tuple) and bool(output) and isinstance(output[0], PackedSequence)


def unpacked(output: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """A packed sequence, also the first of a tuple, as a padded tensor (n, steps, …) in the order in which its examples
    were given; and what puts a changed one back into the same output.
    """
    whole = output if isinstance(output, PackedSequence) else output[0]
    steps, lengths = pad_packed_sequence(whole, batch_first=True)

    def back(changed: Tensor) -> Any:
        order = whole.sorted_indices
        data = pack_padded_sequence(
            changed if order is None else changed[order], lengths if order is None else lengths[order.cpu()], batch_first=True
        ).data
        made = PackedSequence(data, whole.batch_sizes, whole.sorted_indices, whole.unsorted_indices)
        return made if output is whole else (made, *output[1:])

    return steps, back


def steps_in(output: Any) -> Tensor:
    """How many steps each example of a packed sequence has, in the order in which its examples were given."""
    whole = output if isinstance(output, PackedSequence) else output[0]
    steps = (whole.batch_sizes[:, None] > torch.arange(int(whole.batch_sizes[0]))).sum(0)
    return steps if whole.unsorted_indices is None else steps[whole.unsorted_indices.cpu()]


_STEPS: ContextVar[Tensor | None] = ContextVar("steps", default=None)


def steps() -> Tensor | None:
    """How many steps each example of the activation has that a capture is about to keep, where zeros follow that no layer
    answered; None where all of it was answered."""
    return _STEPS.get()


def ending(found: Tensor | None) -> AbstractContextManager[None]:
    """Within, the activation that is kept has so many steps for each example."""
    return nullcontext() if found is None and _STEPS.get() is None else _ending(found)


@contextmanager
def _ending(found: Tensor | None) -> Iterator[None]:
    token = _STEPS.set(found)
    try:
        yield
    finally:
        _STEPS.reset(token)


def step_rows(output: Any) -> Tensor | None:
    """All steps of a packed sequence one below the other, without padding; None for anything else."""
    if not holds_packed(output):
        return None
    data: Tensor = (output if isinstance(output, PackedSequence) else output[0]).data
    return data


class Lengths:
    """The lengths of the sequences that a recurrent layer of this pass took packed; layers before and behind it see them padded.

    *Meaning* the rows behind the ends are made of what was filled in, so nobody counts them as answers. A layer's answer has
    such rows where, beside an axis of the examples, it has one of their steps, and all rows behind the ends are the same: of a layer
    that works step by step they are. Where it mixes steps (a convolution over time), or draws random numbers (a dropout that
    trains), they are not, and all are counted. What is answered before the lengths are known (the embedding of what is packed) waits for
    them, in a copy, in a network whose recurrent layers take sequences packed, or have not been seen yet.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._steps: Tensor | None = None
        self._packs = self._waits = any(isinstance(module, nn.RNNBase) for module in modules)
        self._held = deque[tuple[Tensor, Callable[[Tensor], object]]]()

    def restart(self) -> None:
        """A new pass begins."""
        self._held.clear()
        self._steps, self._waits = None, self._packs

    def seen(self, module: nn.Module, args: Any, output: Any) -> None:
        """The hook on recurrent layers."""
        packed = holds_packed(output)
        if packed:
            self._steps = steps_in(output)
        if packed or isinstance(module, nn.RNNBase):
            self._packs, self._waits = packed, False
            self.release()

    @contextmanager
    def followed(self, modules: Iterable[nn.Module], aside: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
        """Within, recurrent layers tell their lengths; ``aside`` stands round what is done then."""

        def seen(module: nn.Module, args: Any, output: Any) -> None:
            with aside():
                self.seen(module, args, output)

        handles = [nn.Module.register_forward_hook(module, seen) for module in modules if isinstance(module, nn.RNNBase)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def wait(self, tensor: Tensor, read: Callable[[Tensor], object]) -> bool:
        """Whether ``read`` gets a copy of this answer later, as a recurrent layer of this pass has yet to tell the lengths."""
        if not self._waits or not _may_have_steps(tensor):
            return False
        self._held.append((tensor.detach().clone(), read))
        return True

    def release(self) -> None:
        """Hand out what waits: the lengths are known, or the pass is over."""
        while self._held:
            tensor, read = self._held.popleft()
            read(tensor)

    def of(self, tensor: Tensor) -> Tensor | None:
        """How many steps each example of an answer (n, …) has, where what follows was filled in."""
        return None if self._behind(tensor, ((0, 1), (0, 2))) is None else self._steps

    def answered(self, tensor: Tensor) -> Tensor | None:
        """The rows (m, units) of an answer, in whatever order its axes are, without those that were filled in; None where none were."""
        found = self._behind(tensor, ((0, 1), (1, 0), (0, 2)))
        return None if found is None or not bool(found[1].any()) else found[0][~found[1]]

    def _behind(self, tensor: Tensor, orders: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor] | None:
        """The answer (n, steps, units), and which of its steps lie behind the ends."""
        steps = self._steps
        if steps is None or not _may_have_steps(tensor):
            return None
        for order in orders:
            rows = tensor.detach().permute(*order, 3 - sum(order))
            if len(rows) != len(steps) or rows.shape[1] < int(steps.max()):
                continue
            beyond = (torch.arange(rows.shape[1]) >= steps[:, None]).to(rows.device)
            filled = rows[beyond]
            if not filled.numel() or bool(torch.as_tensor(alike(filled.amin(0), filled.amax(0))).all()):
                return rows, beyond
        return None


def _may_have_steps(tensor: Tensor) -> bool:
    return tensor.ndim == 3 and tensor.is_floating_point() and tensor.layout is torch.strided
