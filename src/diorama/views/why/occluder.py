"""Cover a part of an image by hand, or sweep the cover over it: what the network then no longer sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Node
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Selection
from ...data import nesting
from ...methods.cost import lasting
from ...methods.maps import candidates
from ...methods.patches import FILLS, Grid, laid_out
from ...scene import Scene
from ..crops import only_pictures
from ..units import shown
from ..view import View
from ._occlusion_picture import OccludedPlace, body, caption, checks
from ._question import looking
from ._sweep import OccludedImage, Patch, Sweep, answered

KEPT = 8
"""So many sweeps are kept per set of weights."""


class OccluderView(View):
    """Cover a part of the image, by hand or swept over all of it: where does the answer hang on what was covered?

    *Meaning* by hand: drag the patch over the image; the bars show the answer with it, the ticks the answer without, and
    beside them stands the chosen unit's map (by itself, the strongest map of the last convolution) without and with
    the patch. Swept: three maps, each pixel telling what the network said with the patch about it: the sum of that
    unit's map, the probability of the class (the chosen one, else the answer), and the likeliest class.
    *Units* activations are the network's own; probabilities from 0 to 1.
    *Error* a sweep is exact at the windows' middles, and each pixel shows the nearest one's number; a patch also adds an
    edge that the network may see. Random pixels do so least; their answers are means over ``draws``.
    *Cost* one forward pass by hand, and one a window (and draw) for the sweep, of which only what the patch can reach is
    computed; refined from coarse to fine and kept, so that moving the hand costs no new sweep.
    *Raises* UsageError when the sweep needs more passes than ``limit``.
    *Source* Zeiler & Fergus 2014, section 4.2 and figure 7; random pixels from Zhou et al. 2015, section 3.2.
    """

    title = "Cover a part"
    question = "What if it did not see this part?"
    answers = True
    family = "features"
    papers = ("Zeiler & Fergus 2014, arXiv:1311.2901", "Zhou et al. 2015, arXiv:1412.6856")
    rows = ("A7", "A8")
    follows = ("example", "class", "unit", "layer")
    input = True

    patch: int | None = knob(None, "Side of the patch; by itself a quarter of the image's shorter side.", kind="integer",
                             low=1, high=4096, unit="pixels", main=True)
    sweep: bool = knob(True, "Sweep the patch over the whole image too.", main=True)
    at: str = knob("", "Where the patch stands, as row,column of its middle; by itself where the sweep hurts most.")
    stride: int | None = knob(None, "Steps of the sweep; by itself as many as make about 24 windows along a side.",
                              kind="integer", low=1, high=4096, unit="pixels")
    fill: str = knob("mean", "What the patch shows: the image's mean colour, one number, the image's blur, or its own "
                     "pixels drawn at random.", choices=("mean", *(fill for fill in FILLS if fill != "mean")))
    value: float = knob(0.0, "The number of the constant fill, in the numbers that the network receives.")
    draws: int = knob(4, "Draws that are averaged with random pixels.", low=1, high=100)
    layer: str | None = knob(
        None, "The layer whose strongest map is followed; the chosen one, or the last one with maps.", kind="layer"
    )
    limit: int = knob(20_000, "The most forward passes of a sweep.", low=1, high=100_000_000, log=True)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs images and an answer."""
        reason = only_pictures(scene, "it covers a part of a picture", "attribution with occlusion")
        if reason is not None:
            return reason
        if scene.task == "reconstruction":
            return "it follows an answer of a few numbers, and this network answers with a whole picture; use the view latent"
        return None if scene.task else "it follows the answer, and what the network answers is not known; say it with task="

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The patch by hand at once, then the sweep from coarse to fine."""
        occluded, unit = self._occluded(scene, selection)
        number = self._number(scene, selection, occluded)
        sweep = self._sweep(scene, occluded, unit) if self.sweep else None
        place = OccludedPlace(occluded, unit, number, self._hand(occluded, sweep, number), sweep)
        if sweep is not None and not sweep.whole:
            passes = int((~sweep.done).sum()) * occluded.draws
            yield Progress(
                done=0, total=sweep.grid.count, seconds=passes * occluded.seconds,
                note=f"{passes:,} forward passes, at most about {lasting(passes * occluded.seconds)}",
            )
            yield self._picture(scene, selection, place, final=False)
            for done in sweep.advance(occluded, unit):
                yield Progress(done=done, total=sweep.grid.count, note=f"{done} of {sweep.grid.count} places")
                if not sweep.whole:
                    yield Draft(lambda: self._picture(scene, selection, place, final=False))
            place = OccludedPlace(occluded, unit, number, self._hand(occluded, sweep, number), sweep)
        yield self._picture(scene, selection, place, final=True)

    def _picture(self, scene: Scene, selection: Selection, place: OccludedPlace, *, final: bool) -> Picture:
        drawn: Node = body(place)
        return self.picture(
            scene, selection, "What if it did not see this part?", drawn, caption(place), checks=checks(place), hint="Drag the patch.", final=final
        )

    # What is covered, and what is followed.

    def _occluded(self, scene: Scene, selection: Selection) -> tuple[OccludedImage, int]:
        current = scene.current(selection)
        look = looking(scene, current)
        followed = candidates(look, current.x)
        last = followed[0].name if followed else None
        chosen = self.layer is not None or any(key.kind in ("layer", "unit") for key in selection.a)
        layer = scene.layer(self.layer if chosen else last, selection, lambda one: bool(one.shape))
        side = min(laid_out(current.x, scene.kind)[0].image.shape[2:])
        patch = Patch(self.patch or max(1, side // 4), self.fill, self.value, self.draws)
        occluded = OccludedImage(scene, current, look, patch, shown(scene, layer))
        key = selection.one("unit")
        own = key is not None and key.name == layer.name and (self.layer is None or self.layer == key.name)
        return occluded, key.number if own and key is not None else occluded.strongest()

    @staticmethod
    def _number(scene: Scene, selection: Selection, occluded: OccludedImage) -> int:
        """The answer that is followed: the chosen class, else the likeliest one."""
        chosen = selection.one("class")
        chances = answered(scene, occluded.scores)[0]
        if chosen is not None:
            if chosen.number >= len(chances):
                raise UsageError(f"the model has answers 0 to {len(chances) - 1}, got {chosen.number}")
            return chosen.number
        return int(chances.nan_to_num(0).argmax()) if scene.task in ("classification", "multi_label") else 0

    def _sweep(self, scene: Scene, occluded: OccludedImage, unit: int) -> Sweep:
        rows, columns = occluded.shape
        step = self.stride or max(1, round(min(rows, columns) / 24))
        grid = Grid.over(occluded.laid, occluded.patch.size, step)
        passes = grid.count * occluded.draws
        if passes > self.limit:
            wide = int(np.ceil(step * np.sqrt(passes / self.limit)))
            raise UsageError(
                f"a sweep in steps of {step} over {rows} × {columns} pixels needs {passes:,} forward passes, about "
                f"{lasting(passes * occluded.seconds)}, more than the limit of {self.limit:,}; take stride={wide} (then "
                f"about {lasting(self.limit * occluded.seconds)}), move the patch by hand (sweep=False), or raise limit="
            )
        kept: dict[Any, Sweep] = scene.once("occluder/kept", dict)
        known = (_mark(occluded), occluded.patch, grid, occluded.layer.name, unit, str(scene.edits))
        found = kept.pop(known, None)
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)))
        kept[known] = found = found or Sweep(grid, answered(scene, occluded.scores).shape[1])
        return found

    def _hand(self, occluded: OccludedImage, sweep: Sweep | None, number: int) -> tuple[int, int]:
        """Where the patch stands: where it was put, else where the finished sweep hurts most, else in the middle."""
        rows, columns = occluded.shape
        if not self.at.strip():
            if sweep is not None and sweep.whole:
                return sweep.middle(int(torch.nan_to_num(sweep.answers[:, number], torch.inf).argmin()))
            return rows // 2, columns // 2
        try:
            row, column = (int(part) for part in self.at.split(","))
        except ValueError:
            raise UsageError(f"at wants row,column in pixels, as in '{rows // 2},{columns // 2}', got {self.at!r}") from None
        if not (0 <= row < rows and 0 <= column < columns):
            raise UsageError(f"the image has rows 0 to {rows - 1} and columns 0 to {columns - 1}, got {self.at!r}")
        return row, column


def _mark(occluded: OccludedImage) -> str:
    """A short name of the image."""
    array = nesting.first(occluded.current.x).detach().cpu().contiguous()
    return hashlib.sha1(array.view(torch.uint8).numpy().tobytes(), usedforsecurity=False).hexdigest()
