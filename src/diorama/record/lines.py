"""Steps of which nothing but a few numbers is taken, as they are handed to the writer: most steps of a loop of tiny ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

FEW = 8
"""Numbers of which a step has next to no size."""
EXACT = 2**53
"""Up to here a whole number is a float."""
Names = tuple[str, ...]
Line = tuple[int, float, Names, *tuple[float, ...]]
"""A step, its time, the names of its numbers (one tuple for all steps of the same names), and the numbers."""
LIMIT = 2048
"""Steps that may wait for the writer; more are dropped whole, and counted."""
MANY = LIMIT // 4
"""So many of them wake it."""
Waiting = tuple[Any, Any, Any]
"""What waits for the writer, as :attr:`Background.waiting` has it: steps, those that are being written, and the gaps that are to be told."""


class StepLines:
    """Makes lines of what a loop tells, with the learning rates.

    In a loop of tiny steps nothing here is in the processor's caches any more, and each call costs a microsecond or two: so one does all of it.
    Nor does a line keep a mapping alive for each step until it is written.
    """

    __slots__ = ("_group", "_known", "_rates", "_steps", "_tensor", "_waits", "rates", "waiting")

    def __init__(self, rates: Sequence[tuple[str, Optimizer, int]], waiting: Waiting) -> None:
        from torch import Tensor  # not by who reads a record alone, for whom torch takes longer than all else

        self.rates, self.waiting, self._tensor = rates, waiting, Tensor
        self._rates = tuple((optimizer, group) for _, optimizer, group in rates)
        self._steps, self._group, self._waits = waiting
        self._known: dict[Names, Names | None] = {}

    def hand(self, number: int, moment: float, scalars: Mapping[str, Any]) -> bool:
        """Hand a step to the writer as a line; False where its numbers have to be looked at one by one, or the writer has fallen behind."""
        steps = self._steps
        if len(steps) >= MANY or self._waits or len(steps) + len(self._group) >= LIMIT:
            return False
        names = self.names(tuple(scalars))
        if names is None:
            return False
        found: list[Any] = [number, moment, names]
        for value in scalars.values():
            plain = value.tolist() if type(value) is self._tensor and value.is_cpu and not value.ndim else value
            if type(plain) is not float:
                if type(plain) is not int or abs(plain) > EXACT:
                    return False
                plain = float(plain)
            found.append(plain)
        for optimizer, group in self._rates:
            rate = optimizer.param_groups[group]["lr"]
            found.append(rate if type(rate) is float else float(rate))
        steps.append(tuple(found))
        return True

    def names(self, told: Names) -> Names | None:
        """By the names of what a loop tells: those of the whole line; None where no line is made of them."""
        try:
            return self._known[told]
        except KeyError:
            return self._known.setdefault(told, self._named(told))

    def _named(self, told: Names) -> Names | None:
        names = (*told, *(name for name, _, _ in self.rates))
        return names if len(set(names)) == len(names) < FEW else None


def lines_of(rates: Sequence[tuple[str, Optimizer, int]] | None, before: StepLines | None, waiting: Waiting) -> StepLines | None:
    """What makes lines with these learning rates for a writer: the one from before where both are the same; None without any rates."""
    if rates is None:
        return None
    return before if before is not None and before.rates == rates and before.waiting is waiting else StepLines(rates, waiting)


def mapped(line: Line) -> dict[str, float]:
    """The numbers of a line by name."""
    return dict(zip(line[2], line[3:], strict=True))
