"""Regions of pictures that a unit or a class answers to, and how they are shown in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import Limits
from ...core.marks import Box, Group, Image, Node, Tiles
from ...core.picture import Check
from ...core.selection import spoken
from ...data import nesting
from ...data.nesting import Nested
from ...methods.batches import together
from ...methods.patches import BATCH, Covers, draws_of, laid_out
from ...methods.proposals import Region, apart, segments, windows
from ...model.layers import by_unit
from ...scene import Scene
from ...scene.input import CurrentInput, decoded
from ..crops import Place, box_of, field_of, limits_of, strongest_place
from ..units import ShownLayer
from ._question import looking

SIDE = 130
SMALL = 84


@dataclasses.dataclass(frozen=True)
class FoundRegion:
    """A region of an example, and what was answered to it alone."""

    current: CurrentInput
    region: Region
    value: float
    rank: float
    """What regions are ordered by: the value, or a class's log odds, which still differ where probabilities are all 1."""
    whole: float
    """The answer to the whole example."""
    place: Place
    """Where in the unit's map the answer is; empty for a class."""
    seen: NDArray[np.uint8]
    """What the network received."""


@dataclasses.dataclass(frozen=True)
class RegionScores:
    """What is asked of each region: the probability of a class, or the strongest place of a unit's map."""

    scene: Scene
    number: int
    layer: ShownLayer | None = None

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.layer is not None:
            return f"unit {self.number} of {spoken(self.layer.name)}"
        return f"the probability of {self.scene.classes[self.number]}"

    def ask(self, look: Any, x: Nested) -> tuple[Tensor, Tensor, list[Place]]:
        """The value for each input, what it is ordered by, and where in the map it is."""
        keep = [] if self.layer is None else [self.layer.source.name]
        with torch.no_grad():
            there = look.run(x, keep=keep)
            if self.layer is None:
                scores = there.scores.detach().float().cpu()
                chances = self.scene.reading.probabilities(scores)[:, self.number].float()
                return chances, _odds(scores, self.number, chances), [()] * len(chances)
            maps = self.layer.values(by_unit(self.layer.source, there[self.layer.source.name]))[:, self.number].cpu()
        values = maps.flatten(1).amax(1) if maps.ndim > 1 else maps
        return values, values, [strongest_place(one) if one.ndim else () for one in maps]


def _odds(scores: Tensor, number: int, chances: Tensor) -> Tensor:
    """A class's log odds, where there is a score a class; else its probability."""
    if scores.ndim != 2 or scores.shape[1] < 2 or number >= scores.shape[1]:
        return chances
    others = torch.cat([scores[:, :number], scores[:, number + 1 :]], 1)
    return scores[:, number] - others.logsumexp(1)


def proposed(generator: str, pixels: NDArray[np.uint8], count: int) -> list[Region]:
    """The regions that a generator finds in a picture."""
    rows, columns = pixels.shape[:2]
    return windows(rows, columns) if generator == "windows" else segments(pixels, count)


class RegionImage:
    """One picture of which regions are shown alone: all else is covered where it stands."""

    def __init__(self, scored: RegionScores, current: CurrentInput, fill: str) -> None:
        self.scored, self.current = scored, current
        self.look = looking(scored.scene, current)
        self._laid = laid_out(current.x, self.look.kind)[0]
        image = self._laid.image
        sigma = max(1.0, min(image.shape[2:]) / 8)
        self._cover = Covers(fill, image, sigma=sigma, generator=draws_of(self.look)).whole(0)
        self.batch = together(self.look, current.x, BATCH)

    def inputs(self, regions: Sequence[Region]) -> Nested:
        """The picture with each region alone, in its place and of its size."""
        image = self._laid.image
        made = self._cover[None].repeat(len(regions), 1, 1, 1)
        for k, (top, left, height, width) in enumerate(regions):
            inside = (slice(None), slice(top, top + height), slice(left, left + width))
            made[k][inside] = image[0][inside]
        return nesting.each(self.current.x, lambda part: self._laid.back(made))

    def found(self, regions: Sequence[Region], overlap: float, most: int) -> list[FoundRegion]:
        """The regions with the highest answers that do not overlap much, highest first."""
        whole = float(self.scored.ask(self.look, self.current.x)[0][0])
        values: list[float] = []
        ranks: list[float] = []
        places: list[Place] = []
        for start in range(0, len(regions), self.batch):
            part = self.scored.ask(self.look, self.inputs(regions[start : start + self.batch]))
            values += [float(value) for value in part[0]]
            ranks += [float(value) for value in part[1].nan_to_num(-torch.inf)]
            places += part[2]
        # Of equal answers the smaller region says more.
        order = sorted(range(len(regions)), key=lambda k: (-ranks[k], regions[k].area))
        best = apart(regions, order, overlap)[:most]
        kind = self.scored.scene.kind
        return [
            FoundRegion(
                self.current, regions[k], values[k], ranks[k], whole, places[k],
                np.asarray(decoded(kind, self.inputs([regions[k]]))),
            )
            for k in best
        ]


def body(scored: RegionScores, best: Sequence[FoundRegion]) -> Node:
    """The pictures with the regions boxed, and below them what the network received."""
    boxed = tuple(_boxed(scored, one) for one in best)
    rows: list[Node] = [Group(children=boxed, direction="grid", title=f"Highest for {scored.name}")]
    seen = [one.seen for one in best]
    if len({one.shape for one in seen}) == 1:
        pixels = np.stack(seen)
        rows.append(
            Tiles(
                images=pixels, limits=limits_of(pixels), size=SMALL, title="What the network received",
                labels=tuple(f"{one.value:.3g}" for one in best),
                notes=tuple(f"whole: {one.whole:.3g}" for one in best), keys=tuple(one.current.key for one in best),
            )
        )
    return Group(children=tuple(rows))


def _boxed(scored: RegionScores, one: FoundRegion) -> Image:
    pixels = np.asarray(one.current.shown)
    top, left, height, width = one.region
    boxes = [Box(x=left, y=top, width=width, height=height)]
    if scored.layer is not None:
        field = box_of(field_of(scored.scene, scored.layer.layer), one.place, "sees")
        whole = field is not None and (field.height, field.width) == pixels.shape[:2]
        boxes += [field] if field is not None and not whole else []
    grey: Limits | None = limits_of(pixels[None])
    return Image(
        pixels=pixels, limits=grey, boxes=tuple(boxes), size=SIDE, key=one.current.key,
        title=f"{one.current.label}: {one.value:.3g}",
    )


def checks(best: Sequence[FoundRegion]) -> tuple[Check, ...]:
    """How much of the whole picture's answer the regions keep."""
    shares = [one.value / one.whole for one in best if one.whole > 0]
    if not shares:
        return ()
    area = [one.region.area / (one.seen.shape[0] * one.seen.shape[1]) for one in best]
    return (
        Check(
            name="kept by the regions", value=100 * float(np.median(shares)), unit="%",
            sentence="The middle one of the shown regions' answers, as a share of the answers to their whole pictures; "
            f"the regions fill {100 * float(np.median(area)):.0f} % of them.",
        ),
    )
