"""The signal `updates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class UpdatesSignal(Signal):
    """What each step really changed: the distribution, the norm, the ratio of the norm to that of the weights, and the
    share of the weights that moved at all.

    *Meaning* a ratio near 0.001 is usual; above 0.1 a parameter is thrown about, below 0.00001 it hardly learns. A weight
    does not move where its gradient is nothing (behind dead units, in rows of a table that are not looked up), or where the
    change is lost in the rounding of its number format.
    *Error* measured as the difference of the weights before the optimizer's step and where ``recorder.step()`` is called, not derived
    from the gradient. Of tensors with more than
    2^16 elements every n-th is counted for the share that moved.
    """

    needs = frozenset({"updates"})

    def __call__(self, step: Step) -> Values:
        """``updates/<parameter>`` and its ``/norm``, ``/ratio`` and ``/moved``."""
        found: dict[str, object] = {}
        for name, value in step.updates.items():
            found[f"updates/{name}"] = value
            found[f"updates/{name}/norm"] = value.norm
            if value.zero == value.zero and value.statistics[4]:
                found[f"updates/{name}/moved"] = 1.0 - value.zero
            before = step.before.get(name, 0.0)
            if before > 0:
                found[f"updates/{name}/ratio"] = value.norm / before
        return found  # type: ignore[return-value]
