"""What every unit of a layer says at every token of all examples, a byte each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.knobs import knob
from ...data import nesting
from ...data.kinds import Tokens
from ...data.padding import pads
from ...methods.cost import Cost
from ...scene import Scene
from ...scene.layer_text import misplaced, text_at
from ...scene.memory import BOUND
from ...scene.states import hidden
from ..derivation import Derivation, Plain, Stage
from ..phrases import levels_of, put

AT_ONCE = 1 << 22
"""So many values are held at a time."""


class LevelsDerivation(Derivation):
    """What every unit of a layer says at every token of the whole probe set, in two hundred levels: the index of ``matches``.

    *Meaning* a level is the number of thresholds 0, 1/200, 2/200 … 1 that a value reaches, as shares of ``scale``: 1 for a recurrent
    layer whose values lie between −1 and 1, else the largest magnitude among the first examples. Padding has level 0.
    *Shapes* ``levels`` (units, examples, tokens), a byte each; ``scale``.
    *Cost* one forward pass of the probe set.
    """

    on = "examples"

    version = 3

    layer: str = knob("", "The layer: any that answers at each token.", kind="layer")

    def fits(self, scene: Scene) -> str | None:
        """It needs texts, and a layer that answers at each token."""
        if scene.missing is not None:
            return scene.missing
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it reads texts, and the inputs are no tokens"
        layer = scene.layers[self.layer]
        if not layer.loop and not (layer.sequence and layer.each):
            return f"{self.layer} does not answer at each token"
        if reason := misplaced(scene, self.layer):
            return f"{self.layer} {reason}"
        size = layer.units * len(scene.examples) * _tokens(scene, self.layer)
        if scene.run is None and size > BOUND:
            return (
                f"its index of {size / 1e6:,.0f} MB is more than a scene keeps; save a run with scene.save(…) and open that, where it is "
                "kept in a file"
            )
        return None

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(len(scene.examples))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Some examples at a time."""
        layer, count, tokens = scene.layers[self.layer], len(scene.examples), _tokens(scene, self.layer)
        levels = np.zeros((layer.units, count, tokens), np.uint8)
        scale: float | None = None
        part = max(1, min(64, AT_ONCE // max(1, layer.units * tokens)))
        for start in range(0, count, part):
            some = list(range(start, min(start + part, count)))
            values = hidden(scene, self.layer, scene.examples.batch(some, scene.device)).float().numpy()
            shown = scene.examples.shown(some)
            texts = shown[text_at(scene, self.layer)] if isinstance(shown, dict) else shown
            filled = np.array([[pads(token) for token in text] for text in texts])
            if scale is None:
                own = values.transpose(0, 2, 1)[:, : filled.shape[1]][~filled]
                largest = float(np.abs(np.nan_to_num(own, nan=0, posinf=0, neginf=0)).max(initial=0.0)) or 1.0
                scale = 1.0 if largest <= 1 and (layer.part or layer.loop) else largest
            put(levels[:, start : start + len(some)], levels_of(values, scale)[:, :, :tokens])
            levels[:, start : start + len(some)][:, filled] = 0
            if start + part < count:
                yield Stage(None, start + len(some), count, "texts read")
        yield Stage({"levels": levels, "scale": scale or 1.0}, count, count)

    def check(self, scene: Scene, value: Plain) -> None:
        """A byte for each unit and token."""
        shape = (scene.layers[self.layer].units, len(scene.examples), _tokens(scene, self.layer))
        levels, scale = value["levels"], value["scale"]
        if set(value) != {"levels", "scale"} or not isinstance(levels, np.ndarray) or levels.shape != shape or levels.dtype != np.uint8:
            raise ValueError(f"levels of shape {shape} are wanted")
        if not isinstance(scale, float) or not 0 < scale < np.inf:
            raise ValueError("a scale is wanted")


def _tokens(scene: Scene, layer: str) -> int:
    """How many tokens each example of the text has that a layer reads, with its padding."""
    return int(nesting.named(scene.examples.x)[text_at(scene, layer)].shape[1])
