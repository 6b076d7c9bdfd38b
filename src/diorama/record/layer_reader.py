"""Reads layers by forward hooks while the training or the probe pass runs them: only cheap reductions, nothing is
kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core.rounding import alike
from ..core.selection import without_call
from ..model.axes import first_tensor, likely_unit_axis, unit_axis
from ..model.batch_size import real
from ..model.layers import LayerTable
from ..model.packed_sequences import Lengths, step_rows
from ..model.plain_module import layer_modules
from .own_hooks import UNSOUGHT, OwnHook, compiled
from .ranges import LAST_BATCH
from .reduction import flattened, reduce
from .step import LayerReading

SAMPLE = 2**15
_UNREAD = ("no layer answers once for each example, so activations are left out; run its layers outside of vmap and functional_call, "
           "with the examples along the first axis")
_CLOSED = ("activations on training batches of {} of {} layers ({}) are not read, which run compiled: what is compiled sees no later hook, "
           "or takes it along for good")
_FEWEST = 16
"""Numbers of a channel from which on its mean and spread in a batch are told."""
MOST = 1024
"""Layers that are read at most."""
_SKIPPED = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten,
)
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_ENDS: tuple[tuple[tuple[type[nn.Module], ...], float, float], ...] = (
    ((nn.Sigmoid, nn.Hardsigmoid), 0.0, 1.0),
    ((nn.Tanh, nn.Hardtanh, nn.RNN, nn.LSTM, nn.GRU), -1.0, 1.0),
    ((nn.ReLU6,), float("-inf"), 6.0),
)
_SQUASHED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float]]] = {
    "tanh": (torch.tanh, (-1.0, 1.0)), "sigmoid": (torch.sigmoid, (0.0, 1.0)),
}
"""What a function that follows in ``forward`` makes of a layer's answers, and its ends."""


@dataclasses.dataclass
class PartialLayer:
    """What is known of a layer after some of its calls."""

    samples: list[Tensor]
    peak: Tensor | None
    """For each unit the largest value yet, or whether it varied, by ``rectified``."""
    trough: Tensor | None
    bounded: list[Tensor]
    rectified: bool
    mismatch: float | None = None
    rows: int = 0


class LayerReader:
    """Hooks on the layers worth reading, put on and taken off as a step needs them."""

    def __init__(self, model: nn.Module, table: LayerTable | None, report: Callable[[Exception], None]) -> None:
        self._report = report
        self._handles: list[Any] = []
        self._calls: dict[str, int] = {}
        self._found: dict[str, PartialLayer] = {}
        self._order = dict[str, None]()
        """The layers in the order in which they were called."""
        self._only_training = True
        self.lack = ""
        """Which layers cannot be read, and why, in a sentence; empty where all that are called can."""
        self._depth, self._training = 0, False
        self.follow(model, table)

    def follow(self, model: nn.Module, table: LayerTable | None) -> None:
        """Read these layers from now on."""
        self.disarm()
        self._model = model
        self._found, self._calls = {}, {}  # what was read of a step in which the layers became other ones is given up
        self._modules = {
            path: module
            for path, module in layer_modules(model).items()
            if not isinstance(module, _SKIPPED) and (not path or not _parts(module) or isinstance(module, nn.RNNBase))
        }
        if len(self._modules) > MOST:
            # Every n-th: a reading of all would take longer than many steps.
            apart = -(-len(self._modules) // MOST)
            self._modules = dict(list(self._modules.items())[::apart])
        self._lengths = Lengths(self._modules.values())
        self._containers = list(_containers(model))
        known = {layer.name: layer for layer in table} if table is not None else {}
        self._axes = {name: layer.unit_axis for name, layer in known.items()}
        self._rectified = {name for name, layer in known.items() if layer.rectified}
        self._squashed = {name: layer.squashed for name, layer in known.items() if layer.squashed in _SQUASHED}

    def arm(self, only_training: bool = True) -> None:
        """Put the hooks on; ``only_training`` passes over forward passes without gradients, such as an evaluation."""
        self.disarm()
        self._only_training = only_training
        self.seconds = 0.0
        self._found, self._calls, self._order, self._depth = {}, {}, dict[str, None](), 0
        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self._lengths.restart()
        opened, closed = self._around()
        inside = self._compiled() if only_training else set[int]()  # looks at the probe set run what is plain
        told = [path for path, module in self._modules.items() if id(module) in inside]
        self.lack = _CLOSED.format(len(told), len(self._modules), ", ".join(told[:3]) + (", …" if len(told) > 3 else "")) if told else ""
        self.lack += f", {UNSOUGHT}" if told and compiled(self._model) else ""
        for module in self._containers:
            if id(module) in inside:
                continue
            self._handles.append(module.register_forward_pre_hook(OwnHook(opened)))
            self._handles.append(module.register_forward_hook(OwnHook(closed), always_call=True))
        for path, module in self._modules.items():
            if id(module) in inside:
                continue
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.momentum or 0.0) >= LAST_BATCH:
                self._handles.append(module.register_forward_pre_hook(OwnHook(self._ahead(path))))
            self._handles.append(nn.Module.register_forward_hook(module, OwnHook(self._hook(path))))

    def _compiled(self) -> set[int]:
        """The modules whose hooks would be compiled: by a call in a module's place, or by a wrapper round it."""
        inside = set[int]()
        for module in (*self._containers, *self._modules.values()):
            if id(module) in inside:
                continue
            if compiled(module):
                inside |= set(map(id, module.modules()))
            elif type(module).__name__ == "OptimizedModule":
                inside |= set(map(id, module.modules())) - {id(module)}
        return inside

    def closed(self, whole: bool) -> frozenset[str]:
        """The layers that run compiled while the model trains, so that their answers to training batches cannot be read; all where the ``whole``
        model is known to."""
        inside = self._compiled()
        return frozenset(path for path, module in self._modules.items() if whole or id(module) in inside)

    def disarm(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles[-1].remove()
            self._handles.pop()

    def _around(self) -> tuple[Callable[[nn.Module, Any], None], Callable[[nn.Module, Any, Any], None]]:
        """Functions, not methods: whoever copies the model while they are on copies no reader."""

        def opened(module: nn.Module, args: Any) -> None:
            try:
                if not self._depth:
                    self._begin()
                self._depth += 1
            except Exception as error:
                self._report(error)

        def closed(module: nn.Module, args: Any, output: Any) -> None:
            if self._depth:
                self._depth -= 1

        return opened, closed

    def _begin(self) -> None:
        """A module is called while no other is open: another forward pass. Calls are numbered from the start, and it is
        one of the training if gradients are on here, whatever its parts do (a checkpoint may run without)."""
        self._lengths.release()
        self._calls, self._training = {}, torch.is_grad_enabled()
        self._lengths.restart()

    def _ahead(self, path: str) -> Callable[[nn.Module, Any], None]:
        """Keeps the running statistics that a batch norm comes with: those of a batch before, where each batch takes the place of the last."""
        def kept(module: nn.Module, args: Any) -> None:
            try:
                mean, var = getattr(module, "running_mean", None), getattr(module, "running_var", None)
                if module.training and mean is not None and var is not None and path not in self._statistics:
                    self._statistics[path] = mean.detach().clone(), var.detach().clone()
            except Exception as error:
                self._report(error)

        return kept

    def _hook(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def seen(module: nn.Module, args: Any, output: Any) -> None:
            grads = None
            try:
                began = time.perf_counter()
                grads = torch.is_grad_enabled()
                if not self._depth:
                    self._begin()
                if self._training or not self._only_training:
                    self._read(path, module, args, output)
                    self.seconds += time.perf_counter() - began
            except Exception as error:
                if grads is not None:
                    torch.set_grad_enabled(grads)  # what was interrupted may have switched them off
                self._report(error)

        return seen

    def _read(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        call = self._calls[path] = self._calls.get(path, 0) + 1
        name = path if call == 1 else f"{path}#{call}"
        tensor = first_tensor(output)
        if tensor is None or isinstance(module, nn.RNNBase):
            self._lengths.seen(module, args, output)
        tensor = tensor if tensor is not None else step_rows(output)
        if tensor is not None and not tensor.numel():
            self._calls.pop(path)  # an empty batch says nothing of the layer
            return
        if tensor is None or tensor.ndim < 2:
            return
        if not tensor.is_floating_point() and not tensor.is_complex():
            return
        if tensor.layout is not torch.strided or tensor.is_meta:
            return  # sparse answers, and those without numbers, are not reduced by unit
        if tensor.element_size() == 1:
            tensor = tensor.float()
        if self._only_training and (name in self._found or call > 8):
            return  # a second pass before the step: the first one stands for it
        self._order.setdefault(name)
        looked_up = _looked_up(args)
        with torch.no_grad():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self._answered(name, module, tensor, looked_up)
                if name in self._found:
                    self._found[name].mismatch = _mismatch(module, first_tensor(args), self._statistics.get(name))
            elif not self._lengths.wait(tensor, lambda kept: self._answered(name, module, kept, looked_up)):
                self._answered(name, module, tensor, looked_up)

    def _answered(self, name: str, module: nn.Module, tensor: Tensor, looked_up: bool) -> None:
        """An answer, without the rows that were filled in behind the ends of packed sequences."""
        if self._only_training and name in self._found:
            return
        with torch.no_grad():
            rows = self._lengths.answered(tensor)
            self._take(name, module, real(tensor.detach()) if rows is None else rows, looked_up, None if rows is None else 1)

    def _take(self, name: str, module: nn.Module, tensor: Tensor, looked_up: bool, axis: int | None) -> None:
        whole = tensor.is_complex()
        tensor = tensor.abs() if whole else tensor
        flat = flattened(tensor)
        stride = -(-flat.numel() // SAMPLE) | 1 if flat.numel() > SAMPLE else 1
        sample = flat[::stride].clone()
        axis = self._axes.get(name) if axis is None else axis
        if axis is None or axis >= tensor.ndim:
            axis = unit_axis(module, tensor.ndim)
        if axis is None:
            axis = likely_unit_axis(tuple(tensor.shape), {})
        rectified = name in self._rectified or isinstance(module, _RECTIFIERS)
        others = [k for k in range(tensor.ndim) if k != axis]
        # Whether a unit is ever above zero takes all its answers; whether it varies at all shows in a part of them.
        seen = tensor if rectified else _thinned(tensor, axis)
        # Rows that no example asked for are not dead, and one row for all is no answer that has ceased. What turns at one
        # magnitude is not dead either.
        alive = whole or (looked_up and not rectified)
        peak = None if alive else _by_unit(seen, axis, others, largest=True)
        # One answer alone is the same as itself.
        single = tensor.numel() == tensor.shape[axis]
        trough = None if alive or rectified or single else _by_unit(seen, axis, others, largest=False)
        bounded = [sample] if not whole and any(isinstance(module, kinds) for kinds, _, _ in _ENDS) else []
        if not whole and name in self._squashed:
            bounded = [_SQUASHED[self._squashed[name]][0](sample)]
        before = self._found.get(name)
        if before is None:
            self._found[name] = PartialLayer([sample], peak, trough, bounded, rectified, rows=len(tensor))
            return
        before.samples.append(sample)
        before.rows += len(tensor)
        before.bounded += bounded
        if before.peak is not None and peak is not None and before.peak.shape == peak.shape:
            before.peak = torch.maximum(before.peak, peak)
            if before.trough is not None and trough is not None:
                before.trough = torch.minimum(before.trough, trough)

    def finish(self) -> dict[str, LayerReading]:
        """Take the hooks off and sum up."""
        self.disarm()
        self._lengths.release()
        if self._calls and not self._found:
            self.lack = _UNREAD
        found, self._found = {name: self._found[name] for name in self._order if name in self._found}, {}
        joined = {name: partial.samples[0] if len(partial.samples) == 1 else torch.cat(partial.samples)
                  for name, partial in found.items()}
        values = reduce(joined, SAMPLE)
        ends = {name: self._ends(name) for name in found}
        silent: dict[str, Any] = {name: _silent(partial) for name, partial in found.items()}
        return {
            name: LayerReading(
                values[name], None if silent[name] is None else float(silent[name].double().mean()), _saturated(partial.bounded, ends[name]),
                silent[name], partial.mismatch, partial.rows,
            )
            for name, partial in found.items()
        }

    def _ends(self, name: str) -> tuple[float, float] | None:
        if name in self._squashed:
            return _SQUASHED[self._squashed[name]][1]
        module = self._modules[name if name in self._modules else without_call(name)]
        return next(((low, high) for kinds, low, high in _ENDS if isinstance(module, kinds)), None)


def _containers(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that call others, down to what is compiled: while one is open, a call belongs to the same pass."""
    seen, waiting = set[int](), [module]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, torch.jit.ScriptModule):
            continue
        seen.add(id(each))
        below = _parts(each)
        if below:
            yield each
        if type(each).__name__ != "OptimizedModule":
            waiting += below


def _parts(module: nn.Module) -> list[nn.Module]:
    """The modules that a module calls; those that compute its weights (``torch.nn.utils.parametrizations``) are no layers."""
    return [child for name, child in module.named_children() if name != "parametrizations"]


def _looked_up(args: Any) -> bool:
    """Whether a module looks up rows by their numbers, as an embedding does."""
    tensor = first_tensor(args)
    return tensor is not None and not tensor.is_floating_point() and not tensor.is_complex()


def _thinned(tensor: Tensor, axis: int) -> Tensor:
    """Some places of large maps: enough to see whether a unit varies."""
    if axis != 1 or tensor.ndim < 3 or tensor.numel() <= SAMPLE:
        return tensor
    rows = tensor.flatten(2)
    places = max(16, SAMPLE // (rows.shape[0] * rows.shape[1]))
    return rows[:, :, :: -(-rows.shape[2] // places)].contiguous()


def _by_unit(tensor: Tensor, axis: int, others: Iterable[int], largest: bool) -> Tensor:
    """For each unit the largest or smallest value in the batch."""
    if axis == 1 and tensor.ndim > 2 and tensor.is_contiguous():
        # One row a map is several times faster than reducing over scattered axes.
        rows = tensor.reshape(tensor.shape[0] * tensor.shape[1], -1)
        flat = (rows.amax(1) if largest else rows.amin(1)).reshape(tensor.shape[:2])
        return flat.amax(0) if largest else flat.amin(0)
    dims = tuple(k for k in others if k < tensor.ndim)
    return tensor.amax(dims) if largest else tensor.amin(dims)


def _silent(partial: PartialLayer) -> Tensor | None:
    """Which units don't take part."""
    if partial.peak is None or not partial.peak.numel():
        return None
    if partial.rectified:
        return partial.peak <= 0
    if partial.trough is None:
        return None
    still: Tensor = alike(partial.trough, partial.peak, torch.finfo(partial.peak.dtype).eps)
    return still


def _mismatch(
    module: nn.modules.batchnorm._BatchNorm, tensor: Tensor | None, before: tuple[Tensor, Tensor] | None = None,
) -> float | None:
    """How far the running statistics (as they were ``before``, where that is known) lie from those of the batch, over the channels in the middle:
    the means in running standard deviations, or the logarithm of the ratio of the spreads, whichever is more."""
    mean, var = before or (module.running_mean, module.running_var)
    if not module.training or mean is None or var is None or tensor is None or tensor.ndim < 2:
        return None
    seen = _thinned(tensor.detach(), 1).float()
    if seen.numel() < _FEWEST * seen.shape[1] or seen.shape[1] != len(mean):
        return None
    own_var, own_mean = torch.var_mean(seen, [k for k in range(seen.ndim) if k != 1], correction=0)
    running = var.float() + module.eps
    shift = (own_mean - mean.float()).abs() / running.sqrt()
    spread = 0.5 * ((own_var + module.eps) / running).log().abs()
    return float(torch.maximum(shift.median(), spread.median()))


def _saturated(samples: list[Tensor], ends: tuple[float, float] | None) -> float | None:
    if not samples or ends is None:
        return None
    low, high = ends
    values = torch.cat(samples) if len(samples) > 1 else samples[0]
    edge = 0.01 * (high - low if low > float("-inf") else high)
    return float(((values <= low + edge) | (values >= high - edge)).double().mean())
