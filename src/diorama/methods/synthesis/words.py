"""Texts: embeddings are optimised in the place of tokens, and the nearest tokens are shown."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...data.nesting import Nested, each, tensors
from ...model.mode import OpMode, Rule
from ..entrance import Entrance
from ..method import Looking
from .canvases import Canvas, Frame


class _EmbeddingFound(BaseException):
    """The embedding is found; not an Exception, so that the model's own error handling lets it through."""


class _Finder:
    """Waits for the op that reads the tokens' embeddings from a table."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens
        self.table: Tensor | None = None
        self.padding: int | None = None

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = _read(name, func, args, kwargs)
        if read is None:
            return NotImplemented
        table, indices, padding = read
        turned = indices.T if indices.ndim == 2 and indices.shape != self.tokens.shape else indices
        if turned.shape != self.tokens.shape or not torch.equal(turned.long(), self.tokens.long()):
            return NotImplemented
        self.table = table.detach()
        self.padding = None if padding is None else padding % len(table)
        raise _EmbeddingFound


def _read(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor, int | None] | None:
    """The table and the indices of an op that looks rows up, and which row fills texts up, where it says so."""
    if name == "embedding" and func is F.embedding or name == "embedding_bag" and func is F.embedding_bag:
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        return given["weight"], given["input"], given.get("padding_idx")
    if name == "embedding" and len(args) == 2:
        return args[0], args[1], None
    if name == "getitem" and len(args) == 2 and isinstance(args[0], Tensor) and isinstance(args[1], Tensor):
        whole = not args[1].is_floating_point() and args[1].dtype != torch.bool
        return (args[0], args[1], None) if whole and args[0].ndim == 2 and args[0].is_floating_point() else None
    return None


def embedding_table(look: Looking, x: Nested, tokens: Tensor) -> tuple[Tensor, int | None]:
    """The table (tokens, numbers) from which a model reads its tokens, and which of them fills texts up, where the table's reader says so.

    *Raises* NotApplicable where it reads them from none.
    """
    found = _Finder(tokens)
    with look.opened() as capture, OpMode().replace(found), contextlib.suppress(_EmbeddingFound):
        capture(x)
    if found.table is None:
        kind = "complex numbers" if tokens.is_complex() else "whole numbers that no embedding reads"
        raise NotApplicable(f"the input is {kind}, so nothing can be optimised; look at its examples")
    return found.table, found.padding


class WordsCanvas(Canvas):
    """The embeddings of a text's tokens, each number within the range that it has in the table.

    *Meaning* the network is given the nearest tokens, never what lies between them, so that its answer is one to a real
    text; the slope that it has there moves the embeddings.
    *Source* Wen et al. 2023, "Hard Prompts Made Easy" (arXiv:2302.03668), algorithm 1.
    """

    rate = 0.05
    smooth = False

    def __init__(self, look: Looking, frame: Frame, count: int, start: Tensor | None = None) -> None:
        self.frame = frame
        table, self.padding = embedding_table(look, frame.x, frame.own)
        self.table = table.float()
        self.low, self.high = self.table.amin(0), self.table.amax(0)
        width = self.high - self.low
        self.width = torch.where(width > 0, width, torch.ones_like(width))
        tokens = frame.own[:1].expand(count, *frame.own.shape[1:])
        self.tokens = tokens.contiguous()
        middle = (self.table.mean(0) - self.low) / self.width
        self.z = middle.expand(*tokens.shape, len(middle)).clone()
        if start is not None:
            self.z = ((self.table[start.to(self.table.device).long()] - self.low) / self.width).reshape(self.z.shape).clone()
        self.middle = middle
        self._asked: Tensor | None = None
        self._at = 0
        self._near = self.tokens
        self.note = f"as embeddings, of which the network reads the nearest of its {len(self.table):,} tokens in each step"

    def _whole(self, tokens: Tensor) -> Nested:
        return self.frame.around(tokens)

    def fed(self, planes: Tensor) -> Nested:
        """The nearest tokens, by which a network may also tell padding from words; the rules put rows with a slope in the place of theirs."""
        if self._asked is not planes or self._at != planes._version:
            self._asked, self._at, self._near = planes, planes._version, self.nearest(self.embeddings(planes).detach())
        return self._whole(self._near.to(self.frame.own.dtype))

    def rules(self, planes: Tensor) -> tuple[Rule, ...]:
        """What answers the embedding op with the nearest tokens' rows, whose slope is that of the embeddings."""
        free, fed = self.embeddings(planes), self.fed(planes)
        # The difference is zero, and has a slope.
        rows = (self.table[self._near] + (free - free.detach())).to(self.frame.dtype)
        # An entrance asks for a point of each part that has one, in their order: the text's rows, and numbers before and behind it.
        points = [
            rows if k == self.frame.part else part for k, part in enumerate(tensors(fed)) if k == self.frame.part or part.is_floating_point()
        ]
        return Entrance(fed, points, (self.frame.part,)).rules

    def embeddings(self, planes: Tensor) -> Tensor:
        """Embeddings (n, tokens, numbers) in the table's own numbers."""
        return planes * self.width + self.low

    def hold(self) -> None:
        """Cut at the ends of each number's range."""
        self.z.clamp_(0, 1)

    def nearest(self, embeddings: Tensor) -> Tensor:
        """The nearest token of each place by Euclidean distance, (n, tokens); of a text that would be all padding, the nearest words."""
        far = torch.cdist(embeddings.flatten(0, -2), self.table)
        near = far.argmin(1).reshape(embeddings.shape[:-1])
        if self.padding is None or len(self.table) < 2 or near.ndim < 2:
            return near
        # Padding is zeros, in the middle of all, where a synthesis begins: a network that passes it over would have nothing to answer to.
        empty = (near == self.padding).flatten(1).all(1)
        if bool(empty.any()):
            far[:, self.padding] = torch.inf
            near = torch.where(empty.reshape(-1, *[1] * (near.ndim - 1)), far.argmin(1).reshape(near.shape), near)
        return near

    def shown(self) -> Nested:
        """The text of nearest tokens: what the network can really be given."""
        return each(self._whole(self.nearest(self.embeddings(self.z)).to(self.frame.own.dtype)), Tensor.detach)
