"""Which layers have a row for each live example at a moment of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..data import nesting
from ..model.capture import Capture
from ..model.layers import Layer
from ..model.weight_modules import uncalled

if TYPE_CHECKING:
    from .scene import Scene


def rowed(scene: Scene, layers: Iterable[Layer]) -> list[Layer]:
    """Those of some layers that answer once for each live example at this snapshot.

    *Meaning* layers are told once for a whole training, by few examples. A network that chooses its experts by the input may send all to the
    same one at the end, and only some at an earlier step.
    *Cost* one pass an example, kept; none where every layer ran for each of the few.
    """
    found = list(layers)
    if scene.missing is not None or scene.function or not scene.kinds:
        return found
    if not any(one.unlike for one in scene.layers) and not uncalled(scene.layers, scene.model):
        return found
    short = scene.once(f"rows/{len(scene.live)}", lambda: _short(scene))
    return [one for one in found if not one.unlike and one.name not in short]


def unrowed(scene: Scene, names: Iterable[str]) -> str | None:
    """Why layers of these names cannot be read example by example at this snapshot, with those that can; None where all can."""
    asked = [scene.layers[name] for name in names]
    good = {one.name for one in rowed(scene, asked)}
    lost = [one.name for one in asked if one.name not in good and not one.unlike]
    if not lost:
        return None
    others = [one.name for one in rowed(scene, scene.layers.leaves) if one.each and one.shape and one.weight is not None]
    there = f"; layers that do: {', '.join(others[:4])}{', …' if len(others) > 4 else ''}" if others else ""
    return f"{lost[0]} answers only those examples that the network sends to it at this step, and not each{there}"


def _short(scene: Scene) -> frozenset[str]:
    """The names of layers that answer with another number of rows, or not at all, in some batch."""
    names = [one.name for one in scene.layers if one.each]
    found = set[str]()
    for _, x in scene.batches():
        with Capture(scene.model, names, edits=scene.edits, cancel=scene.cancel, reduce=lambda _, tensor: len(tensor) if tensor.ndim else 0) as look:
            look(x)
        found |= {name for name in names if name not in look or look[name] != nesting.size(x)}
    return frozenset(found)
