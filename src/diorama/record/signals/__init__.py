"""What is recorded: one signal a file, each from a step to named numbers and histograms."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ...core.knobs import Plugin, knob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..histogram import HistogramValue
    from ..step import Step
    from ..store_bytes import Row

    Values = Mapping[str, float | Tensor | HistogramValue | Row]


NEEDS = frozenset({"weights", "gradients", "updates", "activations", "batch", "probe", "scale"})
"""What is collected of a step where a signal needs it."""


class Signal(Plugin):
    """Base of all signals: a pure function of a step."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What must be collected for it: weights, gradients, updates, activations, batch, probe, scale."""

    every: int | None = knob(
        None, "Steps between two readings; as watch(every=) says when left out.", kind="integer", low=1, unit="steps"
    )

    @classmethod
    def flaw(cls) -> str | None:
        """Whatever is wrong with its knobs, or that it needs what nobody collects."""
        found, unknown = super().flaw(), sorted(cls.needs - NEEDS)
        if found is None and unknown:
            found = f"it needs what is not collected, {unknown[0]!r}; there are {', '.join(sorted(NEEDS))}"
        return found

    def period(self, every: int) -> int:
        """Steps between two readings; ``every`` is what the recorder was told, 0 where it finds its own pace. 0: as the
        recorder's pace says."""
        return self.every or every

    @abstractmethod
    def __call__(self, step: Step) -> Values:
        """Numbers, histograms, and rows of numbers (one for each example) by name.

        The name is that of the series as it stands, so begin it with a word of your own, as ``mine/norm``: of two signals that give one name
        one number alone is kept.
        """
