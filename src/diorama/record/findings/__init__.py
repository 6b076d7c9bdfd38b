"""What may be wrong with a training: one diagnosis a file, each from what was recorded, with its evidence."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.knobs import Plugin
from ...core.selection import layer_key, without_call

if TYPE_CHECKING:
    from ..packing import Floats, Steps
    from ..reader import Reader


@dataclasses.dataclass(frozen=True)
class Found:
    """One diagnosis: what it is, how bad (0 to 1), and what was seen that says so."""

    finding: str
    severity: float
    title: str
    text: str
    evidence: str
    keys: tuple[str, ...] = ()
    """What it is about: layers and steps."""
    action: tuple[str, dict[str, Any]] | None = None
    """A command that may help, with its knobs."""
    step: int = 0
    """Where it was seen first."""


class Finding(Plugin):
    """Base of all findings: a pure function of a run's record."""

    @abstractmethod
    def __call__(self, run: Reader) -> list[Found]:
        """Everything of this kind that the record shows; nothing when all is well."""


def series_between(run: Reader, front: str, back: str) -> Iterator[tuple[str, Steps, Floats]]:
    """Series whose names stand between two texts: what stands there, steps and values."""
    for name in run.series_names:
        if name.startswith(front) and name.endswith(back) and len(name) > len(front) + len(back):
            steps, values = run.series(name)
            if len(steps):
                yield name[len(front) : len(name) - len(back)], steps, values


def layers_between(run: Reader, front: str, back: str) -> Iterator[tuple[str, Steps, Floats]]:
    """The same for layers, each under a name that views know: of a layer that older runs counted anew in each forward
    pass, only the first call."""
    known = {layer["name"] for layer in run.meta.get("layers", ())}
    for name, steps, values in series_between(run, front, back):
        if name in known or without_call(name) == name:
            yield name, steps, values


def since(steps: Steps, bad: np.ndarray) -> int:
    """The first step of the unbroken stretch of bad readings that ends at the last one."""
    good = np.flatnonzero(~bad)
    return int(steps[good[-1] + 1]) if len(good) else int(steps[0])


def matrices(run: Reader) -> dict[str, int]:
    """Sizes of the parameters that have two axes or more: weights, not biases."""
    return {name: int(np.prod(shape)) for name, shape, _ in run.meta.get("parameters", ()) if len(shape) > 1}


def layer_of(parameter: str) -> str:
    """The key of the layer that a parameter belongs to."""
    return layer_key(parameter.rpartition(".")[0] or parameter)


def named(names: list[str], most: int = 3) -> str:
    """A few names in words."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
