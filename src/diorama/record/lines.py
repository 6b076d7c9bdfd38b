"""Steps of which nothing but a few numbers is taken, as they are handed to the writer: most steps of a loop of tiny ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

FEW = 8
"""Numbers of which a step has next to no size."""
_EXACT = 2**53
"""Up to here a whole number is a float."""
Names = tuple[str, ...]
Line = tuple[int, float, Names, *tuple[float, ...]]
"""A step, its time, the names of its numbers (one tuple for all steps of the same names), and the numbers."""


class StepLines:
    """Makes lines of what a loop tells, with the learning rates.

    In a loop of tiny steps nothing here is in the processor's caches any more, and each call costs a microsecond or two; nor does
    a line keep a mapping alive for each step until it is written.
    """

    def __init__(self, rates: Sequence[tuple[str, Optimizer, int]]) -> None:
        from torch import Tensor  # not by who reads a record alone, for whom torch takes longer than all else

        self.rates, self._tensor = rates, Tensor
        self._known: dict[Names, Names | None] = {}
        """By the names of what a loop tells: those of the whole line; None where no line is made of them."""

    def line(self, number: int, moment: float, scalars: Mapping[str, Any]) -> Line | None:
        """A step as a line; None where its numbers have to be looked at one by one."""
        told = tuple(scalars)
        try:
            names = self._known[told]
        except KeyError:
            names = self._known[told] = self._named(told)
        if names is None:
            return None
        found = []
        for value in scalars.values():
            plain = value.item() if type(value) is self._tensor and value.is_cpu and not value.ndim else value
            if type(plain) is not float:
                if type(plain) is not int or abs(plain) > _EXACT:
                    return None
                plain = float(plain)
            found.append(plain)
        for _, optimizer, group in self.rates:
            rate = optimizer.param_groups[group]["lr"]
            found.append(rate if type(rate) is float else float(rate))
        return (number, moment, names, *found)

    def _named(self, told: Names) -> Names | None:
        names = (*told, *(name for name, _, _ in self.rates))
        return names if len(set(names)) == len(names) < FEW else None


def lines_of(rates: Sequence[tuple[str, Optimizer, int]] | None, before: StepLines | None) -> StepLines | None:
    """What makes lines with these learning rates: the one from before where they are the same; None without any."""
    return None if rates is None else before if before is not None and before.rates == rates else StepLines(rates)


def mapped(line: Line) -> dict[str, float]:
    """The numbers of a line by name."""
    return dict(zip(line[2], line[3:], strict=True))
