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
from ...data.kinds import Tokens
from ...data.nesting import Nested, each, tensors
from ...data.padding import pads
from ...model.mode import OpMode, Rule
from ..entrance import Entrance
from ..method import Look
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


def embedding_table(look: Look, x: Nested, tokens: Tensor) -> tuple[Tensor, int | None]:
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
    text; the slope that it has there moves the embeddings. It has as many words as half of the examples at least have (as many as the
    example whose mask or lengths go along with it), and padding, which is no word, where the examples have theirs.
    *Source* Wen et al. 2023, "Hard Prompts Made Easy" (arXiv:2302.03668), algorithm 1.
    """

    rate = 0.05
    smooth = False

    def __init__(self, look: Look, frame: Frame, count: int, start: Tensor | None = None, examples: Tensor | None = None) -> None:
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
        self.fills = _filling(frame, self.padding, frame.own if examples is None else examples)
        """The tokens that fill texts up: none of them is a word."""
        self.stays = self._stays(start, examples)
        """Which places hold padding, (texts, tokens)."""
        self._asked: Tensor | None = None
        self._at = 0
        self._near = self.tokens
        self.note = f"as embeddings, of which the network reads the nearest of its {len(self.table):,} tokens in each step"

    def _stays(self, start: Tensor | None, examples: Tensor | None) -> Tensor:
        own, several = self.frame.own, len(self.frame.tensors) > 1
        if start is not None:
            found = self._filled(start)
        elif several or examples is None or examples.ndim != 2 or not self.fills:
            found = self._filled(own[:1])
        else:
            filled = self._filled(examples)
            order = filled.sum(1).argsort()
            found = filled[order[(len(order) - 1) // 2]][None]
        found = found if found.shape[1:] == own.shape[1:] else torch.zeros_like(self._filled(own[:1]))
        # A text of padding alone would have nothing to be changed.
        found = found & ~found.flatten(1).all(1).reshape(-1, *[1] * (found.ndim - 1))
        return found.expand(len(self.tokens), *own.shape[1:]).to(self.table.device).clone()

    def _filled(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens.long(), torch.tensor(self.fills, dtype=torch.long, device=tokens.device))

    def put(self, other: Canvas) -> None:
        """Also where the other's texts end."""
        super().put(other)
        if isinstance(other, WordsCanvas):
            self.stays[: len(other)] = other.stays

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
        """The nearest word of each place by Euclidean distance, (n, tokens), with padding where it stays."""
        far = torch.cdist(embeddings.flatten(0, -2), self.table)
        if len(self.fills) < len(self.table):
            # Padding is zeros, in the middle of all, where a synthesis begins: a network that passes it over would have nothing to answer to.
            far[:, self.fills] = torch.inf
        near = far.argmin(1).reshape(embeddings.shape[:-1])
        if not self.stays.any():
            return near
        stays = self.stays.repeat(len(near) // len(self.stays), *[1] * (near.ndim - 1))
        return torch.where(stays, self.tokens[:1].new_tensor(self.fills[0]).to(near), near)

    def shown(self) -> Nested:
        """The text of nearest tokens: what the network can really be given."""
        return each(self._whole(self.nearest(self.embeddings(self.z)).to(self.frame.own.dtype)), Tensor.detach)


def _filling(frame: Frame, padding: int | None, examples: Tensor) -> list[int]:
    """The tokens that fill texts up: those at the ends of examples that are called so, and the one that the table's reader names."""
    found = set() if padding is None else {padding}
    if isinstance(frame.kind, Tokens) and examples.ndim == 2 and examples.shape[1]:
        ends = torch.unique(examples[:, [0, -1]]).tolist()
        found |= {int(number) for number in ends if pads(frame.kind.token(int(number)))}
    return sorted(found)
