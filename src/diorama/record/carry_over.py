"""Whether recurrent layers begin a batch where they ended the last one, and whether its rows go on where those of the last one ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..model.axes import first_tensor, tensors_in
from .own_hooks import OwnHook

_ROWS, _LONG = 256, 2**16
"""Rows of a batch, and numbers of a row, that are looked at."""
_TOLD_APART = 4
"""Different numbers that a row has at least: blank ones come again by themselves."""
_REMEMBERED = 2**14
"""Rows that are known again."""
_FEW = 16
"""Rows that must have come again for something to be said."""
_WAITED = 8
"""Calls of the network that may come before the next pass with gradients."""


class _Layer:
    """A recurrent layer's first state and its last one in a pass."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began: Tensor | None = None
        self.ended: Tensor | None = None
        self.called = False

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled() and not self.called:
            self.called = True
            given = args[1] if len(args) > 1 else kwargs.get("hx")
            self.began = next(tensors_in(given), None) if given is not None else None

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.is_grad_enabled():
            state = output[1] if isinstance(module, nn.RNNBase) else output
            self.ended = next(tensors_in(state), None)


class StateCarrier:
    """Follows the states of recurrent layers from a batch that is read to the next one.

    *Meaning* a state that is carried over is right where row ``k`` of a batch goes on where row ``k`` of the one before ended. Of texts or
    series of their own, drawn by chance, the state is of another one: when a row comes again, another one came before it. Of labels
    that are next tokens it is seen at once: the last label of a row is the first token of the one that goes on.
    *Error* rows that never come again, or always behind the same one, tell nothing.
    Layers of torch (``LSTM``, ``GRU``, ``RNN`` and their cells) are followed.
    *Cost* at due steps: two hooks a recurrent layer; where a state was given, one look at the next batch.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._layers: list[_Layer] = []
        self._model: nn.Module | None = None
        self._recurrent: list[tuple[str, nn.Module]] = []
        self._waiting: list[Any] = []
        self._before: dict[int, int] = {}
        self._same = self._other = 0
        self._rows: Tensor | None = None
        self._found: dict[str, float] = {}

    def arm(self, model: nn.Module) -> None:
        """A batch is about to be read."""
        self._take_off()
        self._layers = []
        if self._model is not model:
            self._model = model
            self._recurrent = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.RNNBase | nn.RNNCellBase)]
        for name, module in self._recurrent:
            layer = _Layer(name)
            self._layers.append(layer)
            self._handles += [
                module.register_forward_pre_hook(OwnHook(layer.before), with_kwargs=True),
                module.register_forward_hook(OwnHook(layer.after)),
            ]

    def disarm(self) -> None:
        """Take all hooks off; the network may be another one, or have other layers, when it is read again."""
        self._forget()
        self._model = None

    def _forget(self) -> None:
        self._take_off()
        while self._waiting:
            self._waiting.pop().remove()

    def _take_off(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def finish(self, model: nn.Module, x: Tensor | None, labels: NDArray[np.int64] | None) -> dict[str, float]:
        """What was seen at the batches before: ``carried`` (1 where a layer began where it had ended) and, of the rows that came again, the
        ``strange`` share that another row came before; from now on the next batch is waited for, where a state was given to a layer."""
        found, self._found = self._found, {}
        layers, self._layers = self._layers, []
        self._forget()
        given = next((layer for layer in layers if layer.began is not None and layer.ended is not None), None)
        if given is None or x is None or given.began is None or given.ended is None or given.began.requires_grad:
            return found
        ended = given.ended.detach().clone()
        rows = _by_rows(x, ended.shape[-2] if ended.ndim > 1 else 1)
        if rows is None or not bool(ended.any()):
            return found
        last = None
        if labels is not None and not x.is_floating_point() and labels.size == rows.size and (labels >= 0).all() and len(rows) == len(x):
            last = labels.reshape(rows.shape)[:, -1]
        self._wait(model, given, ended, rows, last)
        return found

    def _wait(self, model: nn.Module, layer: _Layer, ended: Tensor, rows: NDArray[Any], last: NDArray[np.int64] | None) -> None:
        """Look at the next pass with gradients, and no further."""
        calls, coming = 0, list[NDArray[Any]]()

        def asked(module: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > _WAITED:
                self._forget()
            elif torch.is_grad_enabled() and not coming:
                x = first_tensor((*args, *kwargs.values()))
                came = _by_rows(x, len(rows)) if x is not None else None
                if came is None or came.shape[0] != rows.shape[0]:
                    self._forget()
                else:
                    coming.append(came)

        def began(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not coming or not torch.is_grad_enabled():
                return
            given = args[1] if len(args) > 1 else kwargs.get("hx")
            state = next(tensors_in(given), None) if given is not None else None
            self._forget()
            if state is None or state.shape != ended.shape:
                self._found = {"carried": 0.0}
                return
            carried = float((state.detach() == ended).double().mean()) > 0.9
            self._found = {"carried": float(carried)}
            if carried:
                self._meet(rows, coming[0], last)

        self._waiting = [
            model.register_forward_pre_hook(OwnHook(asked), with_kwargs=True),
            model.get_submodule(layer.name).register_forward_pre_hook(OwnHook(began), with_kwargs=True),
        ]

    def _meet(self, rows: NDArray[Any], coming: NDArray[Any], last: NDArray[np.int64] | None) -> None:
        """Who came behind whom."""
        for before, now in zip(rows, coming, strict=True):
            if len(np.unique(now)) < _TOLD_APART:
                continue
            mine, other = hash(now.tobytes()), hash(before.tobytes())
            known = self._before.get(mine)
            if known is None:
                if len(self._before) < _REMEMBERED:
                    self._before[mine] = other
            elif known == other:
                self._same += 1
            else:
                self._other += 1
        follows = float((coming[:, 0] == last).mean()) if last is not None else 0.0
        if self._same + self._other >= _FEW:
            self._found["strange"] = self._other / (self._same + self._other) * (follows < 0.5)


def _by_rows(x: Tensor, count: int) -> NDArray[Any] | None:
    """The examples of a batch, whichever axis they lie along; None where that is not known, or they are too many."""
    if x.ndim < 2 or count not in x.shape[:2] or count > _ROWS or not x.numel() or x.numel() // count > _LONG:
        return None
    turned = x.detach() if x.shape[0] == count else x.detach().movedim(1, 0)
    flat = turned.reshape(count, -1)
    found: NDArray[Any] = (flat.double() if flat.is_floating_point() else flat).cpu().numpy()
    return found
