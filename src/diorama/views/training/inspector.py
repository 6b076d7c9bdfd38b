"""All about what is selected: a unit, a layer, an example or a class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Node
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection
from ...scene import Scene
from .. import sections, typed_weights
from ..changed_labels import of_numbers
from ..view import View
from . import weight_series

_SMALL = 1_000_000
"""Weights of a model up to which acts are tried on a copy here too."""
_WEIGHT = "One weight, or several that the key names together."


class InspectorView(View):
    """What is known of the selected thing: a unit's map, weights and strongest examples; a layer; an example; a class.

    *Meaning* the strongest examples tell what a unit looks for, better than any one picture; bars by class tell for
    whom it speaks. *Off* is the share of the probe set for which a unit is nowhere above zero.
    A weight stands among its unit's. While the network trains the inspector offers what can be done with a unit or a layer.
    *Cost* one forward pass of one example, then one pass over the first 512 examples, and one for each act that is tried.
    """

    title = "Inspector"
    question = "What is this, and what does it do?"
    answers = True
    family = "features"
    papers = ("Yosinski et al. 2015, arXiv:1506.06579", "Zeiler & Fergus 2014, arXiv:1311.2901")
    rows = ("A2",)
    by_labels = True
    follows = ("unit", "layer", "weight", "example", "class")
    input = True
    panel = "inspector"

    count: int = knob(9, "Examples shown of a unit or a class.", low=1, high=64)
    value: float | None = knob(None, "What the selected weight would be set to, while it trains.", kind="number", low=-1e30, high=1e30)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First what one forward pass tells; then what the probe set tells."""
        key = self._chosen(scene, selection)
        if key is not None and key.kind == "unit":
            unit = sections.UnitSection(scene, key, selection)
            quick = unit.quick()
            yield self._picture(scene, selection, unit.title, quick, unit.caption(), final=False)
            yield Progress(done=0, total=1, note="one pass over the probe set, for the strongest examples")
            probed = [*quick, *unit.probed(self.count)]
            yield from self._with_acts(scene, selection, unit.title, probed, unit.caption(True))
        elif key is not None and key.kind == "layer":
            layer = sections.LayerSection(scene, key.name)
            quick = layer.quick()
            yield self._picture(scene, selection, key.name, quick, layer.caption(), final=False)
            yield Progress(done=0, total=1, note="one pass over the probe set, for what each unit does")
            yield from self._with_acts(scene, selection, key.name, [*quick, *layer.probed()], layer.caption())
        elif key is not None and key.kind == "class":
            name, marks, caption = sections.of_class(scene, key.number, self.count)
            note = "; ".join(of_numbers(scene.run, scene.step))
            yield self.picture(scene, selection, name, Group(children=tuple(marks)), caption, note=note)
        elif key is not None and key.kind == "weight":
            yield from self._of_weight(scene, selection, key)
        else:
            name, marks, caption = sections.of_example(scene, selection)
            yield self._picture(scene, selection, name, marks, caption)

    def _of_weight(self, scene: Scene, selection: Selection, key: Key) -> Iterator[Picture | Progress]:
        """The unit's weights with this one among them; while it trains, what it can be set to."""
        name = str(key).removeprefix("weight:")
        marks = typed_weights.marks(scene, selection, self.value)
        if not marks:
            raise NotApplicable(f"no weight {name} is in the network that is looked at")
        if scene.run is not None and len(scene.steps) > 1:
            yield self._picture(scene, selection, name, marks, _WEIGHT, final=False)
            lines = weight_series.chart(scene, [key])
            marks += [lines] if np.isfinite(lines.series[0].y).any() else []
        yield from self._with_acts(scene, selection, name, marks, _WEIGHT)

    def _with_acts(
        self, scene: Scene, selection: Selection, title: str, marks: list[Node], caption: str
    ) -> Iterator[Picture | Progress]:
        """What is known, and while it trains what can be changed."""
        alive = scene.run is not None and scene.run.alive
        yield self._picture(scene, selection, title, marks, caption, final=not alive)
        if alive:
            from .. import offers  # what a training is changed by is loaded where one runs

            offered = tuple(offers.offers(scene, selection, _SMALL))
            acts = [Group(children=offered, title="What can be changed")] if offered else []
            yield self._picture(scene, selection, title, [*marks, *acts], caption)

    def _chosen(self, scene: Scene, selection: Selection) -> Key | None:
        """The most recently chosen key that tells what to look at."""
        return next((key for key in reversed(selection.a) if key.kind in self.follows), None)

    def _picture(
        self, scene: Scene, selection: Selection, title: str, marks: list[Node], caption: str, final: bool = True
    ) -> Picture:
        return self.picture(scene, selection, title, Group(children=tuple(marks)), caption, final=final)
