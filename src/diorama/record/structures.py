"""Acts by which layers come and go: what they need of the training, and how they are taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import NotApplicable
from ..model.surroundings import NeutralSurroundings
from ..training.surgery.journal import Revision, of_layer, shapes_of
from ..training.surgery.layers import ChangedLayer, add_layer, remove_layer
from ..training.surgery.skips import add_skip, remove_skip
from .acts import Act, told
from .commands import Outcome
from .shapes import ReshapingReversal, restructured, tried_on

if TYPE_CHECKING:
    from .controls import Controls


class StructureReversal(ReshapingReversal):
    """Takes back a layer that came or went: the layer alone, as it was, and what the others learnt stays."""

    def __init__(self, changed: ChangedLayer, revision: Revision) -> None:
        self.changed, self.revision = changed, revision
        self.size = changed.size
        self._begun = self._versions()

    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Take it back. *Raises* NotApplicable where what came after it builds on it."""
        if why := self.blocked(later):
            raise NotApplicable(why)
        training.idle.check()
        self.changed.back()
        restructured(training, self.revision, None)
        if self.changed.came:
            learnt = self._versions() != self._begun
            return "what the layer has learnt since goes with it, and the others keep what they learnt" if learnt else "bit by bit"
        return "it is as it was when it went"

    layers = True

    @property
    def names(self) -> frozenset[str]:
        """The layer's weights."""
        return frozenset(self.revision.tensors)

    def blocked(self, later: Sequence[Act]) -> str:
        """Layers go newest first; one that went may be as wide as units were then, and one that came has weights of its own alone."""
        for act in later:
            if isinstance(act.reversal, StructureReversal):
                return f"{told(act)} changed layers later, which are taken back newest first; take that back first"
            if isinstance(act.reversal, ReshapingReversal) and not self.changed.came:
                return f"{told(act)} gave layers another width later, and this one may not fit between them; take that back first"
            if isinstance(act.reversal, ReshapingReversal) and self.names & act.reversal.names:
                return f"{told(act)} gave the layer another width later; take that back first"
        return ""

    def rearranged(self, weight: str) -> bool:
        """Whether a weight went with the layer."""
        return not self.changed.came and weight.startswith(f"{self.changed.layer}.")

    def _versions(self) -> list[int]:
        """How often each weight of the layer was written to."""
        return [parameter._version for parameter in self.changed.module.parameters()]


def added(training: Controls, after: str, how: str, seed: int) -> Outcome:
    """Add a layer. *Raises* UsageError, NotApplicable before anything changes."""
    return _done(training, add_layer, after, how=how, seed=seed, axes={each.name: each.unit_axis for each in training.subject.table or ()})


def removed(training: Controls, layer: str) -> Outcome:
    """Remove a layer. *Raises* UsageError, NotApplicable before anything changes."""
    return _done(training, remove_layer, layer)


def rewired(training: Controls, source: str, target: str, how: str) -> Outcome:
    """Add a way round, or remove one. *Raises* UsageError, NotApplicable before anything changes."""
    if how == "remove":
        return _done(training, remove_skip, source, target)
    return _done(training, add_skip, source, target, axes={each.name: each.unit_axis for each in training.subject.table or ()})


def _done(training: Controls, act: Callable[..., ChangedLayer], *named: str, **knobs: Any) -> Outcome:
    subject, x = training.subject, tried_on(training)
    before, shapes = _weights(training), shapes_of(subject.model)
    with NeutralSurroundings():
        changed = act(subject.model, x, *named, optimizers=subject.optimizers, state=subject.state, **knobs)
    revision = of_layer(changed, subject.optimizers, shapes)
    restructured(training, None, revision, changed)
    return Outcome(before, _weights(training), changed.text, StructureReversal(changed, revision))


def _weights(training: Controls) -> str:
    return f"{sum(p.numel() for p in training.subject.model.parameters()):,} weights"
