"""An image rebuilt from the patches of other images that a layer takes for the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Box, Group, Image, Node, Tiles
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...data.kinds import Image as ImageKind
from ...model.fields import Field
from ...model.layers import Layer
from ...scene import Scene
from ...scene.input import Current
from .. import crops
from ..units import Shown, look, main_layers, shown
from ..view import View

ROOM = 16_000_000
"""Comparisons (places by places) that are held at once."""
SHOWN_EVERY = 1.0


class Replacement(View):
    """The image rebuilt from patches of other images: at each place those that look most alike to a layer.

    *Meaning* what the rebuilt image keeps is what the layer tells apart; what it gets wrong the layer does not care
    about. Early layers rebuild nearly everything, late ones put in parts of the same kind. Each place takes the mean of
    its k nearest patches (cosine of the features, every place of every other example compared), overlapping patches are
    blended. *Alike* says how near the rebuilt image's own features are to the original's, beside an image rebuilt from
    patches at random.
    *Cost* one pass over the live examples up to the layer; as many comparisons as places times all places.
    *Source* Long, Zhang, Darrell 2014, section 3.
    """

    title = "Rebuilt from others"
    question = "Which parts of other images does a layer take for the same as these?"
    family = "features"
    papers = ("Long, Zhang & Darrell 2014, arXiv:1411.1091",)
    rows = ("A23",)
    follows = ("layer", "unit", "example")
    input = True

    layer: str | None = knob(None, "The layer; by itself the chosen one, else one in the middle.", kind="layer", main=True)
    k: int = knob(1, "Nearest patches whose mean is put in each place.", low=1, high=25, main=True)
    size: int | None = knob(
        None, "Side of a patch; by itself twice the distance between places.", kind="integer", low=1, high=512, unit="pixels"
    )

    @classmethod
    def fits(cls, scene: Scene) -> str | None:
        """Pictures and layers with maps only."""
        reason = super().fits(scene) or crops.only_pictures(scene, "images are rebuilt from patches", "features")
        if reason is None and not any(_mapped(scene, layer) for layer in scene.layers):
            return "patches are compared at the places of a layer's maps, and this model has none; use the view features"
        return reason

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The image as rebuilt from the examples seen so far, every second."""
        work = _Work(scene, selection, self)
        total = len(scene.live)
        shown_at = time.perf_counter()
        for start in range(0, total, work.together):
            part = range(start, min(start + work.together, total))
            yield Progress(done=start, total=total, note="patches of the other examples compared")
            work.take(part)
            if part.stop < total and time.perf_counter() - shown_at > SHOWN_EVERY and work.ready:
                yield self._picture(scene, selection, work, part.stop, final=False)
                shown_at = time.perf_counter()
        if not work.ready:
            raise NotApplicable("an image is rebuilt from other examples, and there are none; pass more of them")
        yield self._picture(scene, selection, work, total, final=True)

    def _picture(self, scene: Scene, selection: Selection, work: _Work, seen: int, final: bool) -> Picture:
        rebuilt = work.rebuilt(work.examples[:, : self.k], work.places[:, : self.k])
        marks: list[Node] = [Group(children=tuple(work.marks(rebuilt)), direction="row"), work.neighbours()]
        name, label = work.one.name, work.current.label
        caption = (
            f"{label.capitalize()} rebuilt from {work.count} patches of {seen} other examples that {name} takes for the most "
            f"alike: the mean of the {self.k} nearest at each place." if self.k > 1 else
            f"{label.capitalize()} rebuilt from {work.count} patches, each the one of {seen} other examples that {name} takes "
            "for the most alike."
        )  # fmt: skip
        return self.picture(
            scene, selection, f"{label.capitalize()} through {name}", Group(children=tuple(marks)), caption,
            checks=work.checks(rebuilt) if final else (), final=final,
        )  # fmt: skip

    def chosen_layer(self, scene: Scene, selection: Selection) -> Shown:
        """The layer whose features are compared."""
        if self.layer is not None:
            layer = scene.layers[self.layer]
            if not _mapped(scene, layer):
                raise NotApplicable(f"{self.layer} keeps no places of the picture; choose a layer with maps")
            return shown(scene, layer)
        for key in reversed(selection.a):
            if key.kind in ("layer", "unit") and _mapped(scene, scene.layers[key.name]):
                return shown(scene, scene.layers[key.name])
        found = [one for one in main_layers(scene) if _mapped(scene, one.layer)]
        found = found or [shown(scene, layer) for layer in scene.layers if _mapped(scene, layer)]
        return found[len(found) // 2]


def _mapped(scene: Scene, layer: Layer) -> bool:
    field = crops.field_of(scene, layer)
    return field is not None and all(way is not None for way in field.ways) and layer.spatial


def centres(field: Field, axis: int, places: int) -> np.ndarray:
    """The pixel in the middle of what each place sees along an axis, as if the picture went on beyond its border."""
    low, high, size = field.low[axis], field.high[axis], field.sizes[axis]
    whole = np.flatnonzero((low > 0) & (high < size - 1))
    if len(whole) < 2:
        found: np.ndarray = (np.arange(places) + 0.5) * size / places - 0.5
        return found
    middle = (low + high) / 2
    step = (middle[whole[-1]] - middle[whole[0]]) / (whole[-1] - whole[0])
    return np.asarray(middle[whole[0]] + step * (np.arange(places) - whole[0]))


class _Work:
    """The nearest patches found so far, and the image made of them."""

    def __init__(self, scene: Scene, selection: Selection, view: Replacement) -> None:
        self.scene, self.view = scene, view
        self.one = view.chosen_layer(scene, selection)
        self.current: Current = scene.current(selection)
        field = crops.field_of(scene, self.one.source)
        assert field is not None
        self.field = field
        codes, shape = self._codes(self.current.x)
        self.query, self.shape = codes[0], shape
        self.count = len(self.query)
        self.together = max(1, min(64, ROOM // max(1, self.count**2)))
        k = self.kept = max(view.k, 9)
        self.near = torch.full((self.count, k), -torch.inf)
        self.examples = torch.zeros((self.count, k), dtype=torch.long)
        self.places = torch.zeros((self.count, k), dtype=torch.long)
        self.rows = centres(field, 0, shape[0])
        self.columns = centres(field, 1, shape[1])
        apart = max(
            abs(float(np.diff(at).mean())) if len(at) > 1 else size
            for at, size in zip((self.rows, self.columns), field.sizes, strict=True)
        )
        self.side = view.size or max(2, round(2 * apart))

    @property
    def ready(self) -> bool:
        """Patches enough were found for every place."""
        return bool(torch.isfinite(self.near).all())

    def _codes(self, x: object) -> tuple[Tensor, tuple[int, int]]:
        """Features of each place, of length one: (n, places, units)."""
        values = look(self.scene, [self.one], x)[self.one.name]  # type: ignore[arg-type]
        codes = torch.nan_to_num(values).flatten(2).transpose(1, 2)
        return F.normalize(codes, dim=2), (int(values.shape[2]), int(values.shape[3]))

    def take(self, part: range) -> None:
        """Compare with the places of some more examples; the image itself is left out."""
        indices = [k for k in part if k != self.current.index]
        if not indices:
            return
        codes, _ = self._codes(self.scene.live.batch(indices, self.scene.device))
        near = self.query @ codes.reshape(-1, codes.shape[2]).T
        best = near.topk(min(self.kept, near.shape[1]), 1)
        found = torch.tensor(indices)[best.indices // self.count]
        joined = torch.cat([self.near, best.values], 1)
        order = joined.sort(stable=True, dim=1, descending=True).indices[:, : self.kept]
        self.near = joined.gather(1, order)
        self.examples = torch.cat([self.examples, found], 1).gather(1, order)
        self.places = torch.cat([self.places, best.indices % self.count], 1).gather(1, order)

    def rebuilt(self, examples: Tensor, places: Tensor) -> np.ndarray:
        """Patches (places, k) put where they belong, blended where they overlap."""
        side = self.side
        chosen = np.unique(examples.numpy())
        sources = np.asarray(self.scene.live.shown(chosen.tolist())).astype(np.float32)
        extra = ((side, side), (side, side), *(((0, 0),) if sources.ndim == 4 else ()))
        padded = {int(k): np.pad(picture, extra, mode="edge") for k, picture in zip(chosen, sources, strict=True)}
        height, width = sources.shape[1:3]
        window = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side),) * 2) + 1e-3
        window = window[..., None] if sources.ndim == 4 else window
        whole = np.zeros((height + 2 * side, width + 2 * side, *sources.shape[3:]))
        weight = np.zeros((height + 2 * side, width + 2 * side, *(1,) * (sources.ndim - 3)))
        for place in range(self.count):
            patch = np.mean(
                [self._cut(padded[int(e)], int(p)) for e, p in zip(examples[place], places[place], strict=True)], 0
            )
            top, left = self._corner(place)
            whole[top : top + side, left : left + side] += patch * window
            weight[top : top + side, left : left + side] += window
        found = whole / np.where(weight > 0, weight, 1)
        return np.rint(found[side:-side, side:-side]).clip(0, 255).astype(np.uint8)

    def _corner(self, place: int) -> tuple[int, int]:
        """The patch's top left corner in a picture with a border of one patch, kept inside it."""
        row, column = divmod(place, self.shape[1])
        height, width = self.field.sizes
        top = round(float(self.rows[row]) - (self.side - 1) / 2) + self.side
        left = round(float(self.columns[column]) - (self.side - 1) / 2) + self.side
        return min(max(top, 0), height + self.side), min(max(left, 0), width + self.side)

    def _cut(self, padded: np.ndarray, place: int) -> np.ndarray:
        top, left = self._corner(place)
        return padded[top : top + self.side, left : left + self.side]

    def marks(self, rebuilt: np.ndarray) -> Iterator[Node]:
        """The image, and as it was rebuilt."""
        own = np.asarray(self.current.shown)
        at = self._middle()
        top, left = (corner - self.side for corner in self._corner(at))
        box = Box(x=max(left, 0), y=max(top, 0), width=self.side, height=self.side, label="")
        yield Image(
            pixels=own, limits=crops.limits_of(own[None]), boxes=(box,), title=self.current.label, key=self.current.key, size=180
        )
        yield Image(pixels=rebuilt, limits=crops.limits_of(rebuilt[None]), title="rebuilt from others", size=180)

    def _middle(self) -> int:
        """The place in the middle."""
        return self.shape[0] // 2 * self.shape[1] + self.shape[1] // 2

    def neighbours(self) -> Tiles:
        """Where the patches of the middle place come from."""
        at = self._middle()
        examples = [int(k) for k in self.examples[at, :9]]
        pixels = np.asarray(self.scene.live.shown(examples))
        boxes = []
        for place in self.places[at][:9]:
            top, left = (corner - self.side for corner in self._corner(int(place)))
            boxes.append(Box(x=max(left, 0), y=max(top, 0), width=self.side, height=self.side))
        return Tiles(
            images=pixels, limits=crops.limits_of(pixels), boxes=tuple(boxes), size=62, columns=9,
            keys=tuple(number_key("example", k) for k in examples), title="The nearest to the boxed patch",
            notes=tuple(f"{float(value):.3f}" for value in self.near[at][:9]),
        )  # fmt: skip

    def checks(self, rebuilt: np.ndarray) -> tuple[Check, ...]:
        """How near the rebuilt image is, in pixels and to the layer; beside patches at random."""
        generator = torch.Generator().manual_seed(0)
        others = torch.tensor([k for k in range(len(self.scene.live)) if k != self.current.index])
        picked = others[torch.randint(0, len(others), (self.count, self.view.k), generator=generator)]
        chance = self.rebuilt(picked, torch.randint(0, self.count, picked.shape, generator=generator))
        own = np.asarray(self.current.shown).astype(np.float64)
        error = 100 * float(np.sqrt(np.mean((rebuilt - own) ** 2))) / 255
        return (
            Check(name="pixels", value=error, unit="%", sentence="root mean square difference of the pixels, as a share of their range."),
            Check(name="alike", value=self._alike(rebuilt), sentence="mean cosine of the layer's features of both images."),
            Check(name="by chance", value=self._alike(chance), sentence="the same for patches taken at random."),
        )

    def _alike(self, pixels: np.ndarray) -> float:
        kind = self.scene.kind
        assert isinstance(kind, ImageKind)
        planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
        code = self._codes(kind.of_pixels(planes.astype(np.float32)).to(self.scene.device))[0][0]
        return float((code * self.query).sum(1).mean())
