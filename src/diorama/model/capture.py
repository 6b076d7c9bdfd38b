"""The one object that looks inside a model through hooks: activations, gradients, edits, early stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import UsageError, not_found
from ..data import nesting
from ..data.nesting import Nested
from .axes import example_axis, first_tensor, time_major, unit_axis, with_tensor
from .edits import Edit, EditedWeights, edited
from .layers import LayerTable, layers, recurrent_parts
from .untouched import Mode, Untouched
from .unwrap import fed, named_modules, unwrap

Reduce = Callable[[str, Tensor], Any]


class _Enough(BaseException):
    """The wanted layer has answered; not an Exception, so that the model's own error handling lets it through."""


class Capture:
    """A look inside a model while it runs; the model is left exactly as it was found, also after an exception.

    *Meaning* ``keep`` names layers, or says ``"all"``; ``look[name]`` is then the layer's activation in the last call,
    the example on the first axis, as it was before anything later wrote into it. With ``reduce`` the value of
    ``reduce(name, tensor)`` is kept instead, and nothing is copied. ``grad=True`` records gradients, and the kept
    activations lie on the path to the output. ``until`` stops the forward pass after the named layer. ``cancel`` is
    called at every op and may raise. ``edits`` change activations and weights for this look alone.
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
        every = [Edit.of(edit) for edit in edits]
        self._weights = [edit for edit in every if edit.key.kind == "weight"]
        self._edits: dict[str, list[Edit]] = {}
        for edit in every:
            if edit.key.kind != "weight":
                self._edits.setdefault(edit.layer, []).append(edit)
        self._paths = {name: self._path(name) for name in {*self._keep, *self._edits, *filter(None, [until])}}
        self._late = time_major(self._modules)
        self._values: dict[str, Any] = {}
        self._running = False
        self._table: LayerTable | None = None

    def _path(self, name: str) -> str:
        """The path of the module in which a named layer runs."""
        path, _, call = name.partition("#")
        if path in self._modules and (not call or call.isdecimal()):
            return path
        for owner, module in self._modules.items():
            if name.startswith(owner + ".") and name[len(owner) + 1 :] in recurrent_parts(module):
                return owner
        raise not_found("layer", name, self._modules)

    def __enter__(self) -> Capture:
        self._stack = ExitStack()
        try:
            self._stack.enter_context(Untouched(self.model, self._mode))
            self._stack.enter_context(EditedWeights(self.model, self._modules, self._weights))
            wanted = self._modules if self._all else dict.fromkeys(self._paths.values())
            for path in {**dict.fromkeys(self._paths.values()), **dict.fromkeys(wanted)}:
                handle = self._modules[path].register_forward_hook(self._hook(path))
                self._stack.callback(handle.remove)
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
        self._running, self.output = True, None
        try:
            with torch.set_grad_enabled(self._grad):
                self.output = nesting.call(self.model, x)
        except _Enough:
            pass
        finally:
            self._running, self._recent = False, None
        return self.output

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
