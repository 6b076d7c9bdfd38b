"""Which regions of pictures a unit or a class answers to most, boxed where they stand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Selection
from ...methods.cost import lasting
from ...methods.maps import candidates
from ...scene import Scene
from ...scene.input import CurrentInput
from ..crops import only_pictures
from ..units import responses, shown
from ..view import View
from ._found_regions import FoundRegion, RegionImage, RegionScores, body, checks, proposed
from ._question import looking


class RegionsView(View):
    """Which regions of pictures drive this unit or class most, when all around them is covered?

    *Meaning* regions are proposed in each picture by a generator that knows nothing of the network; each is shown to
    the network alone, in its place and of its size, and the highest answers are boxed, from the pictures that drive the unit
    or class most. With a unit, a second box tells what the answering place of its map can see. A region that keeps the
    answer of the whole picture holds what the network needs; one that exceeds it was held back by what was around.
    *Error* the cover adds edges that the network may see; regions that no generator proposes are not found.
    *Cost* one forward pass a region; the number is said before, and pictures are shown as they are done.
    *Raises* UsageError when there are more regions than ``limit``.
    *Source* Girshick et al. 2014, section 3.1, whose regions are stretched to the network's input; these are not.
    """

    title = "Regions that drive it"
    question = "Which parts of pictures drive this unit or class most?"
    answers = True
    family = "features"
    papers = ("Girshick et al. 2014, arXiv:1311.2524", "Uijlings et al. 2013, doi:10.1007/s11263-013-0620-5")
    rows = ("A9",)
    follows = ("class", "unit", "example")
    input = True

    where: str = knob("the set", "Look for regions in the pictures of the set that drive it most, or in this input.",
                      choices=("the set", "this input"), main=True)
    generator: str = knob(
        "windows", "What proposes regions: windows of four sizes and three shapes, or joined segments of like colours.",
        choices=("windows", "segments"), main=True,
    )
    shown: int = knob(8, "How many regions are shown.", low=1, high=48)
    among: int = knob(8, "In how many pictures of the set regions are looked for.", low=1, high=256)
    segments: int = knob(40, "Into about how many segments a picture is cut; twice as many regions come.", low=4, high=400)
    overlap: float = knob(0.3, "Regions of a picture that overlap a higher one by more than this share are left out.",
                          low=0.0, high=1.0)
    fill: str = knob("mean", "What covers all around: the picture's mean colour, or its blur.", choices=("mean", "blur"))
    limit: int = knob(20_000, "The most forward passes.", low=1, high=10_000_000, log=True)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs pictures, and an answer or maps."""
        return only_pictures(scene, "it boxes regions of pictures", "attribution with occlusion")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The best so far as picture after picture is done."""
        scored = self._scored(scene, selection)
        chosen = [scene.current(selection)] if self.where == "this input" else self._strongest(scene, scored)
        regions = [proposed(self.generator, np.asarray(one.shown), self.segments) for one in chosen]
        passes = sum(map(len, regions))
        begun = time.perf_counter()
        scored.ask(looking(scene, chosen[0]), chosen[0].x)
        one = time.perf_counter() - begun
        if passes > self.limit:
            raise UsageError(
                f"{passes:,} regions in {len(chosen)} pictures take as many forward passes, about {lasting(passes * one)}, more "
                f"than the limit of {self.limit:,}; look in fewer pictures (among=), or raise limit="
            )
        yield Progress(
            done=0, total=passes, seconds=passes * one, note=f"{passes:,} forward passes, at most about {lasting(passes * one)}"
        )
        best: list[FoundRegion] = []
        done = 0
        for k, (current, own) in enumerate(zip(chosen, regions, strict=True)):
            best += RegionImage(scored, current, self.fill).found(own, self.overlap, self.shown)
            best = sorted(best, key=lambda found: -found.rank)[: self.shown]
            done += len(own)
            yield Progress(done=done, total=passes, note=f"{k + 1} of {len(chosen)} pictures")
            if done < passes:
                yield Draft(partial(self._picture, scene, selection, scored, best, passes, len(chosen), final=False))
        yield self._picture(scene, selection, scored, best, passes, len(chosen), final=True)

    def _picture(
        self, scene: Scene, selection: Selection, scored: RegionScores, best: list[FoundRegion], passes: int, pictures: int, *, final: bool
    ) -> Picture:
        title = "Which regions drive it?"
        made = "windows of several sizes and shapes" if self.generator == "windows" else "segments of like colours, joined"
        among = f"in the {pictures} pictures that drive it most" if pictures > 1 else f"in {best[0].current.label}"
        caption = (
            f"The regions with the highest values for {scored.name}, of {passes:,} ({made}) {among}; each was shown alone, in its "
            f"place and of its size, all around it {'the mean colour' if self.fill == 'mean' else 'blurred'}."
        )
        if not any(np.isfinite(one.value) for one in best):
            caption = f"Which regions drive {scored.name} cannot be told: to every one of {passes:,} ({made}) it is no number."
        elif scored.layer is not None:
            caption += " The box “sees” is what the answering place of the unit's map can see."
        return self.picture(scene, selection, title, body(scored, best), caption, checks=checks(best), final=final)

    def _scored(self, scene: Scene, selection: Selection) -> RegionScores:
        """The class or unit that was chosen last, else the answer's class, else the strongest unit of the last maps."""
        key = next((key for key in reversed(selection.a) if key.kind in ("class", "unit")), None)
        if key is not None and key.kind == "unit":
            return RegionScores(scene, key.number, shown(scene, scene.layers[key.name]))
        if scene.task == "classification":
            number = key.number if key is not None else int(scene.reading.predictions(scene.scores(scene.current(selection).x))[0])
            if number >= len(scene.classes):
                raise UsageError(f"the model has classes 0 to {len(scene.classes) - 1}, got {number}")
            return RegionScores(scene, number)
        current = scene.current(selection)
        found = candidates(looking(scene, current), current.x)
        layer = shown(scene, scene.layer(found[0].name if found else None, selection, lambda one: bool(one.shape)))
        return RegionScores(scene, int(responses(scene, [layer])[layer.name].high.nan_to_num(0).mean(0).argmax()), layer)

    def _strongest(self, scene: Scene, scored: RegionScores) -> list[CurrentInput]:
        """The pictures of the set that drive it most."""
        if scored.layer is not None:
            values = responses(scene, [scored.layer])[scored.layer.name].high[:, scored.number]
        else:
            values = scene.probabilities()[:, scored.number]
        order = values.float().nan_to_num(-1e30).argsort(descending=True, stable=True)[: self.among]
        return [scene.current(example=int(k)) for k in order]
