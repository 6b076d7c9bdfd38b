"""The finding `dead_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.numerals import percent
from ...core.selection import layer_key
from . import Diagnosis, Finding, called, layers_between, named, series, since
from . import last as last_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..reader import RunReader
    from ..store_bytes import Floats, Steps


_FEW = 16
"""A unit that answers to every sixth example is silent to so many by chance once in twenty times; of fewer nothing is told."""
_ALMOST_ALL = 0.9
"""From this share on a layer passes almost nothing."""
_SINGLE = 4
"""Fewer units than this, of a layer of which most still answer, are no alarm: so many die by chance, and little is lost with them."""
_PLAIN = ("Embedding", "EmbeddingBag", "LayerNorm", "GELU", "SiLU", "Tanh", "Sigmoid", "LSTM", "GRU", "Softmax")
"""Kinds of layers whose units no rectifier cuts."""


class DeadUnits(Finding):
    """Units that answer nothing to a whole batch, several readings in a row.

    *Meaning* a ReLU that is never above zero passes no gradient, so that nothing but a change of the layers before it
    brings the unit back. It is an alarm where the share grew during the training (often a learning rate was too high for
    a while), or where almost the whole layer is silent; units that were silent from the first reading on cost little, and
    are told in one calm line. Layers without a rectifier have no dead units. Of a layer that is called for a part of the examples (an expert) the
    share is that of those that came to it; where too few came, or none lately, nothing is told.
    *Error* in batches of fewer than 16 examples many units are silent by chance: there it is told of layers that pass almost nothing alone.
    """

    rests = ("activations/*/dead:readings",)
    about = "rectified"

    share: float = knob(0.1, "The share of a layer's units from which on it is told.", low=0.0, high=1.0)
    growth: float = knob(0.05, "By which share of the units it must have grown to be an alarm.", low=0.0, high=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for each layer in which the units die first."""
        order = {layer["name"]: layer.get("order", 0) for layer in run.meta.get("layers", ())}
        plain = {layer.get("name") for layer in run.meta.get("layers", ()) if not _rectified(layer)}
        plain |= {weight.rpartition(".")[0] for weight, *_ in run.meta.get("parameters", ())} - set(order)  # what followed was not seen
        dead = {name: (steps, values) for name, steps, values in layers_between(run, "activations/", "/dead")}
        late = sorted({int(step) for steps, _ in dead.values() for step in steps[-self.readings :]})[-self.readings :]
        found, before = [], 0.0
        calm: list[tuple[str, float]] = []
        began = 0
        counts = last_of(run, "batch/count", self.readings)
        few = bool(len(counts)) and float(np.median(counts)) < _FEW
        units = {layer["name"]: int(layer.get("units") or 0) for layer in run.meta.get("layers", ())}
        came = {name: set(series(run, f"activations/{name}/came")[0].tolist()) for name in dead}
        everywhere = set.intersection(*came.values()) if came else set()  # a batch that goes through in small parts
        came = {name: steps - everywhere for name, steps in came.items()}
        for name in sorted(dead, key=lambda each: order.get(each, 0)):
            steps, values = dead[name]
            last = values[-self.readings :]
            if steps[-1] < late[0] or (not few and not came[name].isdisjoint(steps[-self.readings :].tolist())):
                continue  # an expert to which nothing came lately, or so little that units are silent to it by chance
            lowest = float(last.min()) if len(last) == self.readings else 0.0
            inherited, before = before, lowest
            # A pooling behind a dead ReLU is silent too; only where it begins is told.
            if lowest < self.share or np.isnan(lowest) or inherited >= 0.9 * lowest or name in plain:
                continue
            if few and lowest < _ALMOST_ALL:
                continue
            grown = lowest - float(values[0])
            if grown < self.growth and lowest < _ALMOST_ALL:
                if float(last.max()) - float(values[0]) < self.growth:
                    calm.append((name, float(last[-1])))
                    began = max(began, int(steps[0]))
                elif float(last[-1]) - float(values[0]) >= self.growth:  # an alarm only when it has stayed
                    found.append(self._rising(name, steps, values))
                continue
            now, first = float(last[-1]), since(steps, values >= lowest)  # of the number that is told, not of the first few units
            gone = lowest >= _ALMOST_ALL and any(weight.startswith(f"{name}.") for weight, *_ in run.meta.get("parameters", ()))
            found.append(Diagnosis(
                self.name, _severity(lowest, grown, units.get(name, 0)), f"{percent(now, 3)} of {called(name)} is dead",
                f"{percent(now, 3)} of the units of {called(name)} answered nothing to all examples that {_came(steps, late)}"
                + (f", {percent(lowest, 3)} or more since step {first}" if now > lowest else f", and have not since step {first}")
                + f"; {percent(float(values[0]), 3)} at the first reading. While they are silent they pass no gradient"
                + (", and what lies before them hardly learns: drawn anew the layer can begin again."
                   if gone else "; a lower learning rate keeps more from dying.") + _unborn(run, name),
                f"share of dead units at the last {self.readings} readings: {', '.join(percent(float(v), 3) for v in last)}",
                (layer_key(name),), ("reinitialize", {"layer": name}) if gone else ("learning_rate", {"factor": 0.5}), first,
            ))
        if calm:
            told = named([f"{called(name)} ({percent(share, 3)})" for name, share in calm])
            found.append(Diagnosis(
                self.name, 0.1, "Some units are silent", f"Units of {told} answered nothing to all examples that were read "
                f"last: about as many as at the first reading, that of step {began:,}, or fewer. "
                + ("What died before it is among them and was not seen to: a learning rate that is too high kills units in the first steps. "
                   if began > 1 else "") + "Healthy networks have such units too.",
                f"The share of silent units has grown by less than {percent(self.growth)} of the units",
                tuple(layer_key(name) for name, _ in calm), None, began,
            ))
        return found

    def _rising(self, name: str, steps: Steps, values: Floats) -> Diagnosis:
        """Units that have just fallen silent, and may answer again: told for what it costs so far, which is little."""
        few = slice(-self.readings, None)
        told = ", ".join(f"{percent(float(value), 3)} at step {int(step):,}" for step, value in zip(steps[few], values[few], strict=True))
        return Diagnosis(
            self.name, 0.2, f"More units of {called(name)} are silent", f"{percent(float(values[-1]), 3)} of the units of {called(name)} answered "
            f"nothing to all examples that were read last, and {percent(float(values[0]), 3)} at the first reading, that of step {int(steps[0]):,}. "
            f"It is an alarm once {self.readings} readings in a row have it.",
            f"share of silent units: {told}", (layer_key(name),), None, int(steps[-1]),
        )


def _came(steps: Steps, late: list[int]) -> str:
    """Which examples a layer was read with last."""
    own = steps[-len(late) :].tolist()
    return "were read last" if own == late else f"came to it at the last {len(own)} readings at which any did (steps {own[0]} to {own[-1]})"


def _unborn(run: RunReader, name: str) -> str:
    """That all numbers of the layer's weight were 0 when the training began, in a sentence: its units are alike, and no gradient passes them."""
    norms = series(run, f"weights/{name}.weight/norm")[1]
    if not len(norms) or norms[0] != 0:
        return ""
    return " Every number of its weight was 0 when the training began: no gradient passes such a layer, so that it must begin at random ones."


def _severity(lowest: float, grown: float, units: int) -> float:
    """By what it costs: how much of the layer was lost since the training began, most where almost nothing passes."""
    most = 0.45 if 0 < round(grown * units) < _SINGLE and lowest < 0.5 else 0.9
    return 0.95 if lowest >= _ALMOST_ALL else min(most, 0.3 + 0.8 * max(grown, 0.0))


def _rectified(layer: Mapping[str, Any]) -> bool:
    """Whether a layer's units are cut at zero; runs that do not say so are told by the kind of the layer."""
    known = layer.get("rectified")
    return bool(known) if known is not None else layer.get("kind", "") not in _PLAIN
