"""The finding `duplicated_units`."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DioramaError
from ...core.knobs import knob
from ...core.selection import number_key
from ..clipping import clipped_at
from . import Diagnosis, Finding, called, from_zero, layer_of, named, resting

if TYPE_CHECKING:
    from ..reader import RunReader

_MOST = 32_000_000
"""Numbers that a network's weights may hold together for its units to be compared."""
_FEWEST = 4
"""Inputs of a unit from which on two do not weigh them alike by chance."""
_KEPT = 64
"""Snapshots whose answer is kept: they do not change any more."""
_ALIKE = 1e-5
"""As a share of their length, two units of the same weights lie no farther apart than this."""
_ONE, _NEARLY = 0.01, 0.8
"""Weights are one number within this share of it, where so many of them are."""
_EQUAL = "the very weights of another one"
_SCALED = "the weights of another one but for a factor"
_NEGATED = "the weights of another one or their negatives"
_known: OrderedDict[tuple[str, str, int], dict[str, tuple[int, int, str]]] = OrderedDict()


class DuplicatedUnits(Finding):
    """Units of one layer whose weights are the same, wherever they stand in it: they answer the same, and are one unit that is paid for twice.

    *Meaning* units that begin alike get the same gradient and never come apart: a layer that was begun with one number, or by
    copying rows. Units of a grouped convolution are compared with those that read the same channels.
    Where a ReLU or a batch norm takes the answers, weights that differ by a factor above 0 alone count as the same, since the
    next layer's weights make up for it; where a tanh does, so do negatives. Units whose weights are all 0 are not counted (a layer may begin so
    on purpose), nor those most of whose weights the loop cuts to one end, nor layers that nobody trains, nor the signs that a first step of
    Adam leaves of zeros.
    It is read from the last snapshot, of networks of at most 32 million weights.
    """

    rests = ("snapshots",)

    share: float = knob(0.2, "The share of a layer's units that must have a twin.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all layers that are concerned."""
        steps = run.snapshots
        sizes = [int(np.prod(shape)) for _, shape, _ in run.meta.get("parameters", ())]
        if not steps or not sizes or sum(sizes) > _MOST:
            return []
        aside, now = resting(run), _twins(run, steps[-1])
        told = {name: twins / units for name, (twins, units, _) in now.items() if name not in aside and twins and twins >= self.share * units}
        if not told:
            return []
        since = _since(run, steps, list(told))
        names = sorted(told, key=lambda name: -told[name])
        worst, layers = names[0], list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
        return [Diagnosis(
            self.name, 0.5 + 0.3 * told[worst], "Units are copies of each other",
            f"{now[worst][0]} of the {now[worst][1]} units of {called(layers[0])} have {now[worst][2]}, so that their answers tell the next "
            f"layer nothing that the other's do not; concerned {'is' if len(layers) == 1 else 'are'} {named(layers)}.",
            f"units with a twin at step {steps[-1]}: " + ", ".join(f"{called(name)} {100 * told[name]:.0f} %" for name in names[:4]),
            (*dict.fromkeys(layer_of(name) for name in names[:8]), number_key("step", since)), None, since, "Certain.",
            "Begin the weights by chance (the usual initialization), or reinitialize the copies.", "weights",
        )]


def _since(run: RunReader, steps: list[int], names: list[str]) -> int:
    """The first snapshot from which on each of these weights has units with a twin: halved, as copies hardly ever come apart again."""
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2 if low else 0
        there = _twins(run, steps[middle])
        if all(there.get(name, (0, 1, ""))[0] for name in names):
            high = middle
        else:
            low = middle + 1
    return steps[high]


def _twins(run: RunReader, step: int) -> dict[str, tuple[int, int, str]]:
    """By weight: how many of its units have the weights of another one, how many there are, and how far they are the same."""
    key = (str(run.path), run.born, step)
    if key not in _known:
        try:
            numbers = run.numbers(step)
        except (DioramaError, OSError):
            return {}
        turned = {f"{layer['name']}.weight" for layer in run.meta.get("layers", ()) if "Transpose" in str(layer.get("kind", ""))}
        groups = {str(layer["weight"]): int(layer.get("groups") or 1) for layer in run.meta.get("layers", ()) if layer.get("weight")}
        alike, found, end = _alike(run), dict[str, tuple[int, int, str]](), clipped_at(numbers)
        zero = from_zero(run)
        for name, array in numbers.items():
            if array.ndim > 1 and array.size and name not in turned and not (name in zero and _signs(array)):
                bias = numbers.get(name.removesuffix("weight") + "bias") if name.endswith("weight") else None
                rows = array.reshape(len(array), -1)
                if end:  # units most of whose weights lie where the loop cuts them are alike by that
                    rows = np.where((np.abs(rows) == end).mean(1, keepdims=True) > 0.5, 0, rows)
                if bias is not None and bias.ndim == 1 and len(bias) == len(rows):
                    rows = np.column_stack([rows, np.where(rows.any(1), bias, 0)])  # a bias alone makes no copies
                # Units of a grouped convolution read other channels than those of other groups, and may well weigh them alike.
                parts = np.array_split(rows, max(1, min(groups.get(name, 1), len(rows))))
                equal, way = sum(map(twins, parts)), alike.get(name, _EQUAL)
                more = sum(twins(part, scaled=way == _SCALED, negated=way == _NEGATED) for part in parts) if way != _EQUAL else equal
                found[name] = (more, len(rows), way) if more > equal else (equal, len(rows), _EQUAL)
        _known[key] = found
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return _known[key]


def _signs(array: NDArray[np.float32]) -> bool:
    """Whether most weights are one number, up or down: all that a first step of Adam or of its kin leaves of weights that begin at zero. Rows of few
    such weights, as of adapters, are the same by chance, and come apart at the next step."""
    sizes = np.abs(array[array != 0])
    return bool(len(sizes)) and float(np.mean(np.abs(sizes - np.median(sizes)) <= _ONE * np.median(sizes))) >= _NEARLY


def _alike(run: RunReader) -> dict[str, str]:
    """By weight, where more than equal weights makes units the same: how far weights may differ."""
    layers = sorted(run.meta.get("layers", ()), key=lambda layer: layer.get("order", 0))
    found = dict[str, str]()
    for layer, after in zip(layers, [*layers[1:], dict[str, object]()], strict=False):
        kind = str(after.get("kind", ""))
        if not layer.get("weight") or layer.get("complex"):
            continue
        if layer.get("rectified") or (kind.startswith("BatchNorm") and after.get("units") == layer.get("units")):
            found[layer["weight"]] = _SCALED
        elif layer.get("squashed") == "tanh" or kind == "Tanh":
            found[layer["weight"]] = _NEGATED
    return found


def twins(rows: NDArray[np.float32], *, scaled: bool = False, negated: bool = False) -> int:
    """How many rows are equal to another one but for rounding, and if so wished for a factor above 0 or for their sign; rows of
    nothing, and short ones, are none."""
    if rows.shape[1] < _FEWEST or not np.isfinite(rows).all():
        return 0
    largest = float(np.abs(rows).max())
    rows = rows / np.float32(largest) if largest > 0 else rows  # squares of what a loss threw away would be no numbers
    sizes = np.linalg.norm(rows, axis=1)
    kept = rows[sizes > 0]
    if len(kept) < 2:
        return 0
    if scaled:
        kept = kept / sizes[sizes > 0, None]
    # Equal rows come to lie beside each other when they are ordered by where a line that was drawn by chance puts them.
    line = np.asarray(np.random.default_rng(0).normal(size=rows.shape[1]), np.float32)
    with np.errstate(invalid="ignore"):  # all is finite, and a product of matrices may yet raise the processor's flag
        if negated:
            kept = kept * np.where(kept @ line < 0, -1, 1).astype(kept.dtype)[:, None]
        kept = kept[np.argsort(kept @ line, kind="stable")]
    apart = np.linalg.norm(np.diff(kept, axis=0), axis=1)
    same = apart <= _ALIKE * np.linalg.norm(kept[1:], axis=1)
    return int((np.append(same, False) | np.append(False, same)).sum())
