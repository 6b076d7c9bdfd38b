"""A moment of a training, as its record keeps it."""

from __future__ import annotations

import dataclasses

_SENDERS = {"page": "from the page", "python": "from Python", "command line": "from the command line"}


@dataclasses.dataclass(frozen=True)
class RecordedEvent:
    """A moment on the time axis: a command, a gap in the record, a warning, a resumed or finished training."""

    step: int
    kind: str
    name: str
    text: str
    old: str = ""
    new: str = ""
    time: float = 0.0
    sender: str = ""
    """Of a command: ``page``, ``python``, ``command line`` or the rule that sent it; empty where an earlier version began the run."""

    @property
    def label(self) -> str:
        """What happened, and of a command also who sent it."""
        told = self.text or self.name
        return f"{told} ({_SENDERS.get(self.sender, f'by {self.sender}')})" if self.kind == "command" and self.sender else told
