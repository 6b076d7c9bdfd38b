"""The signal `gradients`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class GradientsSignal(Signal):
    """The distribution and the Euclidean norm of every parameter's gradient, as the optimizer used it.

    *Meaning* norms that fall from the last layer to the first by orders of magnitude vanish on their way; norms in the
    thousands explode. Where several passes add up to one step of an optimizer that ``watch`` was given, the sum that it
    used is read: a reading that falls between two of its steps is taken at the next.
    *Error* as for weights.
    """

    needs = frozenset({"gradients"})

    def __call__(self, step: Step) -> Values:
        """``gradients/<parameter>`` and ``gradients/<parameter>/norm``."""
        found: dict[str, object] = {}
        for name, value in step.gradients.items():
            found[f"gradients/{name}"] = value
            found[f"gradients/{name}/norm"] = value.norm
        return found  # type: ignore[return-value]
