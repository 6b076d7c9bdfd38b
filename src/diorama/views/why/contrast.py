"""What separates two classes: one picture for the pair, over the whole data set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core import registry
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob, title_of
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...methods.attribute import attributions
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.sets import classless
from .. import pairs
from ..view import View
from ._pair_maps import PairMaps, body, caption, checks, hidden
from ._question import explained, looking

BATCH = 16


class ContrastView(View):
    """What separates a 7 from a 2? The parts of the input that speak for one class rather than the other, over the data.

    *Meaning* for each example of the two classes, a method says how much every part of it speaks for the first class
    rather than the second (the difference of their scores); the picture is the mean over both classes, each counting
    the same. Blue speaks for the first class, orange for the second. Texts are summed up word by word.
    *Error* a mean hides that examples differ: the cosine of each example's own map with the mean of the others (1 the
    same pattern, 0 nothing in common) says how far the picture holds for single ones. The check hides the strongest
    tenth of the picture and, for comparison, random tenths.
    *Cost* the method's cost for up to ``limit`` examples of each class (for gradients one forward and one backward
    pass an example), and twelve forward passes an example for the check.
    """

    title = "What separates two classes?"
    question = "Which parts of the input speak for one class rather than another?"
    family = "features"
    papers = ("Sundararajan et al. 2017, arXiv:1703.01365", "Bach et al. 2015, doi:10.1371/journal.pone.0130140")
    rows = ("A30",)
    by_labels = True
    follows = ("class", "example")
    input = True

    a: str | None = knob(
        None, "The class that blue speaks for; the chosen one, or the first of the pair that is confused most.",
        kind="class", main=True,
    )
    b: str | None = knob(None, "The class that orange speaks for; that of set B when left open.", kind="class", main=True)
    method: str = knob(
        "integrated_gradients", "The method that says what speaks for a class.",
        choices=lambda: tuple(sorted(registry.methods)), main=True,
    )
    limit: int = knob(48, "The most examples of each class.", low=1, high=512)
    steps: int = knob(12, "Steps of integrated gradients; fewer than for a single map, as many maps are averaged.", low=1,
                      high=1000)
    shown: int = knob(6, "How many examples are shown that agree most, and least.", low=1, high=24)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a classifier."""
        if scene.task != "classification":
            return f"it compares two classes, and {classless(scene)}"
        if isinstance(scene.kind, dict) and len(scene.kind) > 1:
            return "it sums up inputs of one kind, and this model has several inputs"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The mean over the first examples at once, refined until all are in; then the check."""
        a, b, why = self._pair(scene, selection)
        current = scene.current(selection)
        look = looking(scene, current)
        kind = registry.methods[self.method]
        steps = {"steps": self.steps} if self.method == "integrated_gradients" else {}
        target, method, note = (a, b), kind(**steps), ""
        own = pairs.labelled(scene)
        chosen = [np.flatnonzero(own == k)[: self.limit] for k in (a, b)]
        if not len(chosen[0]) and not len(chosen[1]):
            raise NotApplicable(
                f"none of the first {len(own)} examples is a {scene.classes[a]} or a {scene.classes[b]}; choose other classes"
            )
        # In turns, so that the first pictures show both.
        order = [int(part[k]) for k in range(max(map(len, chosen))) for part in chosen if k < len(part)]
        if self.method == type(self).method:
            method, mine, note = explained(look, current.x, target, method)
        else:
            *_, mine = attributions(look, current.x, target, method)
        name = title_of(type(method)) + "".join(f" ({count} steps)" for count in steps.values() if type(method) is kind)
        gathered = PairMaps(scene, current, a, b, why, name, mine)
        gathered.note = note
        for first in range(0, len(order), BATCH):
            chunk = order[first : first + BATCH]
            *_, found = attributions(look, fed(scene.model, scene.live.batch(chunk)), target, method)
            gathered.add(chunk, own[chunk], found)
            yield Progress(done=first + len(chunk), total=len(order), note=f"{first + len(chunk)} of {counted(len(order), 'examples')}")
            if first == 0 or (first // BATCH) % 3 == 0:
                yield self._picture(scene, selection, gathered, final=False)
        gathered.hidden = hidden(look, gathered)
        yield self._picture(scene, selection, gathered, final=True)

    def _picture(self, scene: Scene, selection: Selection, gathered: PairMaps, *, final: bool) -> Picture:
        first, second = (scene.classes[k] for k in (gathered.a, gathered.b))
        return self.picture(
            scene, selection, f"What separates {first} from {second}?", body(gathered, self.shown), caption(gathered),
            checks=checks(gathered), note=gathered.note, final=final,
        )

    def _pair(self, scene: Scene, selection: Selection) -> tuple[int, int, str]:
        chosen = pairs.chosen_classes(selection)
        first = pairs.named(scene, self.a) if self.a is not None else None
        second = pairs.named(scene, self.b) if self.b is not None else None
        if first is None and second is None and len(chosen) > 1:
            return chosen[0], chosen[1], "the chosen classes"
        if first is None and second is None and not chosen:
            return pairs.confused(scene)
        if first is None:
            first = next((k for k in chosen if k != second), None)
        if first is None:
            assert second is not None
            return pairs.nearest(scene, second), second, "the class that it is confused with most"
        if second is None:
            second = next((k for k in chosen if k != first), None)
        if second is None:
            return first, pairs.nearest(scene, first), "the class that it is confused with most"
        if first == second:
            raise UsageError(f"two classes are compared, got {scene.classes[first]} twice")
        return first, second, "the chosen classes"
