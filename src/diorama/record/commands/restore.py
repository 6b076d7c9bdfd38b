"""The command `restore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import UsageError
from . import Applied
from ._of_examples import OfExamples

if TYPE_CHECKING:
    from ..controls import Controls


class RestoreCommand(OfExamples):
    """Give examples back their own label and weight; all that were changed where none is named."""

    def apply(self, training: Controls) -> Applied:
        """Take all changes of them back."""
        if self.examples or self.labelled is not None:
            numbers = self.chosen(training)
        else:
            numbers = training.data.changes.changed().numbers
        if not len(numbers):
            raise UsageError("no example of the data is changed, so there is nothing to restore")
        return self.given(training, "restored", numbers, "its own" if len(numbers) == 1 else "their own", weight=1.0, label=float("nan"))
