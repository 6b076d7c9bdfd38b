"""Where an input enters a model: as floating-point numbers, or as tokens through an embedding."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.rounding import summed
from ..data import nesting
from ..data.nesting import Nested
from ..model.batch_size import FilledBatch, filled, joined
from ..model.mode import OpMode, Rule


class _EmbeddingsFound(BaseException):
    """All embeddings are found; not an Exception, so that the model's own error handling lets it through."""


class Entrance:
    """The points at which an input can be differentiated, and a pass that takes other points in their place.

    *Meaning* a floating-point part is a point itself. A part of whole numbers is a point where an embedding op reads
    it: the embeddings are the point; the first such op counts, also inside an embedding bag. Parts of whole numbers
    that no embedding reads (masks, lengths) have none. Which are ``embedded`` is told by their places; where it is not
    known, points belong to the first parts of their shape.
    """

    def __init__(self, x: Nested, points: Sequence[Tensor] | None = None, embedded: Collection[int] = ()) -> None:
        self._told = embedded
        self._parts = list(nesting.tensors(x))
        self._whole = [k for k, part in enumerate(self._parts) if not part.is_floating_point()]
        self._given: dict[int, Tensor] = {}
        self._found: dict[int, Tensor] = {}
        self._seen: dict[int, list[tuple[FilledBatch | None, Tensor]]] = {}
        """The embeddings of each part of whole numbers, of each pass that the input takes."""
        self._structure = x
        self.left = 1.0
        """Of numbers along embeddings the share of their size that is left in the sums by token; 1 where none were summed."""
        self.waits = bool(self._whole)
        self.following: tuple[Rule, ...] = ()
        """The rules of the pass, which also answer what a bag makes of its rows."""
        if points is not None:
            self._place(points)
        fresh = iter([self._given[k] if k in self._given and k not in self._whole else part
                      for k, part in enumerate(self._parts)])
        # Copies, so that a model that writes into its input changes neither the user's tensors nor the leaves.
        self.x: Nested = nesting.each(x, lambda part: next(fresh).clone())

    def _place(self, points: Sequence[Tensor]) -> None:
        """Give each part its point: floating-point parts always have one, tokens have one with an axis more."""
        waiting = list(points)
        for k, part in enumerate(self._parts):
            embedded = bool(waiting) and waiting[0].shape[:-1] == part.shape and (not self._told or k in self._told)
            if k not in self._whole or embedded:
                self._given[k] = waiting.pop(0)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What puts given embeddings in their place; nothing for an input without tokens."""
        return (self.find,) if any(k in self._given for k in self._whole) else ()

    def find(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The rule that sees embeddings: it notes them, and answers with those that were given."""
        read = _reading(name, func, args, kwargs)
        if read is None:
            return NotImplemented
        indices, rows, finish = read
        now = filled()
        for k in self._whole:
            seen = self._seen.setdefault(k, [])
            if seen and seen[-1][0] is now:
                continue
            turned = _turned(self._parts[k] if now is None else now.select(self._parts[k]), indices)
            if turned is None:
                continue
            given = self._given.get(k)
            given = given if given is None or now is None else now.select(given)
            fresh = rows() if given is None else given.transpose(0, 1).clone() if turned else given.clone()
            seen.append((now, fresh.transpose(0, 1) if turned else fresh))
            last = now is None or int(now.rows[-1]) == now.count - 1
            if not self._given and last and all(own and own[-1][0] is now for own in self._seen.values()) and len(self._seen) == len(self._whole):
                raise _EmbeddingsFound
            mode = OpMode()
            for rule in self.following:
                mode.replace(rule)
            with mode:
                return finish(fresh)
        return NotImplemented

    def search(self, look: Callable[[Nested], Any]) -> None:
        """Run the model until every part of whole numbers has met its embedding."""
        with contextlib.suppress(_EmbeddingsFound):
            look(self._structure)
        for k, seen in self._seen.items():
            parts = [(part, rows) for part, rows in seen if part is not None]
            if seen:
                self._found[k] = joined(parts) if parts else seen[0][1]

    @property
    def embedded(self) -> Collection[int]:
        """Which parts of the input met an embedding, by their places."""
        return self._found.keys()

    def points(self) -> tuple[Tensor, ...]:
        """New leaves at the input's points.

        *Raises* NotApplicable when there are none.
        """
        found = [part if k not in self._whole else self._found.get(k) for k, part in enumerate(self._parts)]
        leaves = tuple(part.detach().clone().requires_grad_() for part in found if part is not None)
        if not leaves:
            kind = "complex numbers" if any(part.is_complex() for part in self._parts) else "whole numbers that no embedding reads"
            raise NotApplicable(f"the input is {kind}, so it has no gradients; use occlusion or lime")
        return leaves

    def shaped(self, numbers: Sequence[Tensor]) -> Nested:
        """Numbers at the points in the input's structure, summed over the embedding for tokens: 0 where they cancel out."""
        self._place(numbers)
        made, size, left = [], 0.0, 0.0
        for k, part in enumerate(self._parts):
            if k not in self._given:
                made.append(torch.zeros(part.shape, device=part.device))
            else:
                own = self._given[k]
                made.append(summed(own, -1, torch.finfo(own.dtype).eps) if k in self._whole else own)
                if k in self._whole:
                    size, left = size + float(own.detach().abs().sum()), left + float(made[-1].detach().abs().sum())
        self.left = left / size if size else 1.0
        fresh = iter(made)
        return nesting.each(self._structure, lambda part: next(fresh))


def _turned(part: Tensor, indices: Tensor) -> bool | None:
    """Whether an op's indices are this part with its first two axes exchanged; None when they are another tensor."""
    if indices.shape == part.shape and torch.equal(indices.long(), part.long()):
        return False
    if part.ndim == 2 and indices.shape == part.T.shape and torch.equal(indices.long(), part.T.long()):
        return True
    return None


def _reading(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Callable[[], Tensor], Callable[[Tensor], Tensor]] | None:
    """For an op that looks rows up in a table: the indices, what reads the rows, and what follows; None for others."""
    if name == "embedding":
        given = inspect.signature(F.embedding).bind(*args, **kwargs).arguments if func is F.embedding else {}
        indices: Tensor = given["input"] if given else kwargs.get("indices", args[-1])
        return indices, lambda: func(*args, **kwargs), lambda rows: rows
    if name == "embedding_bag" and func is F.embedding_bag:
        given = inspect.signature(F.embedding_bag).bind(*args, **kwargs).arguments
        if given["input"].ndim != 2 or given.get("per_sample_weights") is not None:
            return None
        norm = {name: given[name] for name in ("max_norm", "norm_type") if name in given}
        skipped = given.get("padding_idx")
        if skipped is None:
            return given["input"], lambda: F.embedding(given["input"], given["weight"], **norm), _BAGS[given.get("mode", "mean")]
        kept = given["input"] != skipped % len(given["weight"])
        bag = functools.partial(_padded_bag, given.get("mode", "mean"), kept[..., None])
        return given["input"], lambda: F.embedding(given["input"], given["weight"], **norm), bag
    if name == "getitem" and len(args) == 2 and isinstance(args[0], nn.Parameter) and isinstance(args[1], Tensor):
        if args[1].is_floating_point() or args[1].dtype == torch.bool:
            return None
        return args[1], lambda: func(*args, **kwargs), lambda rows: rows
    return None


def _padded_bag(mode: str, kept: Tensor, rows: Tensor) -> Tensor:
    """What a bag makes of its rows (n, t, units) without those that are padding; of none at all, zeros."""
    if mode == "max":
        highest = rows.masked_fill(~kept, -torch.inf).amax(1)
        return highest.masked_fill(~kept.any(1), 0.0)
    total = rows.masked_fill(~kept, 0.0).sum(1)
    return total if mode == "sum" else total / kept.sum(1).clamp_min(1)


_BAGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda rows: rows.mean(1),
    "sum": lambda rows: rows.sum(1),
    "max": lambda rows: rows.amax(1),
}
