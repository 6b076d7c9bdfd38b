"""Which token fills texts up to one length, and whether attention looks at it alone: a mask that is the wrong way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.examples import Examples
from ..data.padding import FillerToken as FillerToken
from ..data.padding import padding as padding
from ..model.attention import KERNELS, opened
from ..model.axes import first_tensor
from ..model.batch_size import called
from ..model.mode import OpMode
from ..model.plain_module import fed
from ..model.preservation import Preservation

_LOOKED = 8
"""Texts of the probe set that are run to see what attention looks at."""
_PROBE = 512
_NONE, _ALL = 1e-6, 0.999


def looks_at_padding(model: nn.Module, examples: Examples | None) -> bool | None:
    """Whether an attention looks at what fills texts of the probe set up, and at nothing else; None where none is filled up.

    *Cost* where texts are filled up, one forward pass of eight of them.
    """
    x = None if examples is None else first_tensor(examples.x)
    if examples is None or x is None or x.ndim != 2 or x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        return None
    told = padding(x[:_PROBE].detach().cpu().numpy())
    if told is None:
        return None
    chosen = np.flatnonzero(told.places[:, [0, -1]].any(1) & ~told.places.all(1))[:_LOOKED]
    turned: list[bool] = []
    look = _Look(torch.from_numpy(told.places[chosen]), turned)
    try:
        with Preservation(model), torch.no_grad(), OpMode().around(look):
            called(model, fed(model, examples.batch(chosen.tolist(), next((p.device for p in model.parameters()), torch.device("cpu")))))
    except Exception:  # noqa: BLE001 - a model that does not take a few texts says nothing
        return None
    return any(turned) if turned else None


class _Look:
    """Hears of each attention, and whether only what is filled up is looked at."""

    def __init__(self, places: Tensor, turned: list[bool]) -> None:
        self._places, self._turned = places, turned

    def __call__(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any],
    ) -> Any:
        if name in KERNELS:
            return opened(name, args, kwargs, self._judge, {})
        result = run(name, func, args, kwargs)
        if name == "softmax" and isinstance(result, Tensor):
            self._judge(result)
        return result

    def _judge(self, weights: Tensor) -> None:
        count, long = self._places.shape
        if weights.ndim < 2 or weights.shape[-1] != long or weights.shape[0] % count:
            return
        asking = weights.shape[-2] if weights.ndim > 2 else 1
        shares = weights.detach().cpu().double().reshape(count, -1, asking, long)
        padded = (shares * self._places[:, None, None]).sum(-1)
        rest = (shares * ~self._places[:, None, None]).sum(-1)
        if asking == long:  # what is looked at from a place that is filled up does not matter
            mine = ~self._places[:, None].expand(padded.shape)
            padded, rest = padded[mine], rest[mine]
        self._turned.append(bool(padded.numel()) and bool((padded > _ALL).all()) and bool((rest < _NONE).all()))
