"""Attention opened: the same result, with the weights of every head."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import UsageError

KERNELS = ("multi_head_attention_forward", "scaled_dot_product_attention")
Seen = Callable[[Tensor], None]
Touch = Callable[[str, Tensor], Tensor]
Scales = dict[int, float]
"""By head: what its output is multiplied with."""

ROWS = 128
"""So many tokens of a long text that only looks back ask at once."""

_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def bound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of torch's multi-head attention by name."""
    call = _SIGNATURE.bind(*args, **kwargs)
    call.apply_defaults()
    return call.arguments


def opened(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], seen: Seen | None, scales: Scales, touch: Touch | None = None
) -> Any:
    """Run one of the two attention ops in the open; ``seen`` gets the weights (n, heads, q, k).

    ``touch(part, tensor)`` sees queries, keys, values and the pattern, and says what goes on.
    """
    if name == "scaled_dot_product_attention":
        return dot_product(*args, **kwargs, seen=seen, scales=scales, touch=touch)
    return _multi_head(bound(args, kwargs), seen, scales, touch)


def dot_product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    seen: Seen | None = None,
    scales: Scales | None = None,
    safe: bool = True,
    touch: Touch | None = None,
) -> Tensor:
    """Attention of queries (…, heads, q, d) over keys and values (…, heads, k, d), as its formula says.

    *Meaning* a row of the weights sums to 1; with ``safe``, a row in which all is masked is 0 (else not a number).
    """
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    if touch is not None:
        query, key, value = touch("query", query), touch("key", key), touch("value", value)
    query = query * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    sides = query.size(-2), key.size(-2)
    sloped = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    if is_causal and attn_mask is None and sides[0] == sides[1] > ROWS and not sloped:
        weights = _looking_back(query, key)
    else:
        weights = _shares(query @ key.transpose(-2, -1), attn_mask, is_causal, safe)
    if touch is not None:
        weights = touch("pattern", weights)
    if seen is not None:
        seen(by_head(weights))
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return _scaled(weights @ value, scales)


def _shares(scores: Tensor, attn_mask: Tensor | None, is_causal: bool, safe: bool) -> Tensor:
    """The weights from the scores, which are gone when they are there: of a long text both are the largest tensors of a pass."""
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(1)
        scores = scores.masked_fill_(later, -math.inf)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    weights = scores.softmax(-1)
    if safe and attn_mask is not None:
        weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)
    return weights


def _looking_back(query: Tensor, key: Tensor) -> Tensor:
    """The weights of a long text that only looks back, some rows at a time: what lies ahead of them is never computed."""
    count = query.size(-2)
    leading = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    weights = query.new_zeros((*leading, count, count))
    for start in range(0, count, ROWS):
        stop = min(start + ROWS, count)
        scores = query[..., start:stop, :] @ key[..., :stop, :].transpose(-2, -1)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(start + 1)
        weights[..., start:stop, :stop] = scores.masked_fill_(later, -math.inf).softmax(-1)
    return weights


def by_head(weights: Tensor) -> Tensor:
    """(n, heads, q, k), also from attention with one head or with more leading axes."""
    if weights.ndim == 3:
        return weights[:, None]
    return weights if weights.ndim == 4 else weights.reshape(-1, *weights.shape[-3:])


def _scaled(out: Tensor, scales: Scales | None) -> Tensor:
    if not scales:
        return out
    factor = out.new_ones(out.size(-3) if out.ndim > 3 else 1)
    for head, value in scales.items():
        if head >= len(factor):
            raise UsageError(f"the attention has heads 0 to {len(factor) - 1}, got {head}")
        factor[head] = value
    return out * (factor[:, None, None] if out.ndim > 3 else factor)


def _multi_head(call: dict[str, Any], seen: Seen | None, scales: Scales, touch: Touch | None) -> tuple[Tensor, Tensor | None]:
    """``torch.nn.functional.multi_head_attention_forward`` in the open; inputs are (t, n, d) or (t, d)."""
    query, key, value = call["query"], call["key"], call["value"]
    single = query.ndim == 2
    if single:
        query, key, value = query[:, None], key[:, None], value[:, None]
    heads, steps, examples, width = call["num_heads"], query.size(0), query.size(1), query.size(2)
    q, k, v = _projected(call, query, key, value)
    mask = _mask(call, single, examples, heads, q)
    if call["bias_k"] is not None:
        k = torch.cat([k, call["bias_k"].expand(1, examples, -1)])
        v = torch.cat([v, call["bias_v"].expand(1, examples, -1)])
    q, k, v = (part.reshape(part.size(0), examples, heads, -1).permute(1, 2, 0, 3) for part in (q, k, v))
    if call["static_k"] is not None:
        k = call["static_k"].reshape(examples, heads, -1, q.size(-1))
    if call["static_v"] is not None:
        v = call["static_v"].reshape(examples, heads, -1, q.size(-1))
    if call["add_zero_attn"]:
        k, v = (torch.cat([part, part.new_zeros(examples, heads, 1, part.size(-1))], 2) for part in (k, v))
    if mask is not None and mask.size(-1) < k.size(2):
        mask = F.pad(mask, (0, k.size(2) - mask.size(-1)))
    kept: list[Tensor] = []
    drop = call["dropout_p"] if call["training"] else 0.0
    out = dot_product(q, k, v, mask, drop, seen=kept.append, scales=scales, safe=not call["need_weights"], touch=touch)
    if seen is not None:
        seen(kept[0])
    out = out.permute(2, 0, 1, 3).reshape(steps, examples, width)
    out = F.linear(out, call["out_proj_weight"], call["out_proj_bias"])
    shown = None
    if call["need_weights"]:
        shown = kept[0].mean(1) if call["average_attn_weights"] else kept[0]
        shown = shown[0] if single else shown
    return (out[:, 0] if single else out), shown


def _projected(call: dict[str, Any], query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    bias = call["in_proj_bias"]
    biases = bias.chunk(3) if bias is not None else (None, None, None)
    if call["use_separate_proj_weight"]:
        weights = (call["q_proj_weight"], call["k_proj_weight"], call["v_proj_weight"])
    else:
        weights = call["in_proj_weight"].chunk(3)
    q, k, v = (F.linear(part, w, b) for part, w, b in zip((query, key, value), weights, biases, strict=True))
    return q, k, v


def _mask(call: dict[str, Any], single: bool, examples: int, heads: int, like: Tensor) -> Tensor | None:
    """Both masks in one, to be added to the scores: (1 or n, 1 or heads, q, k). True in a mask means: not this one."""
    added: Tensor | None = None
    for mask, padding in ((call["attn_mask"], False), (call["key_padding_mask"], True)):
        if mask is None:
            continue
        if mask.dtype == torch.bool:
            mask = like.new_zeros(mask.shape).masked_fill(mask, -math.inf)
        if padding:
            mask = mask.reshape(1 if single else examples, 1, 1, -1)
        else:
            mask = mask.reshape(-1, heads, *mask.shape[1:]) if mask.ndim == 3 else mask
        added = mask if added is None else added + mask
    return added
