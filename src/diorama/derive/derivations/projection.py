"""The examples as points: what a layer, or several together, say of each, in two or three numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...core.code import written
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import build, knob, knobs_of
from ...core.registry import projections
from ...core.selection import several
from ...methods.cost import Cost
from ...methods.neighbours import kept
from ...methods.placement import Floats, laid_onto, placements, usable
from ...model.directions import finite
from ...scene import Scene
from ...scene.directions import codes, default_layer
from ...scene.rows import unrowed
from ..derivation import Plain, Stage
from ..snapshot_chain import SnapshotChain


class ProjectionDerivation(SnapshotChain):
    """The live examples as points: near each other where a layer answers alike.

    *Meaning* what a unit says of an example is its mean over all places. Several layers (``"conv2+fc"``) count alike,
    whatever their sizes. It follows the training: points start from where they were at the snapshot before, and are laid
    onto them, so that they move only where the network did.
    *Shapes* (examples, dimensions).
    *Cost* one forward pass an example, then what the algorithm takes.
    """

    version = 10

    layer: str | None = knob(None, "The layer, or several with + between; by itself the last before the answer.", kind="layer")
    method: str = knob("pca", "The algorithm, one of diorama.projections.")
    dimensions: int = knob(2, "So many numbers an example.", low=1, high=3)
    settings: str = knob("", "The algorithm's own knobs; given by their names.")

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> ProjectionDerivation:
        """The algorithm's knobs are taken by their names, and checked."""
        own = {name: value for name, value in options.items() if name in knobs_of(cls)}
        algorithm = projections[own.get("method", "pca")]
        rest = {name: value for name, value in options.items() if name not in own}
        told = build(algorithm, {**json.loads(own.get("settings") or "{}"), **rest}).knobs()
        own["settings"] = json.dumps(told, sort_keys=True) if told else ""
        if own.get("layer") is None and scene.missing is None:
            own["layer"] = default_layer(scene).name
        return build(cls, own)  # type: ignore[no-any-return]

    def fits(self, scene: Scene) -> str | None:
        """It needs layers that answer once an example."""
        return scene.missing or unrowed(scene, self.layers(scene))

    @property
    def algorithm(self) -> str:
        """The code of a third party's method."""
        return written(projections[self.method])

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        algorithm = self._algorithm()
        return Cost.of(algorithm, lambda: algorithm.cost(len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The points as the algorithm places them."""
        rows = self.rows(scene)
        start = None
        if before is not None:
            start = np.asarray(before, np.float64)
            if start.shape != (len(rows), self.dimensions):
                raise UsageError(f"a projection of {len(rows)} examples cannot start from one of {len(start)}")
        algorithm = self._algorithm()
        held = self._stayed(scene, rows, before) if algorithm.tied and start is not None else None
        for placed in placements(algorithm, rows, self.dimensions, start, begun, held):
            points = placed.points
            if algorithm.free and start is not None and usable(start) is not None:
                points = laid_onto(points, start)
            yield Stage(points, placed.done, placed.total, placed.note, state=placed.state)

    def _stayed(self, scene: Scene, rows: Floats, before: Plain) -> Floats | None:
        """Which share of its neighbours in the layers each example has kept since the snapshot that is started from; None where another one is."""
        there = self.preceding(scene)
        if there is None or not np.array_equal(np.asarray(there.carried), np.asarray(before)):
            return None
        return kept(self.rows(there.scene), rows)

    def check(self, scene: Scene, value: Plain) -> None:
        """A point an example."""
        if not isinstance(value, np.ndarray) or value.shape != (len(scene.live), self.dimensions) or value.dtype.kind != "f":
            raise ValueError("a point for each example is wanted")

    def _algorithm(self) -> Any:
        return build(projections[self.method], json.loads(self.settings or "{}"))

    def layers(self, scene: Scene) -> list[str]:
        """The layers by their full names."""
        wanted = self.layer or default_layer(scene).name
        return [scene.layers[name].name for name in ([wanted] if wanted in scene.layers.names else several(wanted))]

    def rows(self, scene: Scene) -> Floats:
        """What the layers say of each example, (n, numbers), each layer with a total variance of one."""
        parts = [codes(scene, name) for name in self.layers(scene)]
        if any(len(part) != len(scene.live) for part in parts):
            raise NotApplicable("a projection wants layers that answer once for each example")
        if len(parts) > 1:
            parts = [part / (np.sqrt(part.var(0).sum()) or 1) for part in parts]
        return finite(np.concatenate(parts, 1))
