"""What all recurrent layers hold at every 256th place of a long text, from where it is read on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.errors import UsageError
from ...core.knobs import knob
from ...data.nesting import Nested, first
from ...methods.cost import Cost
from ...model.plain_module import fed
from ...scene import Scene, restarts
from ...scene.restarts import Restarts
from ..derivation import Derivation, Plain, Stage


class RestartsDerivation(Derivation):
    """The states from which a text of the probe set is read on, so that any of its places is looked into at once.

    *Meaning* ``holds`` tells whether the network may be read so: two stretches, one after the other, hold what one pass over both holds.
    If not, there are no ``states``.
    *Shapes* ``states`` by module (or cell that a loop calls) the one or two that torch's kernel takes, each (stretches but the first, …).
    *Cost* one forward pass.
    """

    on = "examples"

    example: int = knob(0, "The example.", kind="example", low=0)

    def fits(self, scene: Scene) -> str | None:
        """It needs a text, and a layer that keeps states from place to place."""
        if scene.missing is not None:
            return scene.missing
        if not len(scene.layers.stepwise):
            return "it reads on from the states of an LSTM, GRU or RNN, and the network runs none"
        if self.example >= len(scene.examples):
            raise UsageError(f"the probe set has examples 0 to {len(scene.examples) - 1}, got {self.example}")
        text = self._text(scene)
        if (reason := Restarts.unfit(scene, text)) is not None:
            return reason
        places = first(text).shape[1]
        return f"a text of {places} places is read whole; states are kept of one of over {restarts.APART}" if places <= restarts.APART else None

    def cost(self, scene: Scene) -> Cost:
        """One pass."""
        return Cost(1)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """One stretch after the other."""
        kept = Restarts.kept(scene, self._text(scene))
        last = float(kept.total - 1)
        if begun is not None:
            kept.take(begun)
            # As far as somebody has read before, in this process or another.
            yield Stage(None, float(min(kept.reached, kept.total - 1)), last, kept.NOTE)
        if kept.holds(scene):
            for done in kept.read(scene, kept.total - 1):
                yield Stage(None, float(min(done, kept.total - 1)), last, kept.NOTE, state=kept.plain)
        yield Stage(kept.plain(), last, last)

    def check(self, scene: Scene, value: Plain) -> None:
        """For each module states of the form in which it ends a stretch, and as many as the text has stretches."""
        kept = Restarts.kept(scene, self._text(scene))
        if set(value) != {"holds", "states"} or not isinstance(value["holds"], bool):
            raise ValueError("whether it holds, and states are wanted")
        wanted = kept.forms(scene) if value["holds"] else {}
        if set(value["states"]) != set(wanted):
            raise ValueError(f"states of {', '.join(wanted) or 'no module'} are wanted")
        for name, forms in wanted.items():
            own = value["states"][name]
            if not isinstance(own, list) or [(one.shape, one.dtype) for one in own if isinstance(one, np.ndarray)] != forms:
                raise ValueError(f"of {name} states of the form {forms} are wanted")

    def _text(self, scene: Scene) -> Nested:
        return fed(scene.model, scene.examples.batch([self.example]))
