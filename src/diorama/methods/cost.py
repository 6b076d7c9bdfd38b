"""What a request takes: passes through the model, and from the time of one of them seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..core.blame import answered, reckoned, sound
from ..core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Cost:
    """How many forward and backward passes over the whole input a method needs, known before it starts."""

    forward: int = 1
    backward: int = 0

    @classmethod
    def of(cls, plugin: Any, ask: Callable[[], Any]) -> Cost:
        """What a plug-in says it costs. *Raises* Faulty, which names it, for what is no cost."""
        found: Cost = reckoned(plugin, sound(plugin, answered(plugin, ask, cls)), "forward", "backward")
        return found

    def seconds(self, one: float) -> float:
        """The expected time, from that of one forward pass; a backward pass to the input takes about as long again."""
        return one * (self.forward + self.backward)

    def said(self, one: float) -> str:
        """In words: passes, and about how long they take, from the time of one forward pass."""
        parts = [f"{self.forward:,} forward"] + ([f"{self.backward:,} backward"] if self.backward else [])
        return f"{' and '.join(parts)} passes, about {lasting(self.seconds(one))}"


def lasting(seconds: float) -> str:
    """A time in words, of as many digits as an estimate deserves."""
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def affordable(cost: Cost, limit: int, one: Callable[[], float], way_out: str) -> None:
    """Refuse a request that needs more forward passes than were allowed, with the time that it would take at most.

    ``one`` measures the seconds of one pass, and is only asked where the request is refused.

    *Raises* UsageError.
    """
    if cost.forward > limit:
        raise UsageError(
            f"this needs {cost.forward:,} forward passes, at most about {lasting(cost.seconds(one()))}, and the limit is "
            f"{limit:,}; {way_out}"
        )
