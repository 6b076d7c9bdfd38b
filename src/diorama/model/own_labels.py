"""Labels that a model would be given with its input, as it takes them there, and how it holds its answers against them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data import nesting
from .batch_size import called
from .outputs import IGNORED, pick
from .plain_module import fed, peeled, unwrap
from .preservation import Preservation
from .tasks import own_tokens

_FEW = 2
"""Of so many texts a loss tells which label a place is held against."""


@functools.lru_cache(maxsize=64)
def _takes(forward: Callable[..., Any], name: str) -> bool:
    """Whether a forward pass has a parameter of a name."""
    return name in inspect.signature(forward).parameters


def beside_labels(model: nn.Module, x: Any, y: Tensor | None) -> Any:
    """An input with its labels beside it, where the model takes ``labels`` and they are held apart from it; else the input itself.

    Such a model shifts the tokens of a text by itself, so how its answers are read depends on what it takes, not on who holds the labels.
    One that answers each token at its own place (a masked language model, an encoder–decoder) takes labels and shifts none: its own loss
    tells, and then the input is without them.
    *Cost* where labels are the text's own tokens, one forward pass of two examples.
    """
    if y is None or not _takes(type(unwrap(model)).forward, "labels"):
        return x
    given = x
    if isinstance(x, Mapping):
        given = x if "labels" in x else {**x, "labels": y}
    elif isinstance(x, Tensor) and not x.is_floating_point():
        given = {"input_ids": x, "labels": y}
    if isinstance(given, Mapping) and own_tokens(given, y, (IGNORED,)) and _in_place(model, given):
        return {name: part for name, part in given.items() if name != "labels"}
    return given


def _in_place(model: nn.Module, given: Mapping[str, Any]) -> bool:
    """Whether the loss that a model computes holds its answers against the labels at their own places; not where it computes none."""
    try:
        x = dict(given)
        few: Any = nesting.select(x, torch.arange(min(_FEW, nesting.size(x))))
        with Preservation(model), torch.no_grad():
            output = called(model, fed(model, few))
    except Exception:  # noqa: BLE001 - what is wrong with a model's pass is told by who needs its answers
        return False
    own = own_loss(output)
    return own is not None and shifts(pick(output)[0], few["labels"], own) is False


def decoder_input(model: nn.Module, labels: Any) -> Tensor | None:
    """What the decoder of an encoder–decoder reads where the model is given ``labels``: it makes it of them by itself, a start token first.

    None for a model that makes none.
    """
    bare = peeled(model)
    make = getattr(bare, "prepare_decoder_input_ids_from_labels", None)
    if not callable(make) or not _takes(type(bare).forward, "decoder_input_ids") or not isinstance(labels, Tensor) or labels.ndim != 2:
        return None
    with torch.no_grad():
        try:
            made = make(labels)
        except Exception:  # noqa: BLE001 - a third party's; its own pass tells what is wrong
            return None
    return made if isinstance(made, Tensor) and made.shape == labels.shape else None


def read_alone(model: nn.Module, kwargs: Mapping[str, Any], output: Any) -> Mapping[str, Any]:
    """What a network reads of what a call gives it by name: not the labels against which it holds its answers by itself, but what it makes its
    decoder read of them."""
    if "labels" not in kwargs:
        return kwargs
    made = decoder_input(model, kwargs["labels"])
    if made is None and _loss(output) is None:
        return kwargs
    rest = {name: part for name, part in kwargs.items() if name != "labels"}
    return rest if made is None or rest.get("decoder_input_ids") is not None else {**rest, "decoder_input_ids": made}


def own_loss(output: Any) -> float | None:
    """The loss that a model has computed itself; None where it has not."""
    found = _loss(output)
    return None if found is None else float(found.detach())


def _loss(output: Any) -> Tensor | None:
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) and found.numel() == 1 else None


def shifts(scores: Tensor, y: Tensor, own: float) -> bool | None:
    """Whether a model's own loss holds each answer (n, t, answers) against the label (n, t) one further on; None where it is neither that nor
    the label there."""
    if scores.ndim != 3 or scores.shape[:2] != y.shape or not bool((y[:, 1:] != IGNORED).any()):
        return None
    rows, y = scores.detach().float().cpu().log_softmax(-1), y.long().cpu()

    def loss(scores: Tensor, y: Tensor) -> float:
        return float(torch.nn.functional.nll_loss(scores.flatten(0, 1), y.flatten(), ignore_index=IGNORED))

    apart = [abs(own - loss(rows, y)), abs(own - loss(rows[:, :-1], y[:, 1:]))]
    return bool(apart[1] < apart[0]) if min(apart) < 1e-2 * max(1.0, abs(own)) else None
