"""The one object that looks inside a model through hooks: activations, gradients, edits, early stops."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, NotRun, UsageError, not_found
from ..core.selection import Key, is_point, within, without_call
from ..data import nesting
from ..data.nesting import Nested
from . import batch_size
from .attention import by_head
from .axes import example_axis, first_tensor, tensors_in, time_major, unit_axis, with_argument, with_tensor
from .edits import Edit, EditedWeights, edited, failing
from .inplace_ops import writes
from .layers import LayerTable, layers, recurrent_parts
from .mode import OpMode, OpNames, Run, Trail, WithoutModes, answering
from .opaque_ops import Gates, OpaqueOps
from .packed_sequences import Lengths, ending, holds_packed, steps, steps_in, unpacked
from .patterns import PARTS
from .plain_module import device_of, dtype_of, layer_modules, named_modules, placed, unwrap
from .points import Point, Points, points
from .preservation import Mode, Preservation
from .recurrent_kernels import States, with_ends
from .slopes import SlopeErrors
from .surroundings import NeutralSurroundings, as_built

Reduce = Callable[[str, Tensor], Any]
_FAST = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)
"""Modules that take a fused path, which hooks do not see, unless a function mode is on."""


class _LayerAnswered(BaseException):
    """The wanted layer has answered; not an Exception, so that the model's own error handling lets it through."""


class Capture:
    """A look inside a model while it runs; the model is left exactly as it was found, also after an exception.

    *Meaning* ``keep`` names layers and other points (``"op:block.softmax"``), or says ``"all"`` layers; ``look[name]`` is
    then the layer's activation in the last call, the example on the first axis, as it was before anything later wrote into
    it. With ``reduce`` the value of ``reduce(name, tensor)`` is kept instead, and nothing is copied but what waits for the lengths of packed
    sequences. ``grad=True`` records gradients, and the kept activations lie on the path to the output. ``until`` stops the forward pass
    after the named layer, and ``only`` once all that is to be kept has answered. ``cancel`` is called at every op and may raise.
    ``edits`` change activations and weights for this look alone. ``gates`` and ``attention`` also keep the states of recurrent layers
    at every step and the weights of every attention head.
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
        only: bool = False,
        gates: Gates = False,
        attention: bool = False,
    ) -> None:
        if mode not in ("eval", "train"):
            raise not_found("mode", mode, ("eval", "train"))
        self.model = unwrap(model)
        self.output: Any = None
        self._modules = layer_modules(self.model)
        self._mode, self._grad, self._reduce, self._cancel, self._until = mode, grad, reduce, cancel, until
        self._all, self._only = keep == "all", only and keep != "all"
        self._keep = frozenset(() if keep == "all" else (keep,) if isinstance(keep, str) else keep)
        self._late = time_major(self._modules)
        self._values: dict[str, Any] = {}
        self._patterns: dict[str, Tensor] = {}
        self._steps: dict[str, Tensor] = {}
        self._lengths = Lengths(self._modules.values())
        self._now: dict[str, list[Edit]] = {}
        self._followed: set[str] | None = None
        self._running = False
        self._table: LayerTable | None = None
        self._weights: list[Edit] = []
        self._edits: dict[str, list[Edit]] = {}
        self._inner: dict[str, list[Edit]] = {}
        self._changes = tuple(map(Edit.of, edits))
        for edit in self._changes:
            self._sort(edit)
        named = {*self._keep, *self._edits, *([] if until is None else [until])}
        self._between = tuple(name for name in sorted(named) if is_point(name) and name not in self._modules)
        self._at: dict[str, list[tuple[str, Point]]] = {}
        self._paths = {name: self._path(name) for name in named.difference(self._between)}
        if until is not None and until in self._paths and until not in self._modules and without_call(until) == until:
            self._until = self._paths[until]
        self._attends = attention
        self._pointed = bool(self._between) or attention or any(e.key.kind == "head" for own in self._inner.values() for e in own)
        self._opaque = self._open(gates)
        self._mode_on = OpMode(cancel=cancel)
        self._names = OpNames(self._opaque.trail if self._opaque is not None else Trail({}))

    def _sort(self, edit: Edit) -> None:
        """Put an edit where it is applied: to weights, to the output of a module, or inside an op."""
        key = edit.key
        if key.kind == "direction":
            if edit.along is None:
                raise UsageError(f"{key} is found by its name in a scene: use scene.edit({str(key)!r}, move={edit.move:g})")
            key = Key("layer", edit.layer)
        if key.kind == "weight":
            self._weights.append(edit)
        elif key.kind == "head":
            if without_call(key.name) != "attention":
                self._path(key.name)
            self._inner.setdefault(key.name, []).append(edit)
        elif is_point(key.name) and key.name not in self._modules:
            self._edits.setdefault(key.name, []).append(edit)
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
            inside = dataclasses.replace(key, name=within(key.name, parts[way]), index=(unit,))
            self._inner.setdefault(inside.name, []).append(dataclasses.replace(edit, key=inside))
        else:
            self._edits.setdefault(key.name, []).append(edit)

    def _open(self, gates: Gates) -> OpaqueOps | None:
        """What opens recurrent kernels and attention, when something inside them is asked for."""
        parts = {name for name, path in self._paths.items() if name != path and without_call(name) == name}
        if self._all:
            parts = {within(p, part) for p, module in self._modules.items() for part in recurrent_parts(module)}
        inside = any(name.partition(":")[0] in PARTS for name in self._between)
        if not (parts or self._inner or gates or self._attends or inside):
            return None
        return OpaqueOps(self._modules, parts=frozenset(parts), keep=self._keep_part, edits=self._inner, gates=gates)

    def _path(self, name: str) -> str:
        """The path of the module in which a named layer runs."""
        if (path := name if name in self._modules else without_call(name)) in self._modules:
            return path
        for owner, module in self._modules.items():
            if any(within(owner, part) == name for part in recurrent_parts(module)):
                return owner
        parts = [within(p, part) for p, module in self._modules.items() for part in recurrent_parts(module)]
        raise not_found("layer", name, [*self._modules, *parts])

    def __enter__(self) -> Capture:
        self._stack = ExitStack()
        try:
            self._stack.enter_context(NeutralSurroundings(self._grad))
            self._stack.enter_context(Preservation(self.model, self._mode))
            self._stack.enter_context(EditedWeights(self.model, self._modules, self._weights))
            # Asked once for all passes: a look at every weight costs as much as a small network's pass.
            self._device, self._dtype = device_of(self.model), dtype_of(self.model)
            self._fast = any(isinstance(module, _FAST) for module in self._modules.values())
            wanted = self._modules if self._all else dict.fromkeys(self._paths.values())
            for path in {**dict.fromkeys(self._paths.values()), **dict.fromkeys(wanted)}:
                handle = nn.Module.register_forward_hook(self._modules[path], self._hook(path))
                self._stack.callback(handle.remove)
            for path, module in self._modules.items() if self._grad else ():
                if ".quantized" in type(module).__module__:
                    handle = nn.Module.register_forward_hook(module, functools.partial(self._unbroken, path))
                    self._stack.callback(handle.remove)
            self._stack.enter_context(self._lengths.followed(self._modules.values(), lambda: self._mode_on.aside()))
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
        x = placed(x, self._device, self._dtype)
        with failing(() if answering() else self._changes):
            size = batch_size.batch_size(self.model)
            if size is None:
                try:
                    return self._run(x)
                except Exception as error:
                    size = batch_size.found(self.model, x, error)
                    if size is None or answering():
                        raise  # whoever answers ops in a mode of its own has to begin again
            return self._run(x) if nesting.size(x) == size else self._in_parts(x, size)

    def _in_parts(self, x: Nested, size: int) -> Any:
        """A model that takes one number of examples alone: the input goes through it in batches of that size."""
        reduce, self._reduce = self._reduce, None
        answers: list[tuple[batch_size.FilledBatch, Any]] = []
        values: dict[str, list[tuple[batch_size.FilledBatch, Any]]] = {}
        patterns: dict[str, list[tuple[batch_size.FilledBatch, Any]]] = {}
        ends: dict[str, list[tuple[batch_size.FilledBatch, Any]]] = {}
        states: list[tuple[batch_size.FilledBatch, dict[str, States]]] = []
        try:
            with torch.set_grad_enabled(self._grad):
                for part, batch in batch_size.parts(x, size):
                    with batch_size.holding(part):
                        answers.append((part, self._run(batch)))
                    for own, found in ((values, self._values), (patterns, self._patterns), (ends, self._steps)):
                        for name, value in found.items():
                            own.setdefault(name, []).append((part, value))
                    states.append((part, dict(self.gates)))
                self.output = batch_size.joined(answers)
                self._values = {name: batch_size.kept(own) for name, own in values.items()}
                self._patterns = {name: batch_size.joined(own) for name, own in patterns.items()}
        finally:
            self._reduce = reduce
        if self._opaque is not None:
            self._opaque.put({name: batch_size.states([(part, own[name]) for part, own in states]) for name in self.gates})
        if reduce is not None:
            for name, value in self._values.items():
                stops = ends.get(name, [])
                with ending(batch_size.joined(stops) if len(stops) == len(answers) else None):
                    self._values[name] = reduce(name, value)
        return self.output

    def _run(self, x: Nested) -> Any:
        self._values, self._steps, self._patterns, self._calls = {}, {}, {}, dict.fromkeys(self._modules, 0)
        self._examples = nesting.size(x)
        self._lengths.restart()
        self._recent: tuple[Tensor, int, Tensor] | None = None
        if self._table is None and any(self._unclear(name) for name in self._edits if name in self._paths):
            self._table = layers(self.model, x)
        if self._pointed:
            self._find(x)
            self._names.trail.restart()
        if self._opaque is not None:
            self._opaque.restart()
        self._running, self.output = True, None
        try:
            with SlopeErrors(), torch.set_grad_enabled(self._grad), as_built(self._dtype), self._ops():
                self.output = nesting.call(self.model, x)
        except _LayerAnswered:
            pass
        finally:
            self._running, self._recent = False, None
        with suppress(_LayerAnswered), torch.set_grad_enabled(self._grad):
            self._lengths.release()
        return self.output

    def _ops(self) -> AbstractContextManager[object]:
        """The function mode that this look needs, or nothing."""
        mode = self._mode_on = OpMode(cancel=self._cancel)
        if self._opaque is not None:
            mode.replace(self._opaque)
        if self._at:
            return mode.around(self._ran)
        if self._opaque is not None or self._cancel is not None:
            return mode
        return mode if self._fast else nullcontext()

    def _find(self, x: Nested) -> None:
        """Where in the pass the points between layers lie, for an input of this form."""
        with WithoutModes(), torch.set_grad_enabled(False):
            known = points(self.model, x)
        self._at = {}
        self._now = {name: list(edits) for name, edits in self._edits.items()}
        inside: dict[str, list[tuple[str, Point]]] = {}
        for name in (*self._between, *self._heads(known)):
            point = known[name]
            if point.slot == "inside":
                inside.setdefault(name.partition(":")[2], [])
                inside[point.name.partition(":")[2]] = [*inside.pop(name.partition(":")[2]), (name, point)]
            else:
                self._at.setdefault(point.op, []).append((name, point))
        if self._opaque is not None:
            self._opaque.touched = {label: functools.partial(self._inside, parts) for label, parts in inside.items()}
        self._asked = frozenset(self._named(full) for full in self._at)
        if self._opaque is None:
            self._follow({path for one in known.records.values() if one.op in self._asked for path in (one.here, without_call(one.here))})
        self._names.restart()

    def _follow(self, heres: set[str]) -> None:
        """Follow the modules that call ops of these names, and no other: that is what looking costs."""
        if heres == self._followed:
            return
        self._names.trail.__exit__()
        self._followed = heres
        below = named_modules(self.model)
        self._names = OpNames(Trail({path: below[path] for path in heres if path in below}))
        self._stack.enter_context(self._names.trail)

    def _heads(self, known: Points) -> tuple[str, ...]:
        """The patterns to keep where attention is asked for; edits of a head of a written attention go to its values (or pattern)."""
        names = dict.fromkeys(f"pattern:{site.label}" for site in known.attention) if self._attends else {}
        for label, edits in self._inner.items():
            for edit in edits:
                if edit.key.kind != "head" or (site := known.site("pattern", label)).kernel:
                    continue
                part = known.heads(site)
                for own in known.attention.runs(site):
                    self._now.setdefault(f"{part}:{own}", []).append(dataclasses.replace(edit, key=Key(part, own, edit.key.index)))
                    names[f"{part}:{own}"] = None
        return tuple(name for name in names if name not in self._between)

    def _inside(self, parts: Sequence[tuple[str, Point]], part: str, tensor: Tensor) -> Tensor:
        """A part of an attention that is opened: what goes on in its place."""
        for own, point in parts:
            if PARTS[point.number] == part:
                passed = self._touched(own, point, tensor)
                tensor = tensor if passed is None else passed
                self._stop_after(own)
        return tensor

    @staticmethod
    def _named(full: str) -> str:
        """The op's own name in its name in the graph."""
        return without_call(full).rpartition(".")[2]

    def _ran(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run: Run) -> Any:
        """Run an op; where it is one of the points, keep and edit what it answers."""
        if name not in self._asked:
            return run(name, func, args, kwargs)
        points_here = self._at.get(self._names.next(name), ())
        for own, point in points_here:
            if point.slot == "argument":
                given = [*tensors_in(args), *tensors_in(kwargs)][point.number]
                passed = self._touched(own, point, given)
                if passed is not None:
                    args, kwargs = with_argument((args, kwargs), point.number, passed)
        here = [(own, point) for own, point in points_here if point.slot == "result"]
        into: Tensor | None = None
        if here and (self._grad or any(own in self._now for own, _ in here)) and writes(name, func, args, kwargs):
            # What it answers is changed before the model's own tensor is written to: later, autograd would complain.
            into = args[0] if args else kwargs["input"]
            copy = into.clone()
            args, kwargs = (copy, *args[1:]) if args else args, kwargs if args else {**kwargs, "input": copy}
        result = run(name, func, args, kwargs)
        self._names.count(name, result)
        for own, point in here:
            tensor = list(tensors_in(result))[point.number]
            passed = self._touched(own, point, tensor)
            result = result if passed is None else with_tensor(result, tensor, passed)
        if into is not None:
            result = into.copy_(result)
        for own, _ in points_here:
            self._stop_after(own)
        return result

    def _touched(self, name: str, point: Point, tensor: Tensor) -> Tensor | None:
        """Edit and keep what lies at a point; returns what goes on in its place, where that is another tensor."""
        edits, wanted = self._now.get(name), name in self._keep
        if point.whole and edits and any(edit.key.kind in ("unit", "direction") or edit.key.place for edit in edits):
            raise NotApplicable(f"{name} can only be edited whole, without a unit: {point.whole}")
        seen = point.read(tensor, self._examples) if wanted or not point.whole else tensor
        passed = edited(seen, edits, point.unit_axis) if edits else None
        now = seen if passed is None else passed
        if self._attends and point.kind == "pattern" and not point.whole:
            self._patterns[point.name.partition(":")[2]] = by_head(now.detach().clone())
        if wanted:
            passed = self._store(name, now, passed)
        return None if passed is None else passed if point.whole else point.layout.together(passed)

    def __getitem__(self, name: str) -> Any:
        """The activation of a layer (or what ``reduce`` made of it) in the last call."""
        if name not in self._values:
            if name in self._keep and not self._running:
                raise NotRun(f"the network does not run {name} for this input; choose another example")
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
        return self._patterns

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
            with self._mode_on.aside():
                return self._answered(name, path, module, output)

        return hook

    def _unbroken(self, path: str, _: nn.Module, args: Any, output: Any) -> None:
        """Refuse where a quantized layer lets go of the gradient: beside another way round it, no error would say so."""
        if not self._running:
            return
        with self._mode_on.aside():
            let = any(tensor.requires_grad for tensor in tensors_in(output))
            if not let and any(tensor.requires_grad for tensor in tensors_in(args)):
                raise NotApplicable(f"{path} is quantized, which has no derivative; use occlusion or kernel_shap")

    def _answered(self, name: str, path: str, module: nn.Module, output: Any) -> Any:
        """Edit, keep and perhaps stop after one call of a module; returns an output that replaces its own, or None."""
        tensor = first_tensor(output)
        edits = self._edits.get(name)
        wanted = self._all or name in self._keep
        late, ends = path in self._late, None
        back: Callable[[Tensor], Any] | None = functools.partial(with_tensor, output, tensor) if tensor is not None else None
        if back is None and (edits or wanted) and holds_packed(output):
            tensor, back = unpacked(output)
            ends, late = steps_in(output), False
        if tensor is None or back is None or not (edits or wanted):
            self._stop_after(name)
            return None
        axis = example_axis(tuple(tensor.shape), self._examples, late, bool(self._late))
        seen = tensor.transpose(0, axis) if axis else tensor
        if edits:
            seen = edited(seen, edits, self._unit_axis(name, module, seen))
        passed: Tensor | None = seen if edits else None
        if wanted and not (self._reduce is not None and ends is None and self._lengths.wait(seen, functools.partial(self._store_late, name))):
            with ending(ends if ends is not None else self._lengths.of(seen)):
                passed = self._store(name, seen, passed)
        self._stop_after(name)
        if passed is None:
            return None
        return with_ends(module, back(passed.transpose(0, axis) if axis else passed), passed, ends)

    def _store_late(self, name: str, seen: Tensor) -> None:
        with ending(self._lengths.of(seen)):
            self._store(name, seen, None)
        self._stop_after(name)

    def _store(self, name: str, seen: Tensor, passed: Tensor | None) -> Tensor | None:
        """Keep an activation; returns what goes on in its place, when that is another tensor than came."""
        if self._reduce is not None:
            # Whoever reads numbers by unit and place finds those of a sparse answer where they belong.
            self._values[name] = self._reduce(name, seen if seen.layout is not torch.sparse_coo else seen.to_dense())
            return passed
        if (own := steps()) is not None:
            self._steps[name] = own
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
        if name == self._until or (self._only and self._keep <= self._values.keys()):
            raise _LayerAnswered

    def _unit_axis(self, name: str, module: nn.Module, seen: Tensor) -> int:
        known = unit_axis(module, seen.ndim)
        if known is not None:
            return known
        assert self._table is not None
        return self._table[name].unit_axis if name in self._table.names else min(1, seen.ndim - 1)
