"""Windows: the part of a map that a change of the input can reach, over the map as it was without the change."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

Pads = tuple[int, int, int, int]
"""Rows above and below, columns left and right."""


class UnchangedMap:
    """A map of the unchanged input, and its padded copies with the channels last, from which windows are filled up."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._padded: dict[tuple[Pads, float], Tensor] = {}

    @property
    def height(self) -> int:
        """Rows of the map."""
        return int(self.tensor.shape[2])

    @property
    def width(self) -> int:
        """Columns of the map."""
        return int(self.tensor.shape[3])

    def padded(self, pads: Pads = (0, 0, 0, 0), fill: float = 0.0) -> Tensor:
        """The map with a border, as (rows, columns, channels)."""
        if (pads, fill) not in self._padded:
            above, below, left, right = pads
            whole = F.pad(self.tensor, (left, right, above, below), value=fill) if any(pads) else self.tensor
            self._padded[pads, fill] = whole[0].permute(1, 2, 0).contiguous()
        return self._padded[pads, fill]


@dataclasses.dataclass
class Window:
    """What a batch of changes made of one map: the values inside a window each; outside it, the base holds.

    *Shapes* values (n, channels, rows, columns), all of one size; tops and lefts one number each.
    """

    base: UnchangedMap
    values: Tensor
    tops: list[int]
    lefts: list[int]

    @property
    def height(self) -> int:
        """Rows of the window."""
        return int(self.values.shape[2])

    @property
    def width(self) -> int:
        """Columns of the window."""
        return int(self.values.shape[3])

    @property
    def full(self) -> bool:
        """The window is the whole map."""
        return (self.height, self.width) == (self.base.height, self.base.width)

    def like(self, base: UnchangedMap, values: Tensor) -> Window:
        """Other values of another map at the same places."""
        return Window(base, values, self.tops, self.lefts)

    def block(
        self,
        tops: Sequence[int],
        lefts: Sequence[int],
        height: int,
        width: int,
        pads: Pads = (0, 0, 0, 0),
        fill: float = 0.0,
    ) -> Tensor:
        """Blocks of the changed map, which may reach into a border of ``pads`` filled with one number."""
        table = self.base.padded(pads, fill)
        columns, channels = int(table.shape[1]), int(table.shape[2])
        device = table.device
        rows = torch.tensor([top + pads[0] for top in tops], device=device)[:, None] + torch.arange(
            height, device=device
        )
        across = torch.tensor([left + pads[2] for left in lefts], device=device)[:, None]
        across = across + torch.arange(width, device=device)
        index = (rows[:, :, None] * columns + across[:, None, :]).reshape(-1)
        out = table.reshape(-1, channels).index_select(0, index).view(len(tops), height, width, channels)
        self._paste(out, tops, lefts)
        return out.permute(0, 3, 1, 2)

    def dense(self) -> Tensor:
        """The whole changed maps, laid out in memory as the base is."""
        tensor = self.base.tensor
        last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        form = torch.channels_last if last else torch.contiguous_format
        if self.full:
            return self.values.contiguous(memory_format=form)
        out = tensor.expand(len(self.tops), -1, -1, -1).clone(memory_format=form)
        self._paste(out.permute(0, 2, 3, 1), [0] * len(self.tops), [0] * len(self.tops))
        return out

    def _paste(self, out: Tensor, tops: Sequence[int], lefts: Sequence[int]) -> None:
        """Write the values into blocks (n, rows, columns, channels) that stand at the given places."""
        values = self.values.permute(0, 2, 3, 1)
        downs = [mine - top for mine, top in zip(self.tops, tops, strict=True)]
        overs = [mine - left for mine, left in zip(self.lefts, lefts, strict=True)]
        begun = 0
        for (down, over), alike in itertools.groupby(zip(downs, overs, strict=True)):
            end = begun + len(list(alike))
            _copy(out[begun:end], values[begun:end], down, over)
            begun = end


def _copy(out: Tensor, values: Tensor, down: int, over: int) -> None:
    rows = range(max(down, 0), min(down + values.shape[1], out.shape[1]))
    columns = range(max(over, 0), min(over + values.shape[2], out.shape[2]))
    if rows and columns:
        part = values[:, rows.start - down : rows.stop - down, columns.start - over : columns.stop - over]
        out[:, rows.start : rows.stop, columns.start : columns.stop] = part


@dataclasses.dataclass(frozen=True)
class Slide:
    """How an op slides along one axis: the size of its kernel, its stride, dilation and padding before the axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    @property
    def reach(self) -> int:
        """How many inputs lie between the first and the last that one output reads, both counted."""
        return (self.kernel - 1) * self.dilation + 1

    def touched(self, starts: Sequence[int], size: int, outputs: int) -> tuple[list[int], int]:
        """Where the outputs begin that changed inputs can reach, and how many they are (the same for all)."""
        return _touched(self, tuple(starts), size, outputs)

    def behind(self, inputs: int, outputs: int) -> int:
        """How many places of border the last output needs behind the axis."""
        return max(0, (outputs - 1) * self.stride + self.reach - self.before - inputs)


@functools.lru_cache(maxsize=4096)
def _touched(slide: Slide, starts: tuple[int, ...], size: int, outputs: int) -> tuple[list[int], int]:
    firsts = [max(0, -((slide.reach - 1 - slide.before - start) // slide.stride)) for start in starts]
    lasts = [min(outputs - 1, (start + size - 1 + slide.before) // slide.stride) for start in starts]
    count = max(1, max(last - first + 1 for first, last in zip(firsts, lasts, strict=True)))
    return [max(0, min(first, outputs - count)) for first in firsts], count


def union(windows: Sequence[Window]) -> tuple[list[int], list[int], int, int]:
    """The places and the one size of windows that hold those of several maps of one size."""
    tops, height = _hull([(w.tops, w.height) for w in windows], windows[0].base.height)
    lefts, width = _hull([(w.lefts, w.width) for w in windows], windows[0].base.width)
    return tops, lefts, height, width


def _hull(spans: Sequence[tuple[list[int], int]], limit: int) -> tuple[list[int], int]:
    firsts = [min(starts) for starts in zip(*(starts for starts, _ in spans), strict=True)]
    lasts = [max(ends) for ends in zip(*([s + size for s in starts] for starts, size in spans), strict=True)]
    size = min(limit, max(last - first for first, last in zip(firsts, lasts, strict=True)))
    return [max(0, min(first, limit - size)) for first in firsts], size
