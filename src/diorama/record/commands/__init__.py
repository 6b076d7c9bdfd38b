"""What a person may ask of a running training: one command a file, applied between two steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ...core.knobs import Plugin
from ..acts import Reversal

if TYPE_CHECKING:
    from ..controls import Controls


class Applied(NamedTuple):
    """What a command changed: the value before and after, a sentence for the event, and how it is taken back."""

    old: str
    new: str
    text: str
    reversal: Reversal | None = None
    """How the command ``undo`` takes it back; None for what is no change that could be (a pause, a snapshot)."""


class Command(Plugin):
    """Base of all commands; the knobs are what the command takes."""

    alone: ClassVar[bool] = False
    """Whether it is enough that one process of a distributed training does it: the others wait for that one."""

    @abstractmethod
    def apply(self, training: Controls) -> Applied:
        """Change the training, between two steps, on its own thread; raises UsageError or NotApplicable if it can't."""
