"""Attention weights on the way from the input to the target, and tokens laid back onto the input."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.kinds import Kinds
from ...data.nesting import Nested
from ...data.text_places import at_ends, worded
from ...model.points import points
from ..method import Look, Pass

WAY_OUT = "use lrp, integrated_gradients or occlusion"


def patterns(look: Look, x: Nested) -> list[list[str]]:
    """The patterns of every self-attention, by layer: a list of what :class:`Capture` keeps for each, heads that run one
    after the other together.

    *Cost* nothing for a model whose points are known, else two passes of two or three examples.
    """
    known = points(look.model, x)
    found: dict[int, list[str]] = {}
    for site in known.attention:
        point = known[f"pattern:{site.label}"]
        if not point.whole and len(point.shape) >= 3 and point.shape[-1] == point.shape[-2] > 1:
            found.setdefault(site.group, []).append(point.name)
    return list(found.values())


def joined(there: Mapping[str, Tensor] | Pass, names: list[list[str]]) -> list[Tensor]:
    """The weights of each layer, its heads on the second axis."""
    return [torch.cat([there[name] for name in layer], 1) if len(layer) > 1 else there[layer[0]] for layer in names]


def by_head(weights: Tensor, examples: int) -> Tensor:
    """Weights as (n, heads, t, t), however the heads stood in them."""
    return weights.reshape(examples, -1, *weights.shape[-2:])


def stacked(weights: list[Tensor], examples: int) -> list[Tensor]:
    """The weights of all layers, which must speak of the same tokens.

    *Raises* NotApplicable where there are none, or where layers have different numbers of tokens.
    """
    if not weights:
        raise NotApplicable(
            f"the model attends to nothing that can be seen, so there is no attention to show; {WAY_OUT}"
        )
    counts = {part.shape[-1] for part in weights}
    if len(counts) > 1 or any(part.numel() % (examples * part.shape[-1] ** 2) for part in weights):
        said = ", ".join(str(count) for count in sorted(counts))
        raise NotApplicable(
            f"the layers attend to different numbers of tokens ({said}), which cannot be chained; {WAY_OUT}"
        )
    return [by_head(part, examples) for part in weights]


def without(look: Look, x: Nested) -> str | None:
    """None for a model with attention; else why its attention cannot be shown."""
    known = points(look.model, x)
    try:
        stacked([torch.empty((1, *known[layer[0]].shape), device="meta") for layer in patterns(look, x)], 1)
    except NotApplicable as reason:
        unknown = known.attention.unknown
        return f"{reason} (not recognised: {', '.join(unknown)})" if unknown else str(reason)
    return None


def read_out(chain: Tensor, extra: int, kind: Kinds | None, x: Nested) -> tuple[Tensor, str]:
    """How much each token gave to what the model answers from: (n, t), and a sentence that says which tokens those are.

    *Meaning* the first token where there is one more than the input has, the last where attention only looks back, and
    else the mean of all.
    """
    if extra:
        return chain[:, 0, extra:], "Read at the first token, which stands for the whole input."
    if not bool(chain.triu(1).any()):
        return at_ends(kind, x, chain), "Read at the last token, as attention only looks back."
    words = worded(kind, x) if kind is not None else None
    if words is None or words.shape != chain.shape[:2] or bool(words.all()):
        return chain.mean(1), "Read as the mean over all tokens."
    own = words.to(chain)  # what fills a text up hears of it too, and nobody asks there
    return (chain * own[:, :, None]).sum(1) / own.sum(1, keepdim=True), "Read as the mean over all tokens but padding."


def extra_tokens(x: Nested, tokens: int) -> int:
    """How many tokens stand before those of the input (a class token, say)."""
    shape = nesting.first(x).shape
    texts = nesting.steps(x) if len(shape) == 4 else frozenset()
    if tokens in texts:
        return -1  # of a text beside the picture, whose words lie nowhere on it
    for extra in range(min(tokens, 2 if texts else 9)):
        count = tokens - extra
        if len(shape) == 4 and _grid(count, shape):
            return extra
        if len(shape) in (2, 3) and count == shape[1]:
            return extra
    return -1


def _grid(count: int, shape: torch.Size) -> tuple[int, int] | None:
    """Rows and columns of patches that lie on an image of this shape as often in each direction."""
    height, width = _extent(shape)
    rows = round((count * height / width) ** 0.5)
    if rows and count % rows == 0 and count > 1 and (count // rows) * height == rows * width:
        return rows, count // rows
    return None


def _extent(shape: torch.Size) -> tuple[int, int]:
    last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
    return (shape[1], shape[2]) if last else (shape[2], shape[3])


def laid_out(x: Nested, given: Tensor) -> Nested:
    """A number a token (n, t) as an input's shape: patches of an image, steps of a series, tokens as they are."""
    parts = list(nesting.tensors(x))
    shape = parts[0].shape
    if len(shape) == 2:
        first = given
    elif len(shape) == 3:
        first = given[:, :, None].expand(shape)
    else:
        grid = _grid(given.shape[1], shape)
        assert grid is not None
        extent = _extent(shape)
        image = F.interpolate(given.reshape(-1, 1, *grid), extent, mode="nearest")
        first = (
            image.movedim(1, 3).expand(shape)
            if extent == tuple(shape[1:3]) and shape[3] != extent[1]
            else image.expand(shape)
        )
    fresh = iter([first, *(torch.zeros(part.shape) for part in parts[1:])])
    return nesting.each(x, lambda part: next(fresh).contiguous())


def placed(x: Nested, chain: Tensor, kind: Kinds | None) -> tuple[Nested, str]:
    """A chain of attention (n, t, t) as a map of the input, with the sentence that says where it was read.

    *Raises* NotApplicable where tokens cannot be told to parts of the input.
    """
    extra = extra_tokens(x, chain.shape[-1])
    if extra < 0:
        shape = tuple(nesting.first(x).shape[1:])
        raise NotApplicable(
            f"the model attends to {chain.shape[-1]} tokens, which do not lie on an input of shape {shape}; {WAY_OUT}"
        )
    given, said = read_out(chain, extra, kind, x)
    return laid_out(x, given), said
