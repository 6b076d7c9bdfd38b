"""The signal `weights`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class WeightsSignal(Signal):
    """The distribution and the Euclidean norm of every parameter.

    *Meaning* a norm that grows without end says that the training diverges or lacks weight decay; one that never
    changes, that the parameter does not learn.
    *Error* histograms count every n-th element of tensors with more than 2^16; norms are over all elements.
    """

    needs = frozenset({"weights"})

    def __call__(self, step: Step) -> Values:
        """``weights/<parameter>`` and ``weights/<parameter>/norm``."""
        found: dict[str, object] = {}
        for name, value in step.weights.items():
            found[f"weights/{name}"] = value
            found[f"weights/{name}/norm"] = value.norm
        return found  # type: ignore[return-value]
