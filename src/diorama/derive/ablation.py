"""A network without what one of its modules says: its answer held at its mean, or what it was given handed on in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.errors import NotApplicable
from ..data import nesting
from ..model.axes import example_axis, first_tensor, tensors_in, time_major, with_tensor
from ..model.batch_size import filled
from ..model.mode import inside_transform
from ..model.plain_module import layer_modules, unwrap
from ..scene import Scene
from .losses import losses

SILENT = "is not called for these examples"
SHAPE = "has another shape than what is given"
NUMBERS = "is of another type of numbers than what is given"
SEVERAL = "holds more than the one tensor that is given"
FAILED = "is needed by what follows, which fails on what is given"
_ROWS = "answers with more than one tensor of rows, so it has no mean"
_WHOLE = "answers in whole numbers, which have no mean of their kind"
_UNLIKE = "answers in no one shape, so it has no mean"


class Misfit(BaseException):
    """What was given cannot stand for the answer, which …; not an Exception, so that the model's own error handling lets it through."""


class _Mean:
    """A mean over examples, number by number of those that are finite; where none is, what their plain sum is."""

    def __init__(self) -> None:
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, rows: Tensor) -> None:
        """More examples, on the first axis. *Raises* NotApplicable where they have another shape."""
        rows = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
        finite = rows.isfinite()
        sums = torch.where(finite, rows, 0).sum(0), finite.sum(0), rows.sum(0)
        if self._sums is None:
            self._sums = sums
        elif self._sums[0].shape != sums[0].shape:
            raise NotApplicable(_UNLIKE)
        else:
            self._sums = tuple(a + b for a, b in zip(self._sums, sums, strict=True))  # type: ignore[assignment]

    def of(self, like: Tensor) -> Tensor:
        """The mean in each of so many rows."""
        assert self._sums is not None
        total, count, plain = self._sums
        mean = torch.where(count > 0, total / count.clamp_min(1), plain)
        if mean.shape != like.shape[1:]:
            raise NotApplicable(_UNLIKE)
        return mean.to(like.dtype).expand_as(like).clone()


class MeanHold:
    """A context in which a module of a scene's model answers the same to all: in each of its calls its mean over some live examples.

    *Meaning* all that it answers is held: of a recurrent layer its states too, as they say what its sequence says. Sequences that are
    packed have a mean at each step over the examples that have it. Where the network picks the rows that a module answers (``picked``),
    the mean is over these, in all its calls. What is no finite number counts in no mean.
    *Cost* one forward pass an example.
    *Raises* NotApplicable where it is not called, or an answer has no mean; the message is to be read behind its name.
    """

    def __init__(self, scene: Scene, path: str, chosen: Sequence[int] | NDArray[np.int64], *, picked: bool = False) -> None:
        modules = layer_modules(scene.model)
        self._root, self._module, self._picked = unwrap(scene.model), modules[path], picked
        late = time_major(modules)
        self._late, self._anywhere = path in late, bool(late)
        self._means: dict[tuple[int, int, int], _Mean] = {}
        self._examples = self._call = 0
        with _HookScope(self._root.register_forward_pre_hook(self._begun, with_kwargs=True), self._module.register_forward_hook(self._noted)):
            losses(scene, chosen)
        if not self._means:
            raise NotApplicable(SILENT)

    def __enter__(self) -> None:
        self._hooks = _HookScope(
            self._root.register_forward_pre_hook(self._begun, with_kwargs=True), self._module.register_forward_hook(self._answered),
        )

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()

    def _begun(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._examples, self._call = nesting.size([*args, *kwargs.values()]), 0

    def _noted(self, module: nn.Module, given: Any, answer: Any) -> None:
        for place, rows in self._rows(given, answer):
            self._means.setdefault(place, _Mean()).add(rows)

    def _answered(self, module: nn.Module, given: Any, answer: Any) -> Any:
        means: dict[int, list[Tensor]] = {}
        for place, rows in self._rows(given, answer, whole=True):
            if place not in self._means:
                raise NotApplicable(_UNLIKE)
            means.setdefault(place[1], []).append(self._means[place].of(rows))
        held = answer
        for k, piece in enumerate(_pieces(answer)):
            if k not in means:
                continue
            if isinstance(piece, PackedSequence):
                held = with_tensor(held, piece.data, torch.cat(means[k]))
            else:
                held = with_tensor(held, piece, means[k][0].movedim(0, self._axis(k, piece) or 0))
        return held

    def _rows(self, given: Any, answer: Any, *, whole: bool = False) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
        """What is answered in this call, with the examples on the first axis: its call, its number there, and its step where it is packed.

        Rows that were filled in, for a model that takes one number of examples alone, are there where the ``whole`` is asked for.
        """
        if inside_transform():
            raise NotApplicable("runs inside a transform of torch.func, where its answers cannot be kept")
        call, self._call = self._call, self._call + 1
        if self._picked:
            yield (0, 0, 0), _plain(answer)
            return
        known = list(map(id, tensors_in(given)))
        part = None if whole else filled()
        for k, piece in enumerate(_pieces(answer)):
            if isinstance(piece, PackedSequence):
                for step, rows in enumerate(piece.data.split(piece.batch_sizes.tolist())):
                    yield (call, k, step), rows
            elif piece.numel() > 1 and id(piece) not in known:
                if not (piece.is_floating_point() or piece.is_complex()):
                    raise NotApplicable(_WHOLE)
                axis = self._axis(k, piece)
                if axis is None:
                    raise NotApplicable(_ROWS)
                rows = piece.movedim(axis, 0)
                yield (call, k, 0), rows if part is None else rows[: part.real]

    def _axis(self, k: int, tensor: Tensor) -> int | None:
        """Which axis of a tensor that is answered counts the examples; None where none does."""
        if isinstance(self._module, nn.RNNBase) and tensor.ndim == 3:
            return int(bool(k) or not self._module.batch_first)
        shape = tuple(tensor.shape)
        likely = example_axis(shape, self._examples, self._late, self._anywhere)
        # The states of a recurrent layer inside a block are (layers, examples, units).
        return next((axis for axis in (likely, 0, 1) if axis < len(shape) and shape[axis] == self._examples), None)


def _plain(answer: Any) -> Tensor:
    """A plain answer of numbers with rows."""
    if not isinstance(answer, Tensor) or not answer.ndim:
        raise NotApplicable(_ROWS)
    if not (answer.is_floating_point() or answer.is_complex()):
        raise NotApplicable(_WHOLE)
    return answer


def _pieces(answer: Any) -> Iterator[Tensor | PackedSequence]:
    """The tensors of an answer in their order; a packed sequence is one."""
    if isinstance(answer, Tensor | PackedSequence):
        yield answer
    elif isinstance(answer, Mapping):
        for part in answer.values():
            yield from _pieces(part)
    elif isinstance(answer, tuple | list):
        for part in answer:
            yield from _pieces(part)
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        for field in dataclasses.fields(answer):
            yield from _pieces(getattr(answer, field.name))


class PassThrough:
    """A context in which a module hands on what it was given, where its answer has its form.

    *Raises* Misfit, from the pass, where it has not; the message is to be read behind "its answer". The module itself stays in its
    place, as what is around it may read its settings and weights.
    """

    def __init__(self, model: nn.Module, path: str) -> None:
        self._module = layer_modules(model)[path]
        self._given: list[Tensor | None] = []
        self.called = False

    def __enter__(self) -> PassThrough:
        self._hooks = _HookScope(
            self._module.register_forward_pre_hook(self._entered, with_kwargs=True), self._module.register_forward_hook(self._left),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()

    def _entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next(tensors_in((args, kwargs)), None)
        # The module may write into what it is given.
        self._given.append(None if given is None else given.clone())

    def _left(self, module: nn.Module, _: Any, answer: Any) -> Any:
        self.called = True
        given, own = self._given.pop(), first_tensor(answer)
        if given is None or own is None:
            raise Misfit(SEVERAL)
        if given.shape != own.shape:
            raise Misfit(SHAPE)
        if given.dtype != own.dtype:
            raise Misfit(NUMBERS)
        # What an attention answers beside is how it looked, and no part of what it hands on.
        if answer is own or isinstance(module, nn.MultiheadAttention):
            return with_tensor(answer, own, given)
        raise Misfit(SEVERAL)


class _HookScope:
    """A context at the end of which hooks are taken away."""

    def __init__(self, *handles: Any) -> None:
        self._handles = handles

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
