"""What is explained: a class, a unit, a place, a layer, a difference, or any one number an example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, arange, tensor

from ..core.errors import NotApplicable, NotFound, UsageError, not_found
from ..core.selection import KINDS, Key
from .axes import likely_unit_axis
from .capture import Capture
from .layers import LayerTable, by_unit
from .outputs import Wanted, pick
from .tasks import UNORDERED


@runtime_checkable
class OwnTarget(Protocol):
    """What can be a target itself, such as a direction among units."""

    def target(self, table: LayerTable | None = None) -> Target:
        """Its value as a target."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One number an example, taken from a model's output and from what a capture kept.

    *Meaning* a class is its score (at the last step of a sequence, the mean over the places of a map); a unit is its
    mean over all its places, or its value at one (``@5,8``); a layer is the mean of all its activations, or of all its
    units at one place; a pair is the first minus the second.
    *Shapes* (n,).
    """

    text: str
    keep: tuple[str, ...] = ()
    """Layers that the capture has to keep."""
    _take: Callable[[Any, Capture], Tensor] = dataclasses.field(default=lambda output, look: output, repr=False)

    call: Callable[..., Any] | None = dataclasses.field(default=None, repr=False)
    """The function that the target is (or is made of), where its text does not say it: two of them may share a text."""

    some: Callable[[slice], Target] | None = dataclasses.field(default=None, repr=False, compare=False)
    """The target of some of the examples alone, where it is another one for each."""

    @classmethod
    def of(
        cls,
        value: Any,
        classes: Sequence[str] = (),
        *,
        outputs: Wanted = None,
        layers: LayerTable | None = None,
        task: str = "",
        ends: Sequence[int] = (),
    ) -> Target:
        """Read a target: a class's index or name, a key, a pair of targets, a direction, or a callable from
        the output to numbers.

        ``outputs`` picks the scores from a tuple or dict. ``task`` says what they are: a single score stands for two
        classes in a classification, or where two classes have names; else it is one number. ``layers`` says where
        the units of a layer lie; without it, the place is guessed from the activation's shape. ``ends`` says of texts at
        which place each is asked, where that is not the last: a batch may hold the texts several times over, all of them in each turn.
        *Raises* UsageError for a class, unit or place that is not there.
        """
        if isinstance(value, Target):
            return value
        if isinstance(value, OwnTarget):
            return value.target(layers)
        if callable(value):
            return cls(getattr(value, "__name__", "a function"), (), lambda output, look: _numbers(value(output)), value)
        if isinstance(value, tuple | list):
            if len(value) != 2:
                raise UsageError(f"a difference wants two targets, got {len(value)}")
            a, b = (cls.of(part, classes, outputs=outputs, layers=layers, task=task, ends=ends) for part in value)
            return a._less(b)
        key = _key(value, classes)
        if key.kind == "class":
            number = key.number
            name = called(number, classes, task)
            two = task == "classification" or (not task and len(classes) == 2)

            def at(places: tuple[int, ...]) -> Target:
                return cls(name, (), lambda output, look: _class(pick(output, outputs)[0], number, two, places), some=some(places))

            def some(places: tuple[int, ...]) -> Callable[[slice], Target] | None:
                return (lambda part: at(places[part])) if places else None

            return at(tuple(ends))
        if layers is not None:
            key = layers.keyed(key)
        return cls(str(key), (key.name,), lambda output, look: _inside(look[key.name], key, layers))

    def __call__(self, output: Any, look: Capture) -> Tensor:
        """The target's value for each example, from the output of a capture that kept ``keep``."""
        return self._take(output, look)

    def __str__(self) -> str:
        return self.text

    def _less(self, other: Target) -> Target:
        """The difference of two targets."""
        some: Callable[[slice], Target] | None = None
        if self.some is not None or other.some is not None:
            def some(part: slice) -> Target:
                a, b = (one if one.some is None else one.some(part) for one in (self, other))
                return a._less(b)

        return Target(
            f"{self} − {other}", (*self.keep, *other.keep), lambda output, look: self(output, look) - other(output, look),
            self.call or other.call, some,
        )


def called(number: int, classes: Sequence[str] = (), task: str = "") -> str:
    """What one of the numbers that a model answers with is called: its class where that has a name, else by its number as the task has it."""
    if 0 <= number < len(classes):
        return classes[number]
    kind = "class" if task in ("classification", "multi_label", "segmentation") else "token" if task == "next_token" else "output"
    return f"{kind} {number}"


def _key(value: Any, classes: Sequence[str]) -> Key:
    if isinstance(value, Tensor | np.generic) and not np.ndim(value):
        value = value.item()
    if isinstance(value, Key):
        key = value
    elif isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise UsageError(f"a class is numbered from 0, got {value}")
        key = Key("class", "", (value,))
    elif isinstance(value, str) and value in classes:
        key = Key("class", "", (list(classes).index(value),))
    elif isinstance(value, str) and value.partition(":")[0] in KINDS and ":" in value:
        key = Key.parse(value)
    elif isinstance(value, str) and value.isdecimal():
        key = Key("class", "", (int(value),))
    elif isinstance(value, str) and "/" in value:
        key = Key.parse(f"unit:{value}")
    elif isinstance(value, str) and not classes:
        raise NotFound(f"no class named {value!r}, as none has a name here: pass classes=[…], or a class by its number")
    elif isinstance(value, str):
        raise not_found("class", value, classes)
    else:
        raise UsageError(f"a target is a class, a key, a pair or a callable, got {type(value).__name__}")
    if key.kind not in ("class", "unit", "layer"):
        raise UsageError(f"a target is a class, a unit or a layer, got {str(key)!r}")
    return key


def _numbers(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.ndim == 0:
        # One number is one for one example; where there are more, who asked sees that they are too few.
        return value[None]
    if not isinstance(value, Tensor) or value.ndim != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UsageError(f"a target's callable returns one number an example, shape (n,), got {got}")
    return value


def _class(scores: Tensor, number: int, two: bool, ends: tuple[int, ...]) -> Tensor:
    """The score of one class for each example, or one of its plain numbers; ``two``: a single score tells two classes apart."""
    scores = scores[None] if scores.ndim == 0 else scores
    if scores.is_complex():
        raise NotApplicable(UNORDERED)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim == 3:
        scores = _at(scores, ends) if ends else scores[:, -1]
    single = scores.shape[1] == 1
    if single and number and not two:
        raise UsageError(
            f"the model answers with one number, which is target 0, got {number}; where it tells two classes apart, say "
            "task='classification'"
        )
    if number >= (2 if single else scores.shape[1]):
        raise UsageError(f"the model has classes 0 to {max(scores.shape[1], 2) - 1}, got {number}")
    if single and two and scores.ndim == 2:
        # One score for two classes speaks for the second and against the first.
        return scores[:, 0] if number == 1 else -scores[:, 0]
    return scores[:, number].flatten(1).mean(1) if scores.ndim > 2 else scores[:, number]


def _at(scores: Tensor, ends: tuple[int, ...]) -> Tensor:
    """Of scores at each place of texts those at the place where each is asked."""
    times, rest = divmod(len(scores), len(ends))
    if rest:
        raise UsageError(f"the target is asked at the ends of {len(ends)} texts, and the batch holds {len(scores)}")
    return scores[arange(len(scores), device=scores.device), tensor([*ends] * times, device=scores.device)]


def _inside(activation: Tensor, key: Key, layers: LayerTable | None) -> Tensor:
    """A unit, one of its places, or a whole layer for each example."""
    if layers is not None and (reason := layers[key.name].reason) and len(activation) != 1:
        raise NotApplicable(
            f"{key.name} {reason}, so it cannot be said which of its numbers is whose; explain a class, or one example by its gradient"
        )
    units = units_of(activation, key.name, layers)
    whole = key.kind == "layer"
    if not whole and key.number >= units.shape[1]:
        raise UsageError(f"{key.name} has units 0 to {units.shape[1] - 1}, got {key.number}")
    places = units.shape[2:]
    unit = units if whole else units[:, key.number]
    if not key.place:
        return unit.flatten(1).mean(1) if unit.ndim > 1 else unit
    if len(key.place) != len(places) or any(k >= n for k, n in zip(key.place, places, strict=True)):
        raise UsageError(f"the places of {key.name} have shape {tuple(places)}, got {str(key)!r}")
    where: tuple[Any, ...] = (..., *key.place)
    return unit[where].mean(1) if whole else unit[where]


def units_of(activation: Tensor, layer: str, layers: LayerTable | None) -> Tensor:
    """A layer's activation (n, units, …); without a table the units' axis is guessed from the shape."""
    if layers is not None:
        return by_unit(layers[layer], activation)
    if activation.ndim == 1:
        return activation[:, None]
    return activation.movedim(likely_unit_axis(tuple(activation.shape), {}), 1)
