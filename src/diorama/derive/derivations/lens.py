"""What the model would answer if it stopped at a layer, for every layer and position."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...core.knobs import knob
from ...methods.cost import Cost
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..streams import by_position, held, residual_stream, tail_of, without_stream
from .translators import translated

MOST = 16_000_000
"""Numbers that are held at most: of a long text with a large vocabulary, the last positions."""


class LensDerivation(Derivation):
    """What the model would answer if all layers after one did nothing, for every layer and position.

    *Meaning* each row of scores is the model's own way from the end of its residual stream to its answer (norm, unembedding),
    run on what the stream holds after a layer; with ``kind="tuned"`` an affine map, learnt to foresee the end, lies before it.
    The layers are those of the view, from what the stream begins with (where it was seen) to the last sum; layers behind it that add in a way
    that is not followed run in every row.
    *Shapes* (layers, positions, vocabulary); one position for a classifier; the last positions where all would be over 16
    million numbers.
    *Units* the model's own scores.
    *Error* the last layer equals the model's output; the derivation fails where it does not, to a ten-thousandth.
    *Cost* one forward pass, and the way out once a layer.
    *Source* nostalgebraist 2020, "interpreting GPT: the logit lens"; Belrose et al. 2023, arXiv:2303.08112.
    """

    example: int = knob(0, "The example of the probe set.", low=0)
    kind: str = knob("logit", "As the stream is, or through a map that was learnt for each layer.", choices=("logit", "tuned"))

    def fits(self, scene: Scene) -> str | None:
        """The model has a residual stream, and the example is there."""
        if (reason := without_stream(scene, steps=self.kind == "tuned")) is not None:
            return reason
        if self.example >= len(scene.examples):
            return f"the probe set has examples 0 to {len(scene.examples) - 1}, got {self.example}"
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass of the example to read the stream, and one to keep the way out."""
        return Cost(2)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The scores of every layer."""
        learnt = None
        if self.kind == "tuned":
            for stage in scene.derive("translators").stream():
                learnt = stage.value
                if not stage.final:
                    yield Stage(None, stage.done, stage.total, "learning to foresee the end")
        yield Stage(scores(scene, scene.current(example=self.example).x, learnt))

    def check(self, scene: Scene, value: Plain) -> None:
        """Scores for each layer."""
        line = residual_stream(scene)
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 3 or len(value) != len(line.points):
            raise ValueError(f"scores of {len(line.points)} layers are wanted")
        wide = by_position(scene.scores(scene.current(example=self.example).x)).shape
        if value.shape[2] != wide[2] or value.shape[1] != min(wide[1], most(len(line.points), wide[2])):
            raise ValueError(f"scores of {wide[2]} answers at each position are wanted")


def most(layers: int, answers: int) -> int:
    """So many positions are held at most."""
    return max(1, MOST // max(1, layers * answers))


def scores(scene: Scene, x: Plain, learnt: Plain = None) -> np.ndarray:
    """The scores (layers, positions, vocabulary) of one input."""
    line = residual_stream(scene, x)
    tail, found = tail_of(scene, x, line), []
    for number, h in enumerate(held(scene, x, line)):
        with torch.no_grad():
            told = by_position(tail(translated(h, learnt, number)))[0]
        found.append(told[-most(len(line.points), told.shape[-1]) :].float().cpu().numpy())
    return np.stack(found)
