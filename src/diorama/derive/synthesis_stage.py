"""The stage on which inputs of a scene's kind are made."""

from __future__ import annotations

from ..data.nesting import Nested
from ..methods.method import Look
from ..methods.synthesis.stage import MadeInput
from ..scene import Scene


def staged(scene: Scene, x: Nested, seed: int, layer: str = "") -> MadeInput:
    """The stage; other inputs of the model than the one that is made are those of ``x``, a batch of one.

    Of several inputs one that reaches ``layer`` is made, where it is named and one of them does.
    """
    look = Look(
        scene.model, x=x, kind=scene.kind, reading=scene.reading, classes=scene.classes, table=scene.layers,
        cancel=scene.cancel, edits=scene.edits, seed=seed,
    )
    return MadeInput.of(look, scene.kind, scene.live.x, x, layer)
