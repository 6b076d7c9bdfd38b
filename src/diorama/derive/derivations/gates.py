"""What a recurrent layer held at each step of one example: its gates, its candidate, its cell and its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...core.errors import UsageError
from ...core.knobs import build, knob
from ...core.selection import Key
from ...methods.cost import Cost
from ...scene import Scene
from ...scene.states import parts, states
from ..derivation import Derivation, Plain, Stage

LETTERS = ({"i", "f", "g", "o", "c", "h"}, {"r", "z", "n", "h"}, {"h"})
"""What an LSTM, a GRU and a plain RNN hold."""


class GatesDerivation(Derivation):
    """The gates and states of a recurrent layer at every step of one example.

    *Meaning* of an LSTM: gates ``i`` (input), ``f`` (forget) and ``o`` (output), the candidate ``g``, the cell ``c`` and the
    output ``h``: c = f · c before + i · g, h = o · tanh c. Of a GRU: ``r`` (reset), ``z`` (update), the candidate ``n`` and
    ``h`` = (1 − z) · n + z · h before. Of a plain RNN ``h``. A module stands for its last layer; where it reads both ways, the
    cells that read backward stand behind the others. Of a packed sequence there are no steps behind the example's end.
    *Shapes* (steps, cells) each; ``h`` of a projected LSTM has as many columns as it has outputs.
    *Error* ``h`` equals what the layer returns to 1e-5.
    *Cost* one forward pass, the recurrent layers step by step.
    *Source* Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gates); Cho et al. 2014 (GRU).
    """

    layer: str = knob("", "The recurrent layer, or a cell that a loop calls; that of the first module when left open.", kind="layer")
    example: int = knob(0, "The example.", kind="example", low=0)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Derivation:
        """Of a unit its layer is meant; a layer that is left open is the first that keeps states."""
        told = dict(options)
        if (unit := told.pop("unit", None)) is not None:
            told["layer"] = Key.parse(unit if str(unit).startswith("unit:") else f"unit:{unit}").name
        made: Derivation = build(cls, told)
        if not told.get("layer") and scene.missing is None and len(scene.layers.stepwise):
            path = scene.layers.stepwise[0].path
            own = parts(scene, path)
            made = build(cls, {**told, "layer": path if len(own) > 1 else own[0].name})
        return made

    def fits(self, scene: Scene) -> str | None:
        """It needs a layer that keeps states from step to step."""
        if scene.missing is None:
            if not len(scene.layers.stepwise):
                return "it shows the gates of an LSTM, GRU or RNN, and the network runs none"
            parts(scene, self.layer)
            if self.example >= len(scene.live):
                raise UsageError(f"the probe set has examples 0 to {len(scene.live) - 1}, got {self.example}")
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """One pass."""
        return Cost(1)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """At once."""
        found = states(scene, self.layer, scene.live.batch([self.example], scene.device))
        ran = found.mask[0]
        yield Stage({name: value[0][ran].detach().float().numpy() for name, value in found.items()}, 1.0, 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """The letters of one kind, all as long, and as wide as the layer."""
        if set(value) not in LETTERS:
            raise ValueError("the states of an LSTM, a GRU or an RNN are wanted")
        units = sum(one.units for one in parts(scene, self.layer))
        for name, array in value.items():
            if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(value["h"]):
                raise ValueError(f"{name} as (steps, cells) is wanted")
            if array.shape[1] != (units if name == "h" else next(iter(value.values())).shape[1]):
                raise ValueError(f"{name} of {units} cells is wanted")
