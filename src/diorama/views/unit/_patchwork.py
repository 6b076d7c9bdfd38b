"""An image rebuilt from patches: which patches are nearest, where they lie, and how they are put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.marks import Box, Image, Node, Tiles
from ...core.picture import Check, Progress
from ...core.selection import number_key
from ...data.examples import Examples
from ...data.kinds import Image as ImageKind
from ...data.nesting import Nested, to
from ...derive.derivations.patch_index import PatchIndexDerivation
from ...model.fields import ReceptiveField
from ...model.nearest_index import ExactIndex, Index, directed
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.other_data import prepared
from .. import crops
from ..units import ShownLayer, look

ROOM = 16_000_000
"""Comparisons (places by places) that are held at once."""
BATCH = 64


class PlaceGrid:
    """Where the places of a layer lie in a picture: a patch about each, blended where patches overlap."""

    def __init__(self, field: ReceptiveField, shape: tuple[int, int], size: int | None) -> None:
        self.shape, self.sizes, self.count = shape, field.sizes, shape[0] * shape[1]
        self.rows, self.columns = crops.centres(field, 0, shape[0]), crops.centres(field, 1, shape[1])
        apart = max(
            abs(float(np.diff(at).mean())) if len(at) > 1 else side
            for at, side in zip((self.rows, self.columns), field.sizes, strict=True)
        )
        seen = max(field.largest)
        # Smaller patches are confetti where a place sees more; larger ones blur into each other.
        self.side = size or max(2, round(2 * apart), min(seen, round(4 * apart)))
        self.reach = max(self.side, min(seen, *field.sizes))
        """What a place sees: so far the patches at the edge of the maps go, where no other patch lies."""

    @property
    def middle(self) -> int:
        """The place in the middle."""
        return self.shape[0] // 2 * self.shape[1] + self.shape[1] // 2

    def corner(self, place: int, side: int) -> tuple[int, int]:
        """The top left corner of a patch of the side, in a picture with a border of one patch, kept inside it."""
        row, column = divmod(place, self.shape[1])
        height, width = self.sizes
        top = round(float(self.rows[row]) - (side - 1) / 2) + side
        left = round(float(self.columns[column]) - (side - 1) / 2) + side
        return min(max(top, 0), height + side), min(max(left, 0), width + side)

    def edge(self, place: int) -> bool:
        """Whether a place is an outermost one."""
        row, column = divmod(place, self.shape[1])
        return row in (0, self.shape[0] - 1) or column in (0, self.shape[1] - 1)

    def box(self, place: int) -> Box:
        """The patch's box in the picture itself."""
        top, left = (corner - self.side for corner in self.corner(place, self.side))
        height, width = self.sizes
        down, right = min(top + self.side, height), min(left + self.side, width)
        return Box(x=max(left, 0), y=max(top, 0), width=max(right - max(left, 0), 0), height=max(down - max(top, 0), 0))

    def laid(self, pictures: np.ndarray, which: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The picture in which each place holds the mean of its patches: of ``pictures[which]`` at ``places`` (count, k).

        Where no patch lies, between the outermost places and the border, stands what those places see; where they see
        nothing, grey.
        """
        found, there = self._blended(pictures, which, places, self.side, range(self.count))
        if not there.all():
            outer = [place for place in range(self.count) if self.edge(place)]
            more, also = self._blended(pictures, which, places, self.reach, outer)
            found = np.where(there, found, np.where(also, more, crops.GREY))
        whole: np.ndarray = np.rint(found).clip(0, 255).astype(np.uint8)
        return whole

    def _blended(
        self, pictures: np.ndarray, which: np.ndarray, places: np.ndarray, side: int, at: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Patches of the side at some places, blended; and where there are any."""
        border = ((0, 0), (side, side), (side, side), *(((0, 0),) if pictures.ndim == 4 else ()))
        padded = np.pad(pictures.astype(np.float32), border, mode="edge")
        height, width = pictures.shape[1:3]
        window = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side),) * 2) + 1e-3
        window = window[..., None] if pictures.ndim == 4 else window
        whole = np.zeros((height + 2 * side, width + 2 * side, *pictures.shape[3:]))
        weight = np.zeros((height + 2 * side, width + 2 * side, *(1,) * (pictures.ndim - 3)))
        for place in at:
            patch = np.mean([self._cut(padded[w], p, side) for w, p in zip(which[place], places[place], strict=True)], 0)
            top, left = self.corner(place, side)
            whole[top : top + side, left : left + side] += patch * window
            weight[top : top + side, left : left + side] += window
        inside = np.s_[side:-side, side:-side]
        return (whole / np.where(weight > 0, weight, 1))[inside], weight[inside] > 0

    def _cut(self, padded: np.ndarray, place: int, side: int) -> np.ndarray:
        top, left = self.corner(int(place), side)
        return padded[top : top + side, left : left + side]


class Patchwork:
    """The nearest patches found so far, and the image made of them."""

    def __init__(
        self, scene: Scene, current: CurrentInput, one: ShownLayer, given: Examples | None, most: int, k: int, size: int | None
    ) -> None:
        self.scene, self.one, self.current, self.k = scene, one, current, k
        self.given = given
        """The examples whose patches are looked at, where they are not those of the probe set."""
        self.examples, self.probe = (scene.examples if given is None else given).first(most), given is None
        # The image itself is left out where it is among them.
        self._own = current.index if self.probe else None
        field = crops.field_of(scene, one.source)
        assert field is not None
        codes, shape = self._codes(current.x)
        self.query, self.grid = codes[0], PlaceGrid(field, shape, size)
        self.count = len(self.query)
        self.near, self.numbers = torch.zeros(0), torch.zeros(0, dtype=torch.long)
        self.recall: float | None = None
        self.seen = 0

    @property
    def ready(self) -> bool:
        """Patches enough were found for every place."""
        return bool(len(self.numbers)) and bool((self.numbers[:, : self.k] >= 0).all())

    def _codes(self, x: Nested) -> tuple[Tensor, tuple[int, int]]:
        """Features of each place, of length one: (n, places, units)."""
        values = look(self.scene, [self.one], x)[self.one.name]
        return directed(values.flatten(2).transpose(1, 2)), (int(values.shape[2]), int(values.shape[3]))

    def _batch(self, part: Sequence[int]) -> Nested:
        return fed(self.scene.model, to(prepared(self.scene, self.examples.batch(list(part))), self.scene.device))

    # Searching.

    def compared(self) -> Iterator[Progress]:
        """Find the nearest among all, batch by batch; after each batch those found so far stand."""
        kept = max(self.k, 9)
        search = ExactIndex(self.query, kept)
        together = max(1, min(BATCH, ROOM // max(1, self.count**2)))
        total = len(self.examples)
        for start in range(0, total, together):
            yield Progress(done=start, total=total, note="patches of the other examples compared")
            part = [k for k in range(start, min(start + together, total)) if k != self._own]
            if part:
                codes = self._codes(self._batch(part))[0].flatten(0, 1)
                numbers = torch.tensor(part)[:, None] * self.count + torch.arange(self.count)
                search.take(codes, numbers.flatten())
                self.near, self.numbers = search.near, search.numbers
            self.seen += len(part)

    def indexed(self) -> Iterator[Progress]:
        """Find the nearest through an index of all patches, which is built when it is first asked for."""
        made = PatchIndexDerivation(
            layer=self.one.source.name, rectified=self.one.rectified, examples=len(self.examples), given=self.given
        )
        for stage in made.at(self.scene).stream():
            if stage.final:
                index = Index.of(stage.value["graph"], self.query.shape[1], more=False)
            else:
                yield stage.progress
        own = range(self._own * self.count, (self._own + 1) * self.count) if self._own is not None else range(0)
        self.near, self.numbers = index.search(self.query, max(self.k, 9), own)
        self.recall, self.seen = index.recall(self.query, max(self.k, 9)), len(self.examples) - bool(len(own))

    # Work.

    def rebuilt(self, numbers: Tensor | None = None) -> np.ndarray:
        """The image made of the nearest patches, or of those with the numbers (places, k)."""
        own = (self.numbers[:, : self.k] if numbers is None else numbers).numpy()
        chosen, which = np.unique(own // self.count, return_inverse=True)
        pictures = np.asarray(self.examples.shown(chosen.tolist()))
        return self.grid.laid(pictures, which.reshape(own.shape), own % self.count)

    def marks(self, rebuilt: np.ndarray) -> Iterator[Node]:
        """The image, and as it was rebuilt."""
        own = np.asarray(self.current.shown)
        yield Image(
            pixels=own, limits=crops.limits_of(own[None]), boxes=(self.grid.box(self.grid.middle),), size=200,
            title=self.current.label, key=self.current.key,
        )
        yield Image(pixels=rebuilt, limits=crops.limits_of(rebuilt[None]), title="rebuilt from others", size=200)

    def neighbours(self) -> Tiles:
        """Where the patches of the middle place come from."""
        at = self.grid.middle
        there = self.numbers[at] >= 0
        found = self.numbers[at][there][:9]
        examples = [int(k) // self.count for k in found]
        pixels = np.asarray(self.examples.shown(examples))
        return Tiles(
            images=pixels, limits=crops.limits_of(pixels), size=64, columns=9,
            boxes=tuple(self.grid.box(int(k) % self.count) for k in found),
            keys=tuple(number_key("example", k) for k in examples) if self.probe else (),
            title="The nearest to the boxed patch, and where they lie",
            notes=tuple(f"{float(v):.3f}" for v in self.near[at][there][:9]),
        )

    def checks(self, rebuilt: np.ndarray) -> tuple[Check, ...]:
        """How near the rebuilt image is, in pixels and to the layer; beside patches at random."""
        generator = torch.Generator().manual_seed(0)
        others = torch.tensor([k for k in range(len(self.examples)) if k != self._own])
        picked = others[torch.randint(0, len(others), (self.count, self.k), generator=generator)]
        chance = self.rebuilt(picked * self.count + torch.randint(0, self.count, picked.shape, generator=generator))
        own = np.asarray(self.current.shown).astype(np.float64)
        error = 100 * float(np.sqrt(np.mean((rebuilt - own) ** 2))) / 255
        found = [
            Check(name="pixels", value=error, unit="%", sentence="root mean square difference of the pixels, of their range."),
            Check(name="alike", value=self._alike(rebuilt), sentence="mean cosine of the layer's features of both images."),
            Check(name="by chance", value=self._alike(chance), sentence="the same for patches taken at random."),
        ]
        if self.recall is not None:
            sentence = "of the true nearest patches are found by the index, measured on 64 places."
            found.append(Check(name="found", value=100 * self.recall, unit="%", sentence=sentence, good=self.recall > 0.9))
        return tuple(found)

    def _alike(self, pixels: np.ndarray) -> float:
        kind = self.scene.kind
        assert isinstance(kind, ImageKind)
        planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
        code = self._codes(kind.of_pixels(planes.astype(np.float32)).to(self.scene.device))[0][0]
        return float((code * self.query).sum(1).mean())
