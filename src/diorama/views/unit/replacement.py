"""An image rebuilt from the patches of other images that a layer takes for the same."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Node
from ...core.numerals import counted
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Selection, spoken
from ...data.examples import Examples
from ...derive.scans import stored
from ...derive.statistics import PROBE
from ...model.layers import Layer
from ...scene import Scene
from .. import crops
from ..units import ShownLayer, shown, telling_layers
from ..view import View
from ._patchwork import Patchwork


class ReplacementView(View):
    """The image rebuilt from patches of other images: at each place those that look most alike to a layer.

    *Meaning* what the rebuilt image keeps is what the layer tells apart; what it gets wrong the layer does not care
    about. Early layers rebuild nearly everything, late ones put in parts of the same kind. Each place takes the mean of
    its k nearest patches (cosine of the features, at every place of every other example), overlapping patches are
    blended; at the border, where no patch lies, stands what the outermost places see. *Alike* says how near the rebuilt
    image's own features are to the original's, beside an image rebuilt from patches at random.
    *Error* the first 512 examples are compared one by one, without error; more are looked for through an index, and the
    share that it finds is stated.
    *Cost* one pass over the examples up to the layer, and as many comparisons as places times all places; the index
    takes about a second for 10,000 places to build, once.
    *Source* Long, Zhang, Darrell 2014, section 3; the index: Malkov & Yashunin 2016.
    """

    title = "Rebuilt from others"
    question = "Which parts of other images does a layer take for the same as these?"
    family = "features"
    papers = ("Long, Zhang & Darrell 2014, arXiv:1411.1091", "Malkov & Yashunin 2016, arXiv:1603.09320")
    rows = ("A23",)
    follows = ("layer", "unit", "example")
    input = True

    layer: str | None = knob(None, "The layer; by itself the chosen one, else one in the middle.", kind="layer", main=True)
    k: int = knob(1, "Nearest patches whose mean is put in each place.", low=1, high=25, main=True)
    examples: int = knob(
        512, "The most examples whose patches are looked at; beyond 512 of them through an index.", low=2, high=100_000
    )
    size: int | None = knob(
        None, "Side of a patch; by itself what a place sees, from two to four times the distance between places.", kind="integer", low=1,
        high=512, unit="pixels",
    )

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Pictures and layers with maps only."""
        reason = crops.only_pictures(scene, "images are rebuilt from patches", "features")
        if reason is None and not any(_mapped(scene, layer) for layer in scene.layers):
            return "patches are compared at the places of a layer's maps, and this model has none; use the view features"
        return reason

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The image as rebuilt from the examples seen so far."""
        one = self._layer(scene, selection)
        work = Patchwork(scene, scene.current(selection), one, self._given(scene), self.examples, self.k, self.size)
        for progress in work.compared() if len(work.examples) <= len(scene.live) else work.indexed():
            yield progress
            if work.ready:
                yield Draft(lambda: self._picture(scene, selection, work, final=False))
        if not work.ready:
            raise NotApplicable(
                f"an image is rebuilt from the patches of other examples, and there are fewer than k = {self.k} of them; "
                "pass more examples or choose a smaller k"
            )
        yield self._picture(scene, selection, work, final=True)

    def _given(self, scene: Scene) -> Examples | None:
        """The scanned examples whose patches are looked at, where they are more than the probe set's; else None."""
        found = stored(scene) if self.examples > len(scene.live) else None
        more = found is not None and found.numbers is None and len(found.examples) > len(scene.examples)
        return found.examples if found is not None and more and found.source != PROBE else None

    def _picture(self, scene: Scene, selection: Selection, work: Patchwork, final: bool) -> Picture:
        rebuilt = work.rebuilt()
        marks: list[Node] = [Group(children=tuple(work.marks(rebuilt)), direction="row"), work.neighbours()]
        name, label = work.one.name, work.current.label
        how = "the mean of the {k} patches" if self.k > 1 else "the patch"
        caption = f"{label.capitalize()}, put together anew: at each of {work.count} places stands {how.format(k=self.k)} of "
        caption += f"{counted(work.seen, 'other examples')} that {spoken(name)} takes for the most alike."
        return self.picture(
            scene, selection, f"{label.capitalize()} through {spoken(name)}", Group(children=tuple(marks)), caption,
            checks=work.checks(rebuilt) if final else (), final=final,
        )

    def _layer(self, scene: Scene, selection: Selection) -> ShownLayer:
        """The layer whose features are compared."""
        if self.layer is not None:
            layer = scene.layers[self.layer]
            if not _mapped(scene, layer):
                raise NotApplicable(f"{self.layer} keeps no places of the picture; choose a layer with maps")
            return shown(scene, layer)
        for key in reversed(selection.a):
            if key.kind in ("layer", "unit") and _mapped(scene, scene.layers[key.name]):
                return shown(scene, scene.layers[key.name])
        found = [one for one in telling_layers(scene) if _mapped(scene, one.layer)]
        found = found or [shown(scene, layer) for layer in scene.layers if _mapped(scene, layer)]
        return found[len(found) // 2]


def _mapped(scene: Scene, layer: Layer) -> bool:
    field = crops.field_of(scene, layer)
    return field is not None and all(way is not None for way in field.ways) and layer.spatial
