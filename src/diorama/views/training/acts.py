"""What can be done to a running training, and what was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...core.knobs import knob
from ...core.marks import Group, Node, Number
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from .. import offers, typed_weights
from ..view import View

if TYPE_CHECKING:
    from ...scene import Scene


_ON_A_COPY = "Tried on a copy of the weights in sight; the training goes on untouched."


class ActsView(View):
    """What was changed in the training, each act with the button that takes it back; and what can be changed of what is selected.

    *Meaning* of each act on a selected unit, layer or weight it is told beforehand what the loss on the probe set and the share of right
    answers would be, and how many answers would turn, with the weights that are looked at.
    *Cost* one pass over the probe set for each act that is offered.
    """

    title = "Acts"
    question = "What can I change while it trains, and what did I change?"
    family = "process"
    papers = ()
    rows = ("C14",)
    follows = ("unit", "layer", "weight")

    tried: str | None = knob(None, "A command that is tried on a copy, instead of those that fit what is selected.")
    with_knobs: str = knob("", "Its knobs, as layer=conv2; count=3.")
    value: float | None = knob(None, "What the selected weights would be set to.", kind="number", low=-1e30, high=1e30)
    limit: int = knob(20, "Acts shown at most.", low=1, high=100)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A run."""
        return None if scene.run is not None else "acts are what people do to a training: open the folder of a run"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First what was done; then, act by act, what can be done."""
        run = scene.run
        if run is None:
            return
        if self.tried:
            what = tuple(offers.asked(scene, self.tried, self.with_knobs))
            yield self.picture(scene, selection, "On a copy", Group(children=what), _ON_A_COPY)
            return
        done = list(offers.in_force(scene, self.limit))
        numbers = offers.examples(scene, self.limit)
        alive = run.alive
        if not alive:
            caption = "The training has ended, so nothing can be changed any more."
        else:
            chosen = any(key.kind in self.follows for key in selection.a)
            way = "" if chosen else "Select a unit, a layer or a weight to see what can be done with it; "
            caption = f"{way}a button changes the training between two steps."
            caption = caption[0].upper() + caption[1:]
        held = typed_weights.marks(scene, selection, self.value) if alive else []
        offered: list[Number] = []
        for each in offers.offers(scene, selection):
            offered.append(each)
            yield self._picture(scene, selection, held, offered, done, caption, numbers, final=False)
        yield self._picture(scene, selection, held, offered, done, caption, numbers, final=True)

    def _picture(
        self, scene: Scene, selection: Selection, held: list[Node], offered: list[Number], done: list[Number], caption: str, numbers: str, final: bool
    ) -> Picture:
        nothing = [Number(label="Nothing was changed", note="Each act of a person on the training stands here, and is taken back from here.")]
        parts: list[Node] = [Group(children=tuple(done or nothing), title="What was changed")]
        if offered:
            parts.insert(0, Group(children=tuple(offered), title="What can be changed"))
        if held:
            parts.insert(0, Group(children=tuple(held)))
        return self.picture(scene, selection, "Acts", Group(children=tuple(parts)), caption, note=numbers, final=final)
