"""Which places of what a layer answers are an example's own: the steps of a packed sequence, the words of a text that padding fills up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..data.kinds import Kinds
from ..data.nesting import Nested
from ..data.text_places import worded_each
from .packed_sequences import steps


def own_places(values: Tensor, words: Tensor | None = None) -> Tensor | None:
    """Which places of a layer's answer (n, units, places) each example has itself, (n, places); None where all are, or nothing tells.

    *Meaning* what a network makes of that which only fills a text up is no answer to the text, so nobody counts it, and what is told of
    units is the same with padding as without. ``words`` says which places of the batch's texts are no padding; a packed sequence tells its own ends.
    """
    if values.ndim != 3:
        return None
    if (ends := steps()) is not None and values.shape[2] >= int(ends.max()):
        own = torch.arange(values.shape[2]) < ends[:, None].cpu()
    elif words is not None and words.shape == (values.shape[0], values.shape[2]):
        own = words
    else:
        return None
    return None if bool(own.all()) else own.to(values.device)


class Owners:
    """Of the batches that go through a model one after the other which places are an example's own."""

    def __init__(self, kind: Kinds | None) -> None:
        self._kind = kind
        self._words: list[Tensor] = []

    def read(self, x: Nested) -> Nested:
        """The batch whose answers come next, as it is."""
        self._words = [] if self._kind is None else worded_each(self._kind, x)
        return x

    def own(self, values: Tensor) -> Tensor | None:
        """What :func:`own_places` tells of a layer's answer to that batch; of several texts by the one that has as many places."""
        fits = [words for words in self._words if words.shape == (values.shape[0], *values.shape[2:])]
        return own_places(values, fits[0] if len(fits) == 1 else None)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each unit (n, units, …) over all places that an example has, (n, units)."""
        own = self.own(values)
        if own is None:
            return values.flatten(2).mean(2) if values.ndim > 2 else values
        return values.masked_fill(~own[:, None], 0).sum(2) / own.sum(1, keepdim=True).clamp_min(1)

    def each(self, units: Tensor, start: int, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """What is chosen of each example's own places (m, units, places), one below the other: (rows, units).

        ``choose`` takes some examples with as many places each, and the number of the first, which is ``start`` for the first of the batch.
        """
        own, flat = self.own(units), units.flatten(2) if units.ndim > 2 else units[:, :, None]
        parts = [choose(part, start + some.start) for some, _, part in alike_long(flat, own)]
        return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts])


def alike_long(units: Tensor, own: Tensor | None) -> Iterator[tuple[slice, int, Tensor]]:
    """Answers (n, units, places) without what is not the examples' own: which examples, their first place, and what they have of it.

    Examples that follow one another and lie alike come together.
    """
    if own is None:
        yield slice(0, len(units)), 0, units
        return
    first = own.long().argmax(1).tolist()
    last = (own.shape[1] - own.flip(1).long().argmax(1)).tolist()
    start = 0
    for stop in range(1, len(units) + 1):
        if stop == len(units) or (first[stop], last[stop]) != (first[start], last[start]):
            yield slice(start, stop), first[start], units[start:stop, :, first[start] : last[start]]
            start = stop
