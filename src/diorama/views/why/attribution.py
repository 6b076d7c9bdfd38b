"""Why this answer: maps of several methods side by side."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from ...core import registry
from ...core.colour import magnitude, symmetric
from ...core.errors import NotApplicable, not_found
from ...core.knobs import knob, title_of
from ...core.marks import Group, Image, Node
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...data.kinds import Image as ImageKind
from ...methods.attribute import attributions
from ...methods.method import Attribution as Found
from ...methods.method import Looking
from ...methods.picturing import channels_summed, picture
from ...scene import Scene
from ...scene.input import Current
from ..view import View

FIRST = (
    "gradient", "input_x_gradient", "guided_backprop", "integrated_gradients", "smooth_grad", "lrp", "grad_cam",
    "occlusion",
)  # fmt: skip
"""One or two of each family, from the cheapest on; what does not fit the model is told apart."""


class Attribution(View):
    """Which parts of the input speak for this answer, and which against it, by several methods side by side.

    *Meaning* blue speaks for the target, orange against it; methods that only know magnitudes go from dark to bright.
    The target is the chosen class (click a bar of the answer), the chosen unit, or what the network predicts. Methods
    disagree: believe what several of them show, and mind the gap between a map's sum and the score where it is told.
    *Cost* one forward and one backward pass for the gradient methods, some tens to hundreds for the others; the maps
    appear one by one.
    """

    title = "Why this answer?"
    question = "Which parts of the input speak for this answer, and which against it?"
    family = "features"
    papers = (
        "Simonyan et al. 2013", "Zeiler & Fergus 2014", "Springenberg et al. 2014", "Bach et al. 2015",
        "Selvaraju et al. 2017", "Sundararajan et al. 2017",
    )  # fmt: skip
    rows = ("A7", "A11", "A12", "A13", "A14", "A16", "A18")
    follows = ("example", "class", "unit")
    input = True

    method: str | None = knob(None, "Methods to show, with commas between them; empty for one or two of each family.")
    overlay: bool = knob(True, "Lay the map over the input, or show it alone.", main=True)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """A picture more for each method that is done."""
        names = self._names()
        current = scene.current(selection)
        look = Looking(
            scene.model, x=current.x, kind=scene.kind, reading=scene.reading, classes=scene.classes,
            table=scene.layers, cancel=scene.cancel, edits=scene.edits,
        )  # fmt: skip
        target = _target(selection)
        done: list[Node] = []
        told, refused = "", list[str]()
        for number, name in enumerate(names):
            chosen = registry.methods[name]()
            try:
                for found in attributions(look, current.x, target, chosen):
                    told = told or found.target
                    marked = self._mark(scene, current, name, found)
                    last = number == len(names) - 1
                    yield self._picture(scene, selection, current, [*done, marked], told, refused, final=False)
                done.append(marked)
            except NotApplicable as error:
                if len(names) == 1:
                    raise
                refused.append(f"{title_of(registry.methods[name])}: {error}")
                last = number == len(names) - 1
            yield Progress(done=number + 1, total=len(names), note=title_of(registry.methods[name]))
            if last:
                break
        if not done:
            raise NotApplicable("none of these methods fits the model: " + "; ".join(refused))
        yield self._picture(scene, selection, current, done, told, refused, final=True)

    def _names(self) -> list[str]:
        asked = [part.strip() for part in (self.method or "").split(",") if part.strip()]
        for name in asked:
            if name not in registry.methods:
                raise not_found("attribution method", name, registry.methods)
        return asked or [name for name in FIRST if name in registry.methods]

    def _mark(self, scene: Scene, current: Current, name: str, found: Found) -> Node:
        title = title_of(registry.methods[name])
        caption = _checks(found)
        if isinstance(scene.kind, ImageKind) and not isinstance(found.values, dict | tuple):
            numbers = channels_summed(found.values[0].detach().float().cpu().numpy(), scene.kind)
            pixels = np.asarray(current.shown)
            limits = symmetric(numbers) if found.signed else magnitude(numbers)
            if numbers.ndim == 2 and pixels.shape[:2] == numbers.shape:
                if not self.overlay:
                    return Image(pixels=numbers, limits=limits, title=title, caption=caption, size=200)
                grey = magnitude(pixels, 0, 255, "grey") if pixels.ndim == 2 else None
                return Image(
                    pixels=pixels, limits=grey, heat=numbers, heat_limits=limits, title=title, caption=caption, size=200
                )
        return msgspec.structs.replace(picture(found).body, title=title, caption=caption)

    def _picture(
        self, scene: Scene, selection: Selection, current: Current, done: list[Node], told: str, refused: list[str],
        *, final: bool,
    ) -> Picture:  # fmt: skip
        caption = (
            f"What in {current.label} speaks for {told} (blue) and what against it (orange), by {len(done)} methods; each "
            "map has its own scale. Choose a class or a unit to ask about that instead."
        )
        note = "Not shown: " + "; ".join(refused) + "." if refused else ""
        body = Group(children=tuple(done), direction="grid")
        return self.picture(scene, selection, "Why this answer?", body, caption, note=note, final=final)


def _target(selection: Selection) -> str | int | None:
    """What is explained: the unit or class that was chosen last, else the predicted class."""
    for key in reversed(selection.a):
        if key.kind == "class":
            return key.number
        if key.kind == "unit":
            return str(key)
    return None


def _checks(found: Found) -> str:
    """The numbers that say how far to believe a map, in words."""
    parts = []
    gap = found.checks.get("completeness")
    if gap is not None:
        parts.append(f"sums to the score within {100 * gap:.2g} %")
    if found.note:
        parts.append(found.note)
    return "; ".join(parts)
