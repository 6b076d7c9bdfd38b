"""Changes that are applied while looking and leave the model untouched: lesions, other values, weights, patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError, NotApplicable, UsageError, not_found
from ..core.numerals import joined
from ..core.selection import Key, within, without_call
from ..data.fingerprint import fingerprint
from .batch_size import filled
from .hidden_ops import checkpointed
from .layers import main_weight

_FAILS = (RuntimeError, LookupError, ValueError, TypeError, AssertionError, ArithmeticError)
ACTIONS = ("lesion", "value", "scale", "patch", "move")


@dataclasses.dataclass(frozen=True)
class Stride:
    """One length along a direction among a layer's units: ``step`` (units,)."""

    layer: str
    step: Tensor


@dataclasses.dataclass(frozen=True)
class Edit:
    """One change to what a model computes.

    *Meaning* ``lesion`` silences (0), ``value`` sets, ``scale`` multiplies, ``patch`` puts in given activations: of a
    ``unit:layer/3`` (all its places, or one: ``@5,8``), of a
    whole ``layer:name`` (everywhere, or all units at one place), of a ``head:name/4`` (lesion and
    scale only). A ``weight:layer/3,1`` or ``weight:layer.bias/3`` takes lesion, value and scale. A ``direction:name`` takes
    ``move``, so many lengths along it at all places of its layer: a scene finds it by its name, at each step of a run
    anew (``direction:dictionary/block.2.mlp/17`` is what a feature adds); here ``along`` is one step. Of a recurrent layer ``scale`` may
    be a tensor, one factor a unit, by which slopes are taken.
    *Raises* UsageError when it says no action or several.
    """

    key: Key
    lesion: bool = False
    value: float | None = None
    scale: float | Tensor | None = None
    patch: Tensor | None = dataclasses.field(default=None, compare=False)
    move: float | None = None
    along: Stride | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, Key):
            object.__setattr__(self, "key", Key.parse(str(self.key)))
        if self.key.kind not in ("unit", "layer", "head", "weight", "direction"):
            raise UsageError(f"an edit changes a unit, a layer, a head, a weight or a direction, got {str(self.key)!r}")
        chosen = [name for name in ACTIONS if getattr(self, name) is not None and getattr(self, name) is not False]
        if len(chosen) != 1:
            said = " and ".join(chosen) or "none"
            raise UsageError(f"an edit of {self.key} wants one of {', '.join(ACTIONS)}, got {said}")
        told = getattr(self, chosen[0])
        if chosen[0] in ("value", "scale", "move") and (isinstance(told, str | bool) or not hasattr(told, "__float__")):
            raise UsageError(f"{chosen[0]} wants a number, got {told!r}")
        if (self.key.kind == "direction") != (chosen[0] == "move"):
            raise UsageError(f"a direction takes move, so many lengths along it, and nothing else does; got {chosen[0]} for {self.key}")
        if self.move is not None and not math.isfinite(self.move):
            raise UsageError(f"move wants a finite number of lengths, got {self.move!r}")
        if (self.key.kind == "head" and chosen[0] in ("value", "patch")) or (
            self.key.kind == "weight" and chosen[0] == "patch"
        ):
            raise UsageError(f"a {self.key.kind} cannot take a {chosen[0]}; use lesion or scale")

    @classmethod
    def asked(cls, key: Key, change: Mapping[str, Any]) -> Edit:
        """The edit that a change by name asks for. *Raises* UsageError for a change that there is not."""
        if unknown := set(change) - set(ACTIONS):
            raise UsageError(f"edit knows no {', '.join(sorted(unknown))}; a change is one of {', '.join(ACTIONS)}")
        return cls(key, **change)

    @property
    def layer(self) -> str:
        """The layer whose output changes; for a weight the layer or parameter that holds it."""
        return self.along.layer if self.along is not None else self.key.name


    def to_json(self) -> dict[str, Any]:
        """The edit as plain data. *Raises* UsageError for a patch, which is not plain."""
        if self.patch is not None:
            raise UsageError(f"the patch of {self.key} holds activations and cannot be sent as text")
        chosen = {name: getattr(self, name) for name in ("lesion", "value", "scale", "move")}
        return {"key": str(self.key), **{name: v for name, v in chosen.items() if v is not None and v is not False}}

    def named(self) -> dict[str, Any]:
        """All that the edit does, as plain data that tells it from any other."""
        if self.along is not None:
            return {**self.to_json(), "along": fingerprint({self.along.layer: self.along.step})}
        if self.patch is None:
            return self.to_json()
        return {"key": str(self.key), "patch": fingerprint({"patch": self.patch})}

    @classmethod
    def of(cls, edit: Edit | Mapping[str, Any]) -> Edit:
        """An edit from itself or from plain data."""
        if isinstance(edit, Edit):
            return edit
        known = {"key", *ACTIONS, "along"}
        for name in edit:
            if name not in known:
                raise not_found("part of an edit", name, known)
        return cls(**edit)

    def __str__(self) -> str:
        if self.lesion:
            return f"{self.key} silenced"
        if self.value is not None:
            return f"{self.key} set to {self.value:g}"
        if self.move is not None:
            return f"moved {self.move:+g} lengths along {self.key.name}"
        return f"{self.key} times {self.scale:g}" if self.scale is not None else f"{self.key} patched"


def refuse_again() -> None:
    """Refuse an edit inside a checkpoint while gradients are recorded: the way back would compute that part anew, without the edit.

    *Raises* NotApplicable with the way out.
    """
    if torch.is_grad_enabled() and checkpointed():
        raise NotApplicable(
            "the model's checkpoints compute parts of it again on the way back, without the edits; call it without "
            "torch.utils.checkpoint, or use occlusion"
        )


def edited(tensor: Tensor, edits: Sequence[Edit], axis: int) -> Tensor:
    """An activation (example first, units on ``axis``) with all edits of its layer applied; the tensor itself stays.

    *Raises* what :func:`refuse_again` raises.
    """
    refuse_again()
    result = tensor.clone()
    for edit in edits:
        if edit.along is not None:
            shape = [1] * result.ndim
            shape[min(axis, result.ndim - 1)] = -1
            result += _moved(edit, edit.along, result, result.shape[min(axis, result.ndim - 1)]).reshape(shape)
            continue
        place = _place(edit, result, axis)
        result[place] = _changed(edit, result[place])
    return result


def _place(edit: Edit, tensor: Tensor, axis: int) -> tuple[Any, ...]:
    """The index of what an edit changes."""
    where: list[Any] = [slice(None)] * tensor.ndim
    if edit.key.kind != "layer":
        units = tensor.shape[axis] if tensor.ndim > 1 else 1
        if edit.key.number >= units:
            raise UsageError(f"{edit.layer} has units 0 to {units - 1}, got {edit.key.number}")
        if tensor.ndim > 1:
            where[axis] = edit.key.number
    if edit.key.place:
        others = [k for k in range(1, tensor.ndim) if k != axis]
        if len(edit.key.place) != len(others):
            raise UsageError(f"a place in {edit.layer} has {len(others)} numbers, got {str(edit.key)!r}")
        for k, position in zip(others, edit.key.place, strict=True):
            if position >= tensor.shape[k]:
                raise UsageError(f"{edit.layer} has places 0 to {tensor.shape[k] - 1} on this axis, got {position}")
            where[k] = position
    return tuple(where)


def _moved(edit: Edit, along: Stride, like: Tensor, units: int) -> Tensor:
    """What is added to each unit."""
    if not like.is_floating_point() and not like.is_complex():
        raise UsageError(f"{along.layer} holds whole numbers, which cannot be moved along {edit.key.name}")
    if len(along.step) != units:
        raise UsageError(f"{along.layer} has {units} units, and a length along {edit.key.name} has {len(along.step)}")
    return (edit.move or 0.0) * along.step.to(like)


@contextmanager
def failing(edits: Sequence[Edit]) -> Iterator[None]:
    """Around a pass with edits: an error of torch's or of the model's is told as one of the edited pass.

    *Raises* NotApplicable, which names the edits.
    """
    try:
        yield
    except _FAILS as error:
        if not edits or isinstance(error, DioramaError) or type(error).__name__ == "OutOfMemoryError":
            raise
        said = " ".join(str(error).split())[:300]
        raise NotApplicable(f"the forward pass fails with {', '.join(map(str, edits))}: {type(error).__name__}: {said}") from error


def _held(edit: Edit, wanted: Tensor | float, old: Tensor) -> None:
    """Refuse numbers that a tensor's type cannot hold: it would hold others, and say nothing. *Raises* UsageError."""
    found = torch.as_tensor(wanted).cpu()
    if found.is_complex() or old.is_complex() or not found.numel():
        return
    found = found.double()
    if old.is_floating_point():
        if bool((found.isfinite() & (found.abs() > torch.finfo(old.dtype).max)).any()):
            raise UsageError(f"{edit} is beyond what {str(old.dtype).removeprefix('torch.')} holds, {torch.finfo(old.dtype).max:g}")
        return
    low, high = (0, 1) if old.dtype == torch.bool else (torch.iinfo(old.dtype).min, torch.iinfo(old.dtype).max)
    if not bool(((found == found.round()) & (found >= low) & (found <= high)).all()):
        holds = "nothing but 0 and 1" if old.dtype == torch.bool else f"whole numbers of {str(old.dtype).removeprefix('torch.')}"
        raise UsageError(f"{edit.layer} holds {holds}, so it cannot be changed like this: {edit}")


def _changed(edit: Edit, old: Tensor) -> Tensor:
    if edit.patch is not None:
        if not old.is_floating_point():
            _held(edit, edit.patch, old)
        patch = edit.patch.to(old)
        part = filled()
        if part is not None and patch.ndim == old.ndim:
            patch = part.select(patch)
        try:
            return patch.expand_as(old)
        except RuntimeError:
            want, got = tuple(old.shape), tuple(patch.shape)
            raise UsageError(f"a patch of {edit.key} has shape {want}, got {got}") from None
    if edit.scale is not None:
        if not old.is_floating_point():
            _held(edit, old.cpu().double() * edit.scale if not old.is_complex() else old, old)
        # The slope by factors needs the numbers that what comes back is written over.
        return (old.clone() if isinstance(edit.scale, Tensor) else old) * edit.scale
    if edit.value is not None:
        _held(edit, edit.value, old)
    return torch.full_like(old, edit.value or 0.0)


class EditedWeights:
    """A context in which a model runs with some single weights changed; the parameters themselves are never written."""

    def __init__(self, model: nn.Module, modules: Mapping[str, nn.Module], edits: Sequence[Edit]) -> None:
        self._edits = edits
        self._model, self._modules = model, modules
        self._lent: list[tuple[nn.Module, str, nn.Parameter]] = []

    def __enter__(self) -> EditedWeights:
        try:
            for edit in self._edits:
                self._apply(edit)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, original in reversed(self._lent):
            setattr(module, name, original)
        self._lent.clear()

    def _apply(self, edit: Edit) -> None:
        path, _, name = parameter_name(edit.layer, self._modules, self._model).rpartition(".")
        original = (self._modules[path] if path else self._model).get_parameter(name)
        index = edit.key.index
        if len(index) != original.ndim or any(k >= n for k, n in zip(index, original.shape, strict=True)):
            raise UsageError(f"{path}.{name} has shape {tuple(original.shape)}, got the position {index}")
        value = original.detach().clone()
        value[index] = _changed(edit, value[index])
        changed = nn.Parameter(value, original.requires_grad)
        for module in self._model.modules():
            # A tied weight changes wherever it stands.
            for own, parameter in list(module._parameters.items()):
                if parameter is original:
                    self._lent.append((module, own, original))
                    setattr(module, own, changed)


def parameter_name(name: str, modules: Mapping[str, nn.Module], model: nn.Module) -> str:
    """The parameter that a weight's key means: one of that name, or the main weight of the layer of that name."""
    known = dict(model.named_parameters(remove_duplicate=False))
    if name in known:
        return name
    path = name if name in modules else without_call(name)
    if path in modules:
        weight = main_weight(path, modules[path])
        if weight is not None:
            return weight
        if own := [within(path, each) for each, _ in modules[path].named_parameters(recurse=False)]:
            raise UsageError(f"the layer {name!r} has no matrix of weights that its name alone could mean; nearest: {joined([*map(repr, own)])}")
        raise UsageError(f"the layer {name!r} has no weights to edit")
    raise not_found("weight", name, [*known, *modules])


def edited_step(h: Tensor, edits: Sequence[Edit], step: int) -> Tensor:
    """The state (n, hidden) of a recurrent layer after one step, with its edits; a place in such a layer is a step."""
    refuse_again()
    result = h.clone()
    for edit in edits:
        if edit.key.place and edit.key.place != (step,):
            continue
        if edit.along is not None:
            result = result + _moved(edit, edit.along, result, h.shape[1])
            continue
        whole = edit.key.kind == "layer"
        if not whole and edit.key.number >= h.shape[1]:
            raise UsageError(f"{edit.layer} has units 0 to {h.shape[1] - 1}, got {edit.key.number}")
        where: tuple[Any, ...] = (slice(None),) if whole else (slice(None), edit.key.number)
        now = edit
        if edit.patch is not None and not edit.key.place:
            now = dataclasses.replace(edit, patch=edit.patch[:, step] if edit.patch.ndim > 1 else edit.patch)
        result[where] = _changed(now, result[where])
    return result
