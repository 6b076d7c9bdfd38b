"""The command `twin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import NotApplicable, Unavailable, UsageError
from ...core.knobs import knob
from ...core.numerals import counted, joined
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls
    from ..lineage import Line


_NAMED = 5
"""So many acts that came after it are named."""


class TwinCommand(Command):
    """Train the run that was left alone beside this one: from the checkpoint before an act, without it and all that came after it.

    *Meaning* seeds and batches are the same, so whatever differs between the two runs comes from the act and from those
    after it, which the answer names; rules that were in force before it act on in both. To see one act alone, leave out the newest. Of a script
    that holds for batches that it draws from what ``watch(state=)`` was given; others are drawn anew. The checkpoints
    before the newest five acts are kept (before twenty, where they take 100 MB at most together): start a twin before so many more.
    *Raises* UsageError where no act is known, Unavailable where the checkpoint before it is gone; else what ``branch`` raises.
    """

    family = "time"
    steers = False
    living = False
    command: int | None = knob(
        None, "The number of the command to leave out; the newest act when left out.", kind="integer", low=1, main=True
    )
    consent: bool = knob(False, "Start the script's own line again, which writes its own files again.")

    def start(self, record: Line, page: int | None) -> Outcome:
        """Start it."""
        from .. import branch, checkpoints

        acts = record.meta.get("acts") or []
        chosen = [act for act in acts if self.command in (None, act["command"])]
        if not chosen:
            known = ", ".join(str(act["command"]) for act in acts) or "none"
            raise UsageError(f"no act that could be left out; acts of this run: {known}")
        act = chosen[-1]
        place = checkpoints.before_each(record.path, [act]).get(act["command"])
        if place is None:
            raise Unavailable(
                f"the checkpoint before command {act['command']} ({act['name']}, step {act['step']}) is gone; branch off from an "
                "earlier one"
            )
        started = branch.start(record, act["step"], act=act["command"], place=place, consent=self.consent, page=page)
        text = f"{started.text}, without command {act['command']} ({act['text'].partition(';')[0]})"
        if after := acts[acts.index(act) + 1:]:
            names = [f"{each['command']} ({each['name']})" for each in after]
            names = [*names[:_NAMED], counted(len(names) - _NAMED, "others")] if len(names) > _NAMED + 1 else names
            text += f" and without what came after it: {joined(names)}"
        return Outcome(str(act["step"]), started.child.name, text)

    def apply(self, training: Controls) -> Outcome:
        """A living training cannot start itself again."""
        raise NotApplicable("twin is started by who asks for it, not by the training")
