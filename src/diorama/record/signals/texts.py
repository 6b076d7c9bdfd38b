"""The signal `texts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pace import FIRST
from . import Signal

if TYPE_CHECKING:
    from ..step import Step
    from . import Values


class TextsSignal(Signal):
    """The first texts of a language model's batch: its tokens, the labels that its loss was taken on, and what each cost.

    *Meaning* labels are read from the gradient at the scores, where the loss is a cross-entropy; so they are those after all masks and
    shifts of the loop. ``texts/tokens`` begins with how many places each text has; ``texts/labels`` is −100 where a place is masked.
    *Units* of ``texts/losses``: nats.
    *Error* of one batch: 512 places at most, fewer of a vocabulary of more than 16,384 tokens.
    """

    needs = frozenset({"batch"})

    def period(self, every: int) -> int:
        """As the recorder reads, but at least some steps apart: these are many numbers."""
        return self.every or (every * -(-FIRST // every) if every else 0)

    def __call__(self, step: Step) -> Values:
        """``texts/…``: rows of numbers."""
        return {} if step.batch is None or step.batch.texts is None else step.batch.texts.rows()
