"""The phrases of the corpus over which the same cells of a layer are on together as over a chosen span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...core.errors import UsageError
from ...core.knobs import build, knob
from ...methods.cost import Cost
from ...scene import Scene
from ...scene.layer_text import legible
from ..derivation import Derivation, Plain, Stage
from ..phrases import THRESHOLD, PhraseSearch, chosen
from .levels import LevelsDerivation

FOUND = ("example", "start", "end", "score")


class MatchesDerivation(Derivation):
    """The phrases of the whole probe set over which the same cells are on together as over a span of one text, best first.

    *Meaning* chosen are the cells that are at or over the threshold through the whole span (``sharp``: and under it just before and
    behind it). A match is a stretch over which some of them are on together, as long as it can be; ``score`` is their share. Larger shares
    come first, then lengths closer to the span's, then earlier places; the span itself and overlaps are left out.
    *Shapes* ``example``, ``start``, ``end`` (behind the last token) and ``score`` (matches,); ``cells`` the chosen ones.
    *Cost* one forward pass of the probe set for a layer's first search, which is kept (``levels``); after that a fraction of a second.
    *Source* Strobelt et al. 2018, LSTMVis, arXiv:1606.07461.
    """

    on = "examples"

    layer: str = knob("", "The layer: any that answers at each token; the last recurrent one when left open.", kind="layer")
    example: int = knob(0, "The example in which the span lies.", kind="example", low=0)
    span: str = knob("0:1", "The span, from its first token to behind its last.", kind="span")
    threshold: float = knob(THRESHOLD, "From which share of the layer’s scale on a cell is on; 200 steps.", low=0.0, high=1.0)
    sharp: bool = knob(False, "Choose only cells that are off just before the span and just behind it.")
    limit: int = knob(50, "How many matches are found.", low=1, high=2000)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Derivation:
        """A layer that is left open is the last recurrent one."""
        made: Derivation = build(cls, options)
        if not options.get("layer") and scene.missing is None and (name := legible(scene)):
            made = build(cls, {**options, "layer": name})
        return made

    def fits(self, scene: Scene) -> str | None:
        """It needs texts, a layer that answers at each token, and a span that lies in its text."""
        reason = LevelsDerivation(layer=self.layer).fits(scene)
        if reason is None:
            levels = scene.examples
            if self.example >= len(levels):
                raise UsageError(f"the probe set has examples 0 to {len(levels) - 1}, got {self.example}")
        return reason

    def cost(self, scene: Scene) -> Cost:
        """What the index costs, where there is none."""
        return Cost(0 if scene.derive("levels", layer=self.layer).known else len(scene.examples))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The index, then the matches."""
        for stage in scene.derive("levels", layer=self.layer).stream():
            if not stage.final:
                yield Stage(None, stage.done, stage.total, stage.note)
        levels = stage.value["levels"]
        start, stop = bounds(self.span, levels.shape[2])
        cells = chosen(levels[:, self.example], start, stop, self.threshold, self.sharp)
        found = PhraseSearch(levels, cells, self.threshold, stop - start, self.limit, (self.example, start, stop)).found()
        yield Stage({**found, "cells": cells}, 1.0, 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """Stretches that lie in their texts, a share each, and the cells."""
        if set(value) != {*FOUND, "cells"}:
            raise ValueError("matches by example, start, end and score are wanted")
        for name in (*FOUND, "cells"):
            array = value[name]
            kind = "f" if name == "score" else "i"
            if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != kind:
                raise ValueError(f"{name} as one row is wanted")
            if name != "cells" and len(array) != len(value["example"]):
                raise ValueError(f"as many {name} as examples are wanted")
        if not ((value["example"] >= 0) & (value["example"] < len(scene.examples))).all():
            raise ValueError("examples of the probe set are wanted")
        if not ((value["start"] >= 0) & (value["start"] < value["end"])).all() or not (value["cells"] >= 0).all():
            raise ValueError("stretches of their texts are wanted")


def bounds(span: str, tokens: int) -> tuple[int, int]:
    """A span in numbers. *Raises* UsageError for one that ends behind its text."""
    start, stop = (int(part) for part in span.split(":"))
    if stop > tokens:
        raise UsageError(f"the text has tokens 0 to {tokens - 1}, and the span {span} ends behind them")
    return start, stop
