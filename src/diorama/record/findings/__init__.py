"""What may be wrong with a training: one diagnosis a file, each from what was recorded, with its evidence."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ...core.knobs import Plugin

if TYPE_CHECKING:
    from ..reader import Reader


@dataclasses.dataclass(frozen=True)
class Found:
    """One diagnosis: what it is, how bad (0 to 1), and what was seen that says so."""

    finding: str
    severity: float
    title: str
    text: str
    evidence: str
    keys: tuple[str, ...] = ()
    """What it is about: layers, units, steps."""
    action: tuple[str, dict[str, Any]] | None = None
    """A command that may help, with its knobs."""
    step: int = 0
    """Where it was seen first."""


class Finding(Plugin):
    """Base of all findings: a pure function of a run's record."""

    def __call__(self, run: Reader) -> list[Found]:
        """Everything of this kind that the record shows; nothing when all is well."""
        raise NotImplementedError
