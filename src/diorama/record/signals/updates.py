"""The signal `updates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class Updates(Signal):
    """What each step really changed: the distribution, the norm, and the ratio of the norm to that of the weights.

    *Meaning* a ratio near 0.001 is usual; above 0.1 a parameter is thrown about, below 0.00001 it hardly learns.
    *Error* measured as the difference of the weights before and after, not derived from the gradient.
    """

    needs = frozenset({"updates"})

    def __call__(self, step: Step) -> Values:
        """``updates/<parameter>``, ``updates/<parameter>/norm`` and ``updates/<parameter>/ratio``."""
        found: dict[str, object] = {}
        for name, value in step.updates.items():
            found[f"updates/{name}"] = value
            found[f"updates/{name}/norm"] = value.norm
            before = step.before.get(name, 0.0)
            if before > 0:
                found[f"updates/{name}/ratio"] = value.norm / before
        return found  # type: ignore[return-value]
