"""The one object that looks inside a model through hooks: activations, gradients, edits, early stops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import without_call
from ..data import nesting
from ..data.nesting import Nested
from .axes import example_axis, first_tensor, holds_packed, time_major, unit_axis, with_tensor
from .edits import Edit, EditedWeights, edited
from .layers import LayerTable, layers, recurrent_parts
from .mode import OpMode
from .opaque import Opaque
from .recurrent import States
from .untouched import Mode, Untouched
from .unwrap import fed, named_modules, unwrap

Reduce = Callable[[str, Tensor], Any]
_FAST = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)
"""Modules that take a fused path, which hooks do not see, unless a function mode is on."""


class _Enough(BaseException):
    """The wanted layer has answered; not an Exception, so that the model's own error handling lets it through."""


class Capture:
    """A look inside a model while it runs; the model is left exactly as it was found, also after an exception.

    *Meaning* ``keep`` names layers, or says ``"all"``; ``look[name]`` is then the layer's activation in the last call,
    the example on the first axis, as it was before anything later wrote into it. With ``reduce`` the value of
    ``reduce(name, tensor)`` is kept instead, and nothing is copied. ``grad=True`` records gradients, and the kept
    activations lie on the path to the output. ``until`` stops the forward pass after the named layer. ``cancel`` is
    called at every op and may raise. ``edits`` change activations and weights for this look alone. ``gates`` and
    ``attention`` also keep the states of recurrent layers at every step and the weights of every attention head.
    *Shapes* (n, …) as the layer returns it; (n, t, hidden) for parts of recurrent modules.
    *Cost* one forward pass a call, and a copy of what is kept.
    *Raises* NotFound for a layer that is not there; NotApplicable for a scripted model.
    """

    def __init__(
        self,
        model: nn.Module,
        keep: Iterable[str] | Literal["all"] = (),
        *,
        mode: Mode = "eval",
        grad: bool = False,
        edits: Sequence[Edit | Mapping[str, Any]] = (),
        reduce: Reduce | None = None,
        cancel: Callable[[], object] | None = None,
        until: str | None = None,
        gates: bool = False,
        attention: bool = False,
    ) -> None:
        if mode not in ("eval", "train"):
            raise not_found("mode", mode, ("eval", "train"))
        self.model = unwrap(model)
        self.output: Any = None
        self._modules = named_modules(self.model)
        self._mode: Mode = mode
        self._grad, self._reduce, self._cancel, self._until = grad, reduce, cancel, until
        self._all = keep == "all"
        self._keep = frozenset(() if keep == "all" else (keep,) if isinstance(keep, str) else keep)
        self._late = time_major(self._modules)
        self._values: dict[str, Any] = {}
        self._running = False
        self._table: LayerTable | None = None
        self._weights: list[Edit] = []
        self._edits: dict[str, list[Edit]] = {}
        self._inner: dict[str, list[Edit]] = {}
        for edit in edits:
            self._sort(Edit.of(edit))
        self._paths = {name: self._path(name) for name in {*self._keep, *self._edits, *filter(None, [until])}}
        if until is not None and until not in self._modules and without_call(until) == until:
            self._until = self._paths[until]
        self._opaque = self._open(gates, attention)

    def _sort(self, edit: Edit) -> None:
        """Put an edit where it is applied: to weights, to the output of a module, or inside an op."""
        key = edit.key
        if key.kind == "weight":
            self._weights.append(edit)
        elif key.kind == "head":
            if key.name != "attention":
                self._path(key.name)
            self._inner.setdefault(key.name, []).append(edit)
        elif key.name not in self._modules and without_call(key.name) == key.name:
            self._path(key.name)
            self._inner.setdefault(key.name, []).append(edit)
        elif key.kind == "unit" and isinstance(self._modules.get(key.name), nn.RNNBase):
            # A cell feeds back at the next step, so it is edited inside the last layer that it belongs to.
            module = self._modules[key.name]
            width = int(module.proj_size or module.hidden_size)  # type: ignore[arg-type]
            parts = recurrent_parts(module)[-2 if module.bidirectional else -1 :]
            way, unit = divmod(key.number, width)
            if way >= len(parts):
                raise UsageError(f"{key.name} has units 0 to {width * len(parts) - 1}, got {key.number}")
            inside = dataclasses.replace(key, name=f"{key.name}.{parts[way]}", index=(unit,))
            self._inner.setdefault(inside.name, []).append(dataclasses.replace(edit, key=inside))
        else:
            self._edits.setdefault(key.name, []).append(edit)

    def _open(self, gates: bool, attention: bool) -> Opaque | None:
        """What opens recurrent kernels and attention, when something inside them is asked for."""
        parts = {name for name, path in self._paths.items() if name != path and without_call(name) == name}
        if self._all:
            parts = {f"{p}.{part}" for p, module in self._modules.items() for part in recurrent_parts(module)}
        if not (parts or self._inner or gates or attention):
            return None
        return Opaque(
            self._modules,
            parts=frozenset(parts),
            keep=self._keep_part,
            edits=self._inner,
            gates=gates,
            heads=attention,
            lenient=self._all,
        )

    def _path(self, name: str) -> str:
        """The path of the module in which a named layer runs."""
        if (path := name if name in self._modules else without_call(name)) in self._modules:
            return path
        for owner, module in self._modules.items():
            if name.startswith(owner + ".") and name[len(owner) + 1 :] in recurrent_parts(module):
                return owner
        parts = [f"{p}.{part}" for p, module in self._modules.items() for part in recurrent_parts(module)]
        raise not_found("layer", name, [*self._modules, *parts])

    def __enter__(self) -> Capture:
        self._stack = ExitStack()
        try:
            self._stack.enter_context(Untouched(self.model, self._mode))
            self._stack.enter_context(EditedWeights(self.model, self._modules, self._weights))
            wanted = self._modules if self._all else dict.fromkeys(self._paths.values())
            for path in {**dict.fromkeys(self._paths.values()), **dict.fromkeys(wanted)}:
                handle = self._modules[path].register_forward_hook(self._hook(path))
                self._stack.callback(handle.remove)
            if self._opaque is not None:
                self._stack.enter_context(self._opaque.trail)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, x: Nested) -> Any:
        """Run the model on an input and return its own output (None when ``until`` stopped it)."""
        if not hasattr(self, "_stack"):
            raise UsageError("a Capture looks inside a with block: with Capture(model, keep) as look: look(x)")
        x = fed(self.model, x)
        self._values, self._calls = {}, dict.fromkeys(self._modules, 0)
        self._examples = nesting.size(x)
        self._recent: tuple[Tensor, int, Tensor] | None = None
        if self._table is None and any(self._unclear(name) for name in self._edits):
            self._table = layers(self.model, x)
        if self._opaque is not None:
            self._opaque.restart()
        self._running, self.output = True, None
        try:
            with torch.set_grad_enabled(self._grad), self._ops():
                self.output = nesting.call(self.model, x)
        except _Enough:
            pass
        finally:
            self._running, self._recent = False, None
        return self.output

    def _ops(self) -> AbstractContextManager[object]:
        """The function mode that this look needs, or nothing."""
        if self._opaque is not None:
            return OpMode(cancel=self._cancel).replace(self._opaque)
        if self._cancel is not None or any(isinstance(module, _FAST) for module in self._modules.values()):
            return OpMode(cancel=self._cancel)
        return nullcontext()

    def __getitem__(self, name: str) -> Any:
        """The activation of a layer (or what ``reduce`` made of it) in the last call."""
        if name not in self._values:
            raise not_found("captured layer", name, self._values)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers kept in the last call, in the order in which they answered."""
        return tuple(self._values)

    @property
    def gates(self) -> dict[str, States]:
        """The states of each recurrent layer in the last call, with ``gates=True``."""
        return self._opaque.states if self._opaque is not None else {}

    @property
    def attention(self) -> dict[str, Tensor]:
        """The attention weights (n, heads, q, k) of each layer in the last call, with ``attention=True``."""
        return self._opaque.weights if self._opaque is not None else {}

    def _keep_part(self, name: str, h: Tensor) -> Tensor:
        passed = self._store(name, h, None)
        return h if passed is None else passed

    def _unclear(self, name: str) -> bool:
        return unit_axis(self._modules[self._paths[name]], 4) is None

    def _hook(self, path: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not self._running:
                return None
            self._calls[path] = call = self._calls[path] + 1
            name = path if call == 1 else f"{path}#{call}"
            return self._answered(name, path, module, output)

        return hook

    def _answered(self, name: str, path: str, module: nn.Module, output: Any) -> Any:
        """Edit, keep and perhaps stop after one call of a module; returns an output that replaces its own, or None."""
        tensor = first_tensor(output)
        edits = self._edits.get(name)
        wanted = self._all or name in self._keep
        if tensor is None and (edits or name in self._keep) and holds_packed(output):
            raise NotApplicable(f"{name} runs on a packed sequence, which cannot be looked into; pass a padded batch")
        if tensor is None or not (edits or wanted):
            self._stop_after(name)
            return None
        axis = example_axis(tuple(tensor.shape), self._examples, path in self._late, bool(self._late))
        seen = tensor.transpose(0, axis) if axis else tensor
        if edits:
            seen = edited(seen, edits, self._unit_axis(name, module, seen))
        passed: Tensor | None = seen if edits else None
        if wanted:
            passed = self._store(name, seen, passed)
        self._stop_after(name)
        if passed is None:
            return None
        return with_tensor(output, tensor, passed.transpose(0, axis) if axis else passed)

    def _store(self, name: str, seen: Tensor, passed: Tensor | None) -> Tensor | None:
        """Keep an activation; returns what goes on in its place, when that is another tensor than came."""
        if self._reduce is not None:
            self._values[name] = self._reduce(name, seen)
            return passed
        if not self._grad:
            self._values[name] = self._copy(seen)
            return passed
        kept = seen.clone()
        if not kept.requires_grad and kept.is_floating_point():
            kept.requires_grad_()
        self._values[name] = kept
        # What goes on is one copy further, so that later in-place ops do not reach the kept one.
        return kept.clone()

    def _copy(self, seen: Tensor) -> Tensor:
        """A copy of an activation; a container that returns what its last child returned shares the child's copy."""
        version = -1 if seen.is_inference() else seen._version
        if self._recent is not None and version >= 0:
            tensor, was, copy = self._recent
            if tensor is seen and was == version:
                return copy
        copy = seen.clone()
        self._recent = (seen, version, copy)
        return copy

    def _stop_after(self, name: str) -> None:
        if name == self._until:
            raise _Enough

    def _unit_axis(self, name: str, module: nn.Module, seen: Tensor) -> int:
        known = unit_axis(module, seen.ndim)
        if known is not None:
            return known
        assert self._table is not None
        return self._table[name].unit_axis if name in self._table.names else min(1, seen.ndim - 1)
