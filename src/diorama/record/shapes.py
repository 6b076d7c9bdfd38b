"""Acts that give the network another shape: what they need of the training, and how they are taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..core.errors import NotApplicable
from ..core.selection import spoken
from ..data import nesting
from ..data.nesting import Nested
from ..model.plain_module import fed, named_modules
from ..model.surroundings import NeutralSurroundings
from ..training.surgery.feasibility import ready
from ..training.surgery.journal import Revision, before, of_units
from ..training.surgery.slopes import TaughtExamples
from ..training.surgery.trial import MODES, answers, copied, tried
from ..training.surgery.units import ChangedUnits, told
from .acts import Act, Reversal, WeightsReversal
from .acts import told as act_told
from .commands import Outcome

if TYPE_CHECKING:
    from ..training.surgery.layers import ChangedLayer
    from .controls import Controls

_TAUGHT = 64
"""So many examples of the probe set at most tell how new units learn fastest."""


class ReshapingReversal(Reversal):
    """Base of what takes back another shape of the network."""

    layers = False
    """Whether layers came or went by it, which may be as wide as units were at the time."""

    @property
    def names(self) -> frozenset[str]:
        """The weights that it changed, or that came or went."""
        return frozenset()

    def met(self, later: Sequence[Act]) -> str:
        """Which later act changed the same weights, as :meth:`blocked` says it."""
        for act in later:
            other = act.reversal
            touched = other.names if isinstance(other, ReshapingReversal) else {
                each.place.name for each in other.differences
            } if isinstance(other, WeightsReversal) else frozenset()
            if self.names & touched:
                return f"{act_told(act)} changed the same weights later; take that back first"
        return ""


class ShapeReversal(ReshapingReversal):
    """Takes back another shape: bit by bit until training goes on, later the units alone, and what was learnt stays."""

    def __init__(self, done: ChangedUnits, revision: Revision) -> None:
        self.done, self.revision = done, revision
        self.size = done.graft.size

    @property
    def names(self) -> frozenset[str]:
        """The weights that changed."""
        return self.done.graft.names

    def blocked(self, later: Sequence[Act]) -> str:
        """Where a later act changed the same weights."""
        return self.met(later)

    def _check(self, training: Controls, layered: Act) -> None:
        """*Raises* NotApplicable where a layer that came or went since is as wide as the units are now, as a copy shows."""
        plain, few, want = ready(
            training.subject.model, tried_on(training), training.subject.state, lambda model, x: {mode: answers(model, x, mode) for mode in MODES}
        )
        twin = copied(plain)
        try:
            tried(want, twin, few, lambda: before(twin, self.revision), f"the units of {spoken(self.done.layer)} as they were", alike=False)
        except NotApplicable as error:
            raise NotApplicable(f"{act_told(layered)} changed layers later, and {error}; take that back first") from error

    def rearranged(self, weight: str) -> bool:
        """Whether a weight has another shape by it."""
        return weight in self.names

    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Take it back."""
        graft = self.done.graft
        if why := self.blocked(later):
            raise NotApplicable(why)
        training.idle.check()
        layered = [act for act in later if isinstance(act.reversal, ReshapingReversal) and act.reversal.layers]
        if layered and graft.stands:
            self._check(training, layered[0])
        if not graft.stands:
            raise NotApplicable(f"the weights of {self.done.layer} have another shape since; go back in time instead")
        exact = graft.untouched
        if exact:
            graft.restore()
        else:
            graft.put_back()
        restructured(training, self.revision, None)
        return "bit by bit" if exact else "training has gone on since: the units are as many as before, and what the others learnt stays"


def reshaped(training: Controls, what: str, act: Callable[..., ChangedUnits], **knobs: Any) -> Outcome:
    """Give the network of a training another shape, with all that hangs on it.

    *Raises* NotApplicable, before anything is changed, where that cannot be.
    """
    subject, x = training.subject, tried_on(training)
    table = subject.table or ()
    with NeutralSurroundings():
        done = act(
            subject.model, x, optimizers=subject.optimizers, axes={layer.name: layer.unit_axis for layer in table},
            state=subject.state, **knobs,
        )
    revision = of_units(done.graft)
    restructured(training, None, revision)
    still = training.subject.frozen.told_of(done.layer, "the new units do not learn") if done.after > done.before else ""
    return Outcome(str(done.before), str(done.after), f"{told(done, what)}{still}", ShapeReversal(done, revision))


def restructured(training: Controls, gone: Revision | None, came: Revision | None, changed: ChangedLayer | None = None) -> None:
    """An act of structure was taken back, or one was done: whoever reads the network is told, and it is written down."""
    subject = training.subject
    if gone is not None:
        subject.journal.drop(gone)
        training.rules.follow(gone.moved, back=True)
    if came is not None:
        subject.journal.add(came, changed)
        training.rules.follow(came.moved)
    subject.look()
    training.note("meta", {"structure": subject.journal.told()})


def tried_on(training: Controls) -> Nested:
    """The examples on which another shape is tried. *Raises* NotApplicable where what that needs was not told."""
    content = training.content
    if content is None or content.examples is None:
        raise NotApplicable("another shape is tried on the probe set first, and this training has none; pass probe= to diorama.watch")
    if not training.subject.optimizers:
        raise NotApplicable("what the optimizer remembers has to change with the weights, and none was told; pass optimizer= to diorama.watch")
    training.idle.check()
    x: Nested = content.examples.x
    return x


def taught(training: Controls) -> TaughtExamples | None:
    """The examples of the probe set with the training's loss; None where they have no answers."""
    content = training.content
    if content is None or content.examples is None or content.reading is None:
        return None
    model, reading = training.subject.model, content.reading
    some = slice(0, _TAUGHT)
    x = nesting.select(content.examples.x, some)
    y = reading.wanted(x, None if content.examples.y is None else content.examples.y[some])
    if y is None:
        return None

    def loss(output: object) -> Tensor:
        losses, share = reading.losses(reading.scores(output), y), reading.weights(y)
        known = (share > 0).to(losses.device)
        return (losses[known] * share.to(losses)[known]).sum() / share.sum()

    return TaughtExamples(fed(model, x), loss)


def frozen(training: Controls) -> dict[str, str]:
    """By the name of each weight that is kept from learning, the layer that was frozen."""
    known = named_modules(training.subject.model)
    names = {id(parameter): name for name, parameter in training.subject.model.named_parameters()}
    return {
        names[id(parameter)]: layer for layer in training.subject.frozen.layers if layer in known
        for parameter in known[layer].parameters() if id(parameter) in names
    }
