"""What a map that follows a training shows until the one of its own step is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ...core.numerals import counted
from ...core.picture import Progress
from ...derive.derivation import DerivedValue, Plain


@dataclasses.dataclass(frozen=True)
class InterimMap:
    """Places that were reached on the way to a step: those of an earlier one, or of the step itself as they are before the steps between are made."""

    derived: DerivedValue
    value: Plain
    step: int
    between: int = 0
    """So many steps are skipped, whose maps are made meanwhile."""

    def said(self, now: int | None) -> str:
        """A sentence on them, without its end."""
        if not self.between:
            return f"these are the places at step {self.step}, on the way to step {now}"
        begun = self.derived.before.scene.step if self.derived.before is not None else None
        return (
            f"these places start right from step {begun}: the maps of {counted(self.between, 'snapshots')} between are being made, "
            "and points may move once they are joined"
        )


def on_way(derived: DerivedValue, number: int = 0, total: int = 1) -> Iterator[Progress | InterimMap]:
    """All that can be shown before a map of a step is there, and how far it is; nothing where it is known. It is map ``number`` of ``total``.

    First the newest map that is known; where many snapshots lie between, then this step's right from the last one behind them, so that nobody waits
    for the present; else the snapshots between, one by one. What was shown is never followed by what is older.
    """
    if derived.known:
        return
    way, newest, straight = derived.ahead, derived.newest, derived.straight
    at, reached = derived.scene.step or 0, -1
    if newest is not None:
        reached = newest[0]
        yield InterimMap(derived, newest[1], reached)
    if straight is not None and reached < at:
        begun = straight.before.scene.step if straight.before is not None else None
        for stage in straight.stream():
            yield Progress(done=number, total=total, note=f"placed at step {at}, right from step {begun}")
            if stage.value is not None:
                reached = at
                yield InterimMap(straight, stage.value, at, len(way) - 1)
    for passed, before in enumerate(way):
        step = before.scene.step or 0
        yield Progress(done=number + passed / len(way), total=total, note=f"placed at step {step}, on the way to this step")
        known, value = before.known, before.carried  # made here, so that the progress is told
        if not known and reached <= step:
            yield InterimMap(before, value, step)
