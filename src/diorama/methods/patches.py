"""Parts of an input covered or changed, one after the other: where they lie, what covers them, what the model then says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.rounding import rounding
from ..data import nesting
from ..data.kinds import Image, Kind, Series
from ..data.nesting import Nested
from ..data.volumes import stacked
from ..model.incremental_inference import IncrementalInference
from ..model.targets import Target
from .batches import LARGEST, together
from .method import Look
from .own_pass import windowed

FILLS = ("constant", "mean", "blur", "random")
BATCH = 32
"""Changed inputs in one pass, at most."""
SWEPT = 64
"""Patches in one pass where only windows are computed: the more, the less the large weights of dense layers cost."""


@dataclasses.dataclass(frozen=True)
class ImageLayout:
    """One tensor of an input laid out as an image (n, channels, rows, columns), and the way back.

    A table's row, a text or a series is an image of one row; the slices of a volume stand one below the other.
    """

    number: int
    """Which tensor of the input it is."""
    image: Tensor
    back: Callable[[Tensor], Tensor]
    pixels: bool
    """Its places form a plane."""
    depth: int = 1
    """How many slices of a volume lie one below the other in it."""

    @property
    def whole(self) -> bool:
        """It holds whole numbers: tokens."""
        return not self.image.is_floating_point()


def laid_out(x: Nested, kind: Kind | dict[str, Kind] | None) -> list[ImageLayout]:
    """All tensors of an input as images; those of whole numbers only where they look like tokens (n, t)."""
    found = []
    for k, (name, part) in enumerate(nesting.named(x).items()):
        own = kind.get(name) if isinstance(kind, dict) else kind
        made = _laid(k, part, own)
        if made is not None:
            found.append(made)
    if not found:
        raise NotApplicable("nothing in this input can be covered part by part: no image, volume, row, text or series")
    return found


def _laid(number: int, part: Tensor, kind: Kind | None) -> ImageLayout | None:
    n = len(part)
    if isinstance(kind, Image) and kind.layout == "NHWC" and part.ndim == 4:
        return ImageLayout(number, part.permute(0, 3, 1, 2), lambda image: image.permute(0, 2, 3, 1).contiguous(), True)
    if isinstance(kind, Image) and part.ndim == 2 and kind.height and kind.width:
        return ImageLayout(number, part.reshape(n, -1, kind.height, kind.width), lambda image: image.flatten(1), True)
    if part.ndim == 4:
        return ImageLayout(number, part, lambda image: image, True)
    if part.ndim == 5:
        image, back, depth = stacked(part)
        return ImageLayout(number, image, back, True, depth)
    if part.ndim == 3 and isinstance(kind, Image):
        return ImageLayout(number, part[:, None], lambda image: image[:, 0], True)
    if part.ndim == 3 and isinstance(kind, Series) and kind.turned:
        return ImageLayout(number, part.transpose(1, 2)[:, :, None], lambda image: image[:, :, 0].transpose(1, 2).contiguous(), False)
    if part.ndim == 3:
        return ImageLayout(number, part[:, :, None], lambda image: image[:, :, 0], False)
    if part.ndim == 2:
        return ImageLayout(number, part[:, None, None], lambda image: image[:, 0, 0], False)
    return None


def _along(places: int, size: int, stride: int) -> int:
    """How many windows begin along an axis; steps wider than a window leave places between them that none covers."""
    return min(math.ceil((places - size) / stride), (places - 1) // stride) + 1


@dataclasses.dataclass(frozen=True)
class Grid:
    """Windows of one size at regular steps over rows and columns; the last ones end at the border.

    *Meaning* window (i, j) covers rows i·stride to i·stride + size, cut at the border, as in Captum's occlusion.
    """

    rows: int
    columns: int
    size: tuple[int, int]
    stride: tuple[int, int]
    depth: int = 1
    """Of slices one below the other: no window reaches from one into the next."""

    @classmethod
    def over(cls, laid: ImageLayout, size: int | None, stride: int | None) -> Grid:
        """The windows over one tensor; sizes left open are an eighth of an image's shorter side, or one column."""
        rows, columns = laid.image.shape[2:]
        tall = rows // laid.depth
        own = size if size is not None else max(1, min(tall, columns) // 8) if laid.pixels else 1
        step = stride if stride is not None else max(1, own // 2)
        size2 = (min(own, tall), min(own, columns))
        return cls(rows, columns, size2, (min(step, size2[0]) if rows == 1 else step, step), laid.depth)

    @property
    def tall(self) -> int:
        """The rows of one slice; all rows of a plain image."""
        return self.rows // self.depth

    @property
    def _down(self) -> int:
        """How many windows lie below each other in one slice."""
        return _along(self.tall, self.size[0], self.stride[0])

    @property
    def shape(self) -> tuple[int, int]:
        """How many windows lie down and across."""
        return (
            self.depth * self._down,
            _along(self.columns, self.size[1], self.stride[1]),
        )

    @property
    def count(self) -> int:
        """How many windows there are."""
        return self.shape[0] * self.shape[1]

    def span(self, number: int) -> tuple[slice, slice]:
        """The rows and columns of one window."""
        row, column = divmod(number, self.shape[1])
        slice_, row = divmod(row, self._down)
        top, left = slice_ * self.tall + row * self.stride[0], column * self.stride[1]
        return (
            slice(top, min(top + self.size[0], (slice_ + 1) * self.tall)),
            slice(left, min(left + self.size[1], self.columns)),
        )

    def levels(self) -> Iterator[tuple[int, list[int]]]:
        """The windows from coarse to fine: every eighth in both directions, every fourth, every second, the rest."""
        down, across = self.shape
        done: set[int] = set()
        for step in (8, 4, 2, 1):
            if step > 1 and (self.count <= 64 or self.count < 16 * step):
                continue
            part = [r * across + c for r in range(0, down, step) for c in range(0, across, step)]
            part = [number for number in part if number not in done]
            done.update(part)
            yield step, part

    def spread(self, numbers: Tensor) -> Tensor:
        """One number a window (…, windows) as one a place (…, rows, columns): the mean of the windows that cover it."""
        total = numbers.new_zeros(*numbers.shape[:-1], self.rows, self.columns)
        times = numbers.new_zeros(self.rows, self.columns)
        for k in range(self.count):
            down, across = self.span(k)
            total[..., down, across] += numbers[..., k, None, None]
            times[down, across] += 1
        return torch.where(times > 0, total / times.clamp_min(1), total.new_zeros(()))

    def nearest(self, numbers: Tensor, step: int) -> Tensor:
        """Numbers known at every ``step``-th window only, with each other window's taken from the nearest before it."""
        down, across = self.shape
        rows, columns = torch.arange(down) // step * step, torch.arange(across) // step * step
        index = (rows[:, None] * across + columns).reshape(-1)
        return numbers[..., index.to(numbers.device)]


class Covers:
    """What covers a window of one example (1, channels, rows, columns), for each draw."""

    def __init__(
        self, fill: str, image: Tensor, *, value: float = 0.0, sigma: float = 1.0, draws: int = 1,
        generator: torch.Generator | None = None, baseline: Tensor | None = None, pixels: bool = True, depth: int = 1,
    ) -> None:
        self._image = image
        self.draws = draws if fill == "random" else 1
        if fill != "constant" and not pixels and image.shape[1] == 1 and image.is_floating_point():
            raise NotApplicable(f"fill={fill!r} mixes the places of an image; a row's columns take fill='constant'")
        if fill == "random":
            pool = _finite_places(image)
            places = image.shape[2] * image.shape[3]
            index = torch.randint(pool.shape[1], (self.draws, places), generator=generator).to(image.device)
            self._covers = pool[:, index].transpose(0, 1).reshape(self.draws, *image.shape[1:])
        elif fill == "mean":
            self._covers = _mean(image).to(image.dtype).expand_as(image)
        elif fill == "blur":
            known = torch.where(image.isfinite(), _wide(image), _mean(image))
            # Each slice by itself, as if it were a channel.
            rows = image.shape[2] // depth
            self._covers = blurred(known.unflatten(2, (depth, rows)).flatten(1, 2), sigma).view_as(image).to(image.dtype)
        elif baseline is not None:
            self._covers = baseline.to(image).expand_as(image)
        else:
            self._covers = torch.full_like(image, value if image.is_floating_point() or image.is_complex() else int(value))

    def whole(self, draw: int) -> Tensor:
        """What covers every place, (channels, rows, columns)."""
        return self._covers[draw]

    def patches(self, grid: Grid, numbers: Sequence[int], draw: int) -> tuple[Tensor, list[int], list[int]]:
        """The changed patches (n, channels, size) with their tops and lefts; at the border they keep what is outside."""
        height, width = grid.size
        made, tops, lefts = [], [], []
        for number in numbers:
            down, across = grid.span(number)
            end = (down.start // grid.tall + 1) * grid.tall
            top, left = min(down.start, end - height), min(across.start, grid.columns - width)
            patch = self._image[0, :, top : top + height, left : left + width].clone()
            inner = (slice(None), slice(down.start - top, None), slice(across.start - left, None))
            patch[inner] = self._covers[draw][:, down, across]
            made.append(patch)
            tops.append(top)
            lefts.append(left)
        return torch.stack(made), tops, lefts


def _wide(image: Tensor) -> Tensor:
    """An image in numbers of which many can be summed; complex ones stay whole."""
    return image if image.is_complex() else image.float()


def _mean(image: Tensor) -> Tensor:
    """The mean of each channel's finite numbers; zero where there are none."""
    fine = image.isfinite()
    total = torch.where(fine, _wide(image), 0).sum((2, 3), keepdim=True)
    return total / fine.sum((2, 3), keepdim=True).clamp_min(1)


def _finite_places(image: Tensor) -> Tensor:
    """The places of one image (channels, places) that hold finite numbers only; all where none does."""
    flat = image[0].flatten(1)
    fine = flat.isfinite().all(0)
    return flat[:, fine] if bool(fine.any()) and not bool(fine.all()) else flat


def blurred(image: Tensor, sigma: float) -> Tensor:
    """An image (n, channels, rows, columns) under a Gaussian blur, its border continued."""
    reach = max(1, math.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sigma) ** 2).to(image)
    weights = weights / weights.sum()
    rows, columns = image.shape[2:]
    flat = image.reshape(-1, 1, rows, columns)
    if columns > 1:
        flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), weights[None, None, None])
    if rows > 1:
        flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), weights[None, None, :, None])
    return flat.reshape(image.shape)


class PatchedAnswers:
    """A function's answers for one example of which one tensor is changed patch by patch.

    *Meaning* images of a network run through the incremental engine; texts, rows, series and plain functions run in
    batches of whole inputs.
    """

    def __init__(self, look: Look, x: Nested, example: int, laid: ImageLayout, answer: Callable[[Nested], Any]) -> None:
        self._laid, self._answer = laid, answer
        self._x = nesting.select(x, [example])
        self.image = laid.image[example : example + 1]
        incremental = laid.pixels and laid.depth == 1 and not laid.whole and not look.function
        self.engine = IncrementalInference(self._run, self.image, cancel=look.cancel) if incremental else None
        if self.engine is not None and not windowed(look, self._x, self.engine, self._run, self.image):
            self.engine = None
        self._cancel = look.cancel
        self._together = together(look, self._x, BATCH)

    @property
    def batch(self) -> int:
        """How many patches fit into one pass; where only windows are computed, that is known after the first."""
        if self.engine is None or not self.engine.largest:
            return self._together
        return max(1, min(SWEPT, LARGEST // self.engine.largest))

    def _run(self, images: Tensor) -> Any:
        parts = [part.expand(len(images), *part.shape[1:]) for part in nesting.tensors(self._x)]
        parts[self._laid.number] = self._laid.back(images)
        fresh = iter(parts)
        return self._answer(nesting.each(self._x, lambda part: next(fresh)))

    def __call__(self, patches: Tensor, tops: Sequence[int], lefts: Sequence[int]) -> Any:
        """The answers with each patch (n, channels, rows, columns) in its place."""
        if self.engine is not None:
            return self.engine(patches, tops, lefts)
        if self._cancel is not None:
            self._cancel()
        images = self.image.repeat(len(patches), 1, 1, 1)
        for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            images[k, :, top : top + patches.shape[2], left : left + patches.shape[3]] = patches[k]
        with torch.no_grad():
            return self._run(images)

    def before(self, value: Tensor) -> Tensor:
        """The value of the example as it is, a number: from the windows' own kernels, so that what no window reaches
        is no change at all; what a pass in full said, where there are no windows.
        """
        if self.engine is None:
            return value
        found: Tensor = self.engine(self.image[:, :, :1, :1], [0], [0])[0]
        return found.detach().reshape(())


def change(after: Tensor, before: Tensor, eps: float) -> Tensor:
    """How far answers (n, changes) moved from those before (n,): nothing where it is no more than an answer's rounding."""
    moved = after - before[:, None]
    size = largest(torch.cat([after, before[:, None]], 1))
    return torch.where(moved.abs() <= rounding(size, eps)[:, None], 0, moved)


def largest(numbers: Tensor) -> Tensor:
    """The largest finite magnitude in each row (n, …)."""
    return torch.where(numbers.isfinite(), numbers, 0).abs().flatten(1).amax(1)


def answers(look: Look, target: Target) -> Callable[[Nested], tuple[Tensor, Tensor]]:
    """What a pass says of each changed input: the target's value and the scores."""

    def answer(changed: Nested) -> tuple[Tensor, Tensor]:
        # Its convolutions are the incremental engine's.
        run = look.run(changed, target, plain=True)
        return run.value, run.scores

    return answer


def draws_of(look: Look) -> torch.Generator:
    """The random numbers of one example: the same for each, so that a batch is explained as its examples are."""
    return torch.Generator().manual_seed(look.seed)
