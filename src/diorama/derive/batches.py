"""A loader as batches of inputs and labels, in whatever form it hands them over; what was seen is named by a hash."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..data import nesting
from ..data.fingerprint import fingerprint
from ..data.nesting import Nested

LABELS = ("label", "labels", "y", "target", "targets", "class", "classes")
INPUTS = ("x", "image", "images", "input", "inputs", "pixel_values", "input_ids", "data", "features", "text")


class Batches:
    """Batches ``(x, y)``, ``(x,)``, ``x``, ``(x, y, …)`` or dicts, read once, each as ``(x, y or None)``.

    ``like`` is an input of the model, where it is known: a model of several inputs takes a tuple of them, or a dict.
    """

    def __init__(self, data: Iterable[Any], like: Nested | None = None) -> None:
        self._data, self.like = data, like
        self._digest, self._seen = hashlib.blake2b(digest_size=16), 0
        self._rest: Iterator[Any] = iter(data)
        try:
            self._first = next(self._rest)
        except StopIteration:
            raise UsageError("the loader hands over no batch, so there is nothing to scan") from None

    @property
    def first(self) -> tuple[Nested, Tensor | None]:
        """The first batch, without having been taken from the others."""
        return self._sorted_out(self._first)

    @property
    def total(self) -> int | None:
        """How many examples there are, where the loader says so."""
        data, one = self._data, nesting.size(self.first[0])
        if not isinstance(data, Sized):
            return None
        if isinstance(data, list):
            return sum(nesting.size(self._sorted_out(batch)[0]) for batch in data)
        sampler = getattr(data, "sampler", None)
        if isinstance(sampler, Sized) and not getattr(data, "drop_last", False):
            return len(sampler)
        return len(data) * one

    @property
    def fingerprint(self) -> str:
        """A short name of all batches that were seen so far."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[Nested, Tensor | None]]:
        for batch in itertools.chain([self._first], self._rest):
            x, y = self._sorted_out(batch)
            flat = {str(k): part for k, part in enumerate(nesting.tensors(x))}
            self._digest.update(fingerprint({**flat, **({"y": y} if y is not None else {})}).encode())
            yield x, y

    def _sorted_out(self, batch: Any) -> tuple[Nested, Tensor | None]:
        x, y = self._parts(batch)
        return nesting.named_like(x, self.like), y

    def _parts(self, batch: Any) -> tuple[Nested, Tensor | None]:
        if isinstance(batch, Mapping):
            return self._of_dict(dict(batch))
        if not isinstance(batch, tuple | list):
            return nesting.as_tensors(batch), None
        if not batch:
            raise UsageError("the loader hands over an empty batch; it wants (x, y), (x,) or x")
        if isinstance(batch[0], list) and any(isinstance(part, Tensor | list | Mapping) for part in batch[0]):
            # Torch's own collation makes lists of tuples: several inputs, or a list that the model takes as one.
            whole = isinstance(self.like, tuple) and len(self.like) == 1 and isinstance(self.like[0], list)
            batch = ((batch[0],) if whole else tuple(batch[0]), *batch[1:])
        count = len(self.like) if isinstance(self.like, tuple) else 1
        if count > 1 and len(batch) >= count and not isinstance(batch[0], tuple | list | dict):
            return nesting.as_tensors(tuple(batch[:count])), _labels(batch[count:])
        return nesting.as_tensors(batch[0]), _labels(batch[1:])

    def _of_dict(self, batch: dict[str, Any]) -> tuple[Nested, Tensor | None]:
        wanted = tuple(self.like) if isinstance(self.like, dict) else ()
        label = next((name for name in LABELS if name in batch and name not in wanted), None)
        y = _labels([batch[label]] if label is not None else [])
        rest = {name: value for name, value in batch.items() if name != label}
        if wanted:
            missing = [name for name in wanted if name not in rest]
            if missing:
                raise UsageError(f"the loader's dicts want {', '.join(map(repr, wanted))}, and have {', '.join(map(repr, rest))}")
            return nesting.as_tensors({name: rest[name] for name in wanted}), y
        named = [name for name in INPUTS if name in rest]
        if len(rest) == 1 or named:
            return nesting.as_tensors(rest[named[0] if named else next(iter(rest))]), y
        raise UsageError(
            f"it is not clear which of {', '.join(map(repr, batch))} is the model's input; hand over (x, y), or name it 'x'"
        )


def _labels(rest: Any) -> Tensor | None:
    """The labels, the first of what follows the inputs."""
    return None if not len(rest) or rest[0] is None else torch.as_tensor(rest[0])
